#!/usr/bin/env bash
# MCP Inspector's command line, in both eras, through one endpoint with two members. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
inspector=$("$here/setup.sh")
cache=$("$here/../setup.sh")
export VIDIMUS_INSPECTOR=$inspector PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
