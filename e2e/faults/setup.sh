#!/usr/bin/env bash
# Prints, a line each, the command of strace (that of PATH, $VIDIMUS_STRACE first) and the library of libfaketime: else Debian's, unpacked into a
# cache outside the tree without being installed. Everything else goes to stderr. Idempotent.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
strace=${VIDIMUS_STRACE:-$(command -v strace || true)}
if [[ -z $strace ]]; then
  root=$("$here/../debian.sh" strace strace libunwind8 liblzma5)
  strace=${root%/root}/strace
  if [[ ! -x $strace ]]; then
    printf '#!/bin/sh\nLD_LIBRARY_PATH="$(echo %q/usr/lib/*-linux-gnu)" exec %q/usr/bin/strace "$@"\n' "$root" "$root" > "$strace.$$"
    chmod +x "$strace.$$"
    mv "$strace.$$" "$strace"
  fi
fi
"$strace" -qq -e trace=none true >&2 || { echo "e2e/faults/setup.sh: $strace cannot trace here (ptrace(2) is not allowed)" >&2; exit 1; }
root=$("$here/../debian.sh" faketime faketime libfaketime)
library=$(echo "$root"/usr/lib/*-linux-gnu/faketime/libfaketimeMT.so.1)
[[ -e $library ]] || { echo "e2e/faults/setup.sh: no libfaketime in $root" >&2; exit 1; }
echo "$strace"
echo "$library"
