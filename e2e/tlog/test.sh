#!/usr/bin/env bash
# The ledger with real witnesses, and read by a client of tiled logs that is not ours. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_TLOG_BIN=$("$here/setup.sh")
cache=$("$here/../setup.sh")
export VIDIMUS_TLOG_BIN PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
