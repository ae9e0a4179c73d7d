#!/usr/bin/env bash
# The spans of `vidimus serve --otlp-endpoint` as a real OpenTelemetry collector takes them. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_OTELCOL="$("$here/setup.sh")/otelcol"
cache=$("$here/../setup.sh")
export VIDIMUS_OTELCOL PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
