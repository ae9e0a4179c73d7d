#!/usr/bin/env bash
# Three gateways behind a round robin, of which one is killed every second: a real Redis (redis/setup.sh fetches it), real clients, agents, servers and
# models. VIDIMUS_REPLICAS_SECONDS: for how long (12; `make replicas` a minute). Needs target/debug/vidimus.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/../redis/setup.sh" >/dev/null
cache=$("$here/../setup.sh")
export PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
