#!/usr/bin/env bash
# The chart by the real Helm, against a real Kubernetes API server. Needs target/debug/vidimus (`make e2e` builds it).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_CHART_TOOLS=$("$here/setup.sh")
VIDIMUS_KUBE_BIN=$("$here/../kube/setup.sh")
cache=$("$here/../setup.sh")
export VIDIMUS_CHART_TOOLS VIDIMUS_KUBE_BIN PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$VIDIMUS_CHART_TOOLS/python
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
