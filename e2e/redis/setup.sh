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

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$("$here/../debian.sh" redis redis-server redis-tools libjemalloc2 liblua5.1-0 liblzf1 lua-cjson lua-bitop)
command=${root%/root}/redis-server
if [[ ! -x $command ]]; then
  cat > "$command.$$" <<RUN
#!/bin/sh
export LD_LIBRARY_PATH="\$(echo $root/usr/lib/*-linux-gnu)"
exec "$root/usr/bin/redis-server" "\$@"
RUN
  chmod +x "$command.$$"
  "$command.$$" --version >&2
  mv "$command.$$" "$command"
fi
echo "$command"
