#!/usr/bin/env bash
# What becomes of the gateway and its ledger where the disk, the clock or the process fails: system calls of the real binary that fail, by
# strace, and a clock that goes back, by libfaketime. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$("$here/setup.sh")
cache=$("$here/../setup.sh")
VIDIMUS_STRACE=$(sed -n 1p <<< "$tools")
VIDIMUS_FAKETIME=$(sed -n 2p <<< "$tools")
export VIDIMUS_STRACE VIDIMUS_FAKETIME PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
