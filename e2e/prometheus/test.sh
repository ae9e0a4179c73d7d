#!/usr/bin/env bash
# Rules and dashboards by the real promtool: rules are well-formed and say what they should, and each query of a dashboard parses.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_PROMTOOL="$("$here/setup.sh")/promtool"
cache=$("$here/../setup.sh")
export VIDIMUS_PROMTOOL PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE=
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
