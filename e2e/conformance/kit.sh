#!/usr/bin/env bash
# The A2A compatibility kit at one commit, in a cache outside the tree. Prints its directory and the Python that has its packages, as two words on the last
# line of stdout; everything else goes to stderr. Idempotent. The kit is in no registry: VIDIMUS_A2A_KIT is a clone of it, or where else git finds it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
commit=357c4a87afa2818731590647cccbea31c31733a2 # branch 1.0-dev
from=${VIDIMUS_A2A_KIT:-https://github.com/a2aproject/a2a-tck.git}
dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/a2a-tck-${commit:0:12}
packages=$("$here/../venv.sh" conformance/kit)
if [[ ! -e $dir/stamp ]]; then
  {
    echo "e2e/conformance/kit.sh: fetching the A2A compatibility kit from $from into $dir (once)"
    rm -rf "$dir" && mkdir -p "$dir/kit"
    git init --quiet --bare "$dir/git"
    git --git-dir="$dir/git" fetch --quiet --depth 1 "$from" "$commit"
    git --git-dir="$dir/git" archive "$commit" | tar -x -C "$dir/kit"
    rm -rf "$dir/git"
    touch "$dir/stamp"
  } >&2
fi
echo "$dir/kit $packages/venv/bin/python"
