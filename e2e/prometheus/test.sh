#!/usr/bin/env bash
# Rules and dashboards by the real promtool: rules are well-formed and say what they should, and each query of a dashboard parses; and what a
# gateway says at /metrics by the parser of Prometheus. Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$("$here/setup.sh")
cache=$("$here/../setup.sh")
export VIDIMUS_PROMTOOL=$tools/promtool VIDIMUS_EXPOSITION=$tools/exposition
export PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
