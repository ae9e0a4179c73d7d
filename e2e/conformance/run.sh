#!/usr/bin/env bash
# The suites of the protocols against an upstream alone and through the gateway; differences as tables. Exit status 1 where
# something is lost that known.json does not explain. Needs target/debug/vidimus (`make conformance` builds it).
#
#   run.sh            the MCP suite, and the A2A kit; where that is out of reach, what it was recorded to say
#   run.sh mcp        the MCP suite alone
#   run.sh a2a …      the A2A kit alone; flags of suite_a2a.py
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$("$here/../setup.sh")
export PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../upstream
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
python=$cache/venv/bin/python

mcp() {
  VIDIMUS_CONFORMANCE=$("$here/setup.sh") && export VIDIMUS_CONFORMANCE && "$python" "$here/suite_mcp.py"
}

a2a() {
  local found
  found=$("$here/kit.sh") || return 3
  "$python" "$here/suite_a2a.py" --kit "${found% *}" --python "${found##* }" "$@"
}

case ${1:-all} in
  mcp) mcp ;;
  a2a) a2a "${@:2}" ;;
  all)
    lost=0
    mcp || lost=1
    ended=0
    a2a || ended=$?
    case $ended in
      0) ;;
      3) echo "a2a: the kit is out of reach (kit.sh); below is what it was recorded to say" ;;
      *) lost=1 ;;
    esac
    "$python" "$here/replay.py" || lost=1
    exit $lost
    ;;
  *) sed -n 2,8p "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
