#!/usr/bin/env bash
# The suites of the protocols against an upstream alone and through the gateway; differences as a table. Exit status 1 where
# something is lost that known.json does not explain. Needs target/debug/vidimus (`make conformance` builds it).
#
#   run.sh            the MCP suite, and what the A2A kit was recorded to say
#   run.sh a2a …      another suite for agents that is at hand; see suite_a2a.py
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$("$here/../setup.sh")
export PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../upstream
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
if [[ ${1:-} == a2a ]]; then
  shift
  exec "$cache/venv/bin/python" "$here/suite_a2a.py" "$@"
fi
VIDIMUS_CONFORMANCE=$("$here/setup.sh")
export VIDIMUS_CONFORMANCE
lost=0
"$cache/venv/bin/python" "$here/suite_mcp.py" || lost=1
"$cache/venv/bin/python" "$here/replay.py" || lost=1
exit $lost
