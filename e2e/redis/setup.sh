#!/usr/bin/env bash
# Prints the command that starts a real redis-server: the one on PATH (or valkey-server), else Debian's, unpacked into a cache outside
# the tree without being installed. Everything else goes to stderr. Idempotent.
set -euo pipefail

for name in ${VIDIMUS_REDIS:-} redis-server valkey-server; do
  if command -v "$name" >/dev/null; then
    command -v "$name"
    exit 0
  fi
done

dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/redis-debian
if [[ ! -e $dir/stamp ]]; then
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    { echo "e2e/redis/setup.sh: there is no redis-server or valkey-server on PATH, and no apt-get to fetch one" >&2; exit 1; }
  mkdir -p "$dir"
  exec 9>"$dir/lock"
  if command -v flock >/dev/null; then flock 9; fi # two at once: the second waits, then finds the work done
  if [[ ! -e $dir/stamp ]]; then
    echo "e2e/redis/setup.sh: fetching Debian's redis-server into $dir, once" >&2
    rm -rf "$dir/debs" "$dir/root"
    mkdir -p "$dir/debs" "$dir/root"
    packages="redis-server redis-tools libjemalloc2 liblua5.1-0 liblzf1 lua-cjson lua-bitop"
    # Without lists of packages nothing is found; a fresh machine may have none.
    (cd "$dir/debs" && { apt-get download $packages || { apt-get update && apt-get download $packages; }; }) >&2
    for deb in "$dir"/debs/*.deb; do dpkg -x "$deb" "$dir/root"; done
    cat > "$dir/redis-server" <<RUN
#!/bin/sh
export LD_LIBRARY_PATH="\$(echo $dir/root/usr/lib/*-linux-gnu)"
exec "$dir/root/usr/bin/redis-server" "\$@"
RUN
    chmod +x "$dir/redis-server"
    "$dir/redis-server" --version >&2
    touch "$dir/stamp"
  fi
fi
echo "$dir/redis-server"
