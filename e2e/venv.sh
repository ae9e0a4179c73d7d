#!/usr/bin/env bash
# Prints a directory with `venv/bin/python`, which has the packages of NAME/requirements.txt (PyPI): `e2e/venv.sh NAME`. Everything else goes
# to stderr. Idempotent.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${1:?usage: e2e/venv.sh NAME}
dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/$name-$(sha256sum <"$here/$name/requirements.txt" | cut -c1-12)
mkdir -p "$dir"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$dir/lock"
  flock 9
fi
if [[ ! -e $dir/stamp ]]; then
  {
    echo "installing the packages of e2e/$name into $dir (once)"
    rm -rf "$dir/venv"
    python3 -m venv --without-pip "$dir/venv"
    python3 -m pip --python "$dir/venv/bin/python" install --quiet --no-deps --no-compile --no-input -r "$here/$name/requirements.txt"
    touch "$dir/stamp"
  } >&2
fi
echo "$dir"
