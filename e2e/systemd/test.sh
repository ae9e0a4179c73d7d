#!/usr/bin/env bash
# The unit of deploy/systemd by systemd's own systemd-analyze (of PATH, else Debian's, unpacked into the cache), and what the binary asks of the kernel
# beside what the unit lets it. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_ANALYZE=$(command -v systemd-analyze || true)
if [[ -z $VIDIMUS_ANALYZE ]]; then
  root=$("$here/../debian.sh" systemd systemd libsystemd-shared libsystemd0 libseccomp2)
  VIDIMUS_ANALYZE=${root%/root}/systemd-analyze
  printf '#!/bin/sh\nLD_LIBRARY_PATH="$(echo %q/usr/lib/*-linux-gnu/systemd):$(echo %q/usr/lib/*-linux-gnu)" exec %q/usr/bin/systemd-analyze "$@"\n' \
    "$root" "$root" "$root" > "$VIDIMUS_ANALYZE"
  chmod +x "$VIDIMUS_ANALYZE"
fi
VIDIMUS_STRACE=$("$here/../faults/setup.sh" | sed -n 1p)
export VIDIMUS_ANALYZE VIDIMUS_STRACE PYTHONPATH=$here/../gateway PYTHONDONTWRITEBYTECODE=
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec python3 -m unittest -v "$@"
