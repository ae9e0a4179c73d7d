#!/usr/bin/env bash
# Calls that a real Envoy carries and asks `vidimus serve --ext-authz` about. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_ENVOY="$("$here/setup.sh")/envoy"
cache=$("$here/../setup.sh")
export VIDIMUS_ENVOY PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
