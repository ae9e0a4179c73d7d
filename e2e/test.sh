#!/usr/bin/env bash
# The gateway binary between real clients and real servers. Needs target/debug/vidimus (`make e2e` builds it).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$("$here/setup.sh")
export PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE=
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../target}/debug/vidimus}
cd "$here/gateway"
exec "$cache/venv/bin/python" -m unittest -v "$@"
