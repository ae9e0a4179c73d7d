#!/usr/bin/env bash
# The image of the binary, as `make image` writes it: the same twice, whole, and it runs from nothing. Needs target/debug/vidimus, and root for chroot(8).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHONPATH=$("$here/setup.sh"):$here/../gateway
export PYTHONPATH PYTHONDONTWRITEBYTECODE=
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec python3 -m unittest -v "$@"
