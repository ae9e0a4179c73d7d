#!/usr/bin/env bash
# setup.sh PEER: installs the pinned Python packages of bench/peers/PEER into a virtual environment outside the tree and prints
# its directory as the last line on stdout; everything else goes to stderr. Idempotent; a finished one is recognised by its stamp.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
list=$here/$1/requirements.txt
hash=$(sha256sum < "$list")
dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/peer-$1-${hash:0:12}

mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9 # two at once: the second waits, then finds the work done
if [[ ! -e $dir/stamp ]]; then
  {
    echo "bench/peers/setup.sh: installing $1 into $dir"
    rm -rf "$dir/bin" "$dir/lib"
    python3 -m venv --without-pip "$dir" # the pip of the system fills it, so ensurepip is not needed
    python3 -m pip --python "$dir/bin/python" install --quiet --no-deps --no-compile --no-input -r "$list"
    touch "$dir/stamp"
  } >&2
fi
echo "$dir"
