#!/usr/bin/env bash
# `vidimus wrap` before real stdio servers, with real clients, alone and behind a gateway; and what `vidimus client-config` prints, run.
# Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mapfile -t caches < <("$here/setup.sh")
node=$("$here/../setup.sh")
export VIDIMUS_NODE=$node/node VIDIMUS_LANGCHAIN=${caches[1]}/venv/bin/python
export PYTHONPYCACHEPREFIX=${caches[0]}/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "${caches[0]}/venv/bin/python" -m unittest -v "$@"
