#!/usr/bin/env bash
# Writes deploy/install/minimal.yaml from the chart.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_CHART_TOOLS=$("$here/setup.sh")
cache=$("$here/../setup.sh")
export VIDIMUS_CHART_TOOLS PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$VIDIMUS_CHART_TOOLS/python
exec "$cache/venv/bin/python" "$here/manifests.py"
