#!/usr/bin/env bash
# Records that `vidimus serve --sink` sends, as a real OpenTelemetry collector, a real rsyslog and a server of Python's standard library take
# them. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_OTELCOL="$("$here/../otel/setup.sh")/otelcol"
VIDIMUS_RSYSLOGD="$("$here/setup.sh")"
cache=$("$here/../setup.sh")
export VIDIMUS_OTELCOL VIDIMUS_RSYSLOGD PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
