#!/usr/bin/env bash
# Installs the pinned Python and Node packages of e2e/ into a cache outside the tree and prints that directory as the last
# line on stdout; everything else goes to stderr. Idempotent; a finished cache is recognised by its stamp.
# Needs python3 with pip, node and npm, and the PyPI and npm registries.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hash=$(cat "$here/requirements.txt" "$here/package.json" "$here/package-lock.json" | sha256sum)
dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/e2e-${hash:0:12}

if [[ -e $dir/stamp && -x $dir/venv/bin/python ]]; then
  echo "$dir"
  exit 0
fi

for tool in python3 node npm; do
  command -v "$tool" >/dev/null || { echo "e2e/setup.sh: $tool is not installed" >&2; exit 1; }
done
python3 -m pip --version >/dev/null || { echo "e2e/setup.sh: python3 has no pip" >&2; exit 1; }
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "e2e/setup.sh: Python 3.11 or newer is needed" >&2; exit 1; }

mkdir -p "$dir"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$dir/lock"
  flock 9
  if [[ -e $dir/stamp && -x $dir/venv/bin/python ]]; then
    echo "$dir"
    exit 0
  fi
fi

# Joined by &&: `set -e` has no effect inside a condition.
python_packages() { # the pip of the system fills the venv, so ensurepip is not needed
  python3 -m venv --without-pip "$dir/venv" &&
    python3 -m pip --python "$dir/venv/bin/python" install --quiet --no-deps --no-compile --no-input -r "$here/requirements.txt" &&
    python3 -m pip --python "$dir/venv/bin/python" check
}

node_packages() {
  mkdir "$dir/node" &&
    cp "$here/package.json" "$here/package-lock.json" "$dir/node/" &&
    npm --prefix "$dir/node" ci --ignore-scripts --no-audit --no-fund --loglevel=error
}

{
  echo "e2e/setup.sh: installing Python and Node packages into $dir, once; this takes a minute or two"
  rm -rf "$dir/venv" "$dir/node" "$dir/stamp"
  node_packages &
  missing=
  python_packages || missing="Python"
  wait $! || missing="$missing Node"
  [[ -z $missing ]] || { echo "e2e/setup.sh: packages did not install: $missing" >&2; exit 1; }
  touch "$dir/stamp"
} >&2
echo "$dir"
