#!/usr/bin/env bash
# Workloads with X.509-SVIDs of a real SPIRE, through the gateway. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_SPIRE_BIN=$("$here/setup.sh")
cache=$("$here/../setup.sh")
export VIDIMUS_SPIRE_BIN PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
