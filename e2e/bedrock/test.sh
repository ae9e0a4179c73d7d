#!/usr/bin/env bash
# An unmodified boto3 asks Bedrock through the gateway, and botocore verifies what the gateway has signed. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$("$here/../venv.sh" bedrock)
export PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
