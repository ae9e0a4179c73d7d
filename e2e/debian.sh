#!/usr/bin/env bash
# debian.sh NAME PACKAGE...: prints the root of a tree with these packages of Debian, unpacked into a cache outside the repository without
# being installed, for whoever starts a program out of it (sinks/setup.sh, redis/setup.sh). Everything else goes to stderr. Idempotent.
set -euo pipefail

name=$1
shift
dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/$name-debian
if [[ ! -e $dir/stamp ]]; then
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    { echo "e2e/debian.sh: there is no apt-get to fetch $name with" >&2; exit 1; }
  mkdir -p "$dir"
  exec 9>"$dir/lock"
  if command -v flock >/dev/null; then flock 9; fi # two at once: the second waits, then finds the work done
  if [[ ! -e $dir/stamp ]]; then
    echo "e2e/debian.sh: fetching Debian's $name into $dir, once" >&2
    rm -rf "$dir/debs" "$dir/root"
    mkdir -p "$dir/debs" "$dir/root"
    # Without lists of packages nothing is found; a fresh machine may have none.
    (cd "$dir/debs" && { apt-get download "$@" || { apt-get update && apt-get download "$@"; }; }) >&2
    for deb in "$dir"/debs/*.deb; do dpkg -x "$deb" "$dir/root"; done
    touch "$dir/stamp"
  fi
fi
echo "$dir/root"
