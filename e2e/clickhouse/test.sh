#!/usr/bin/env bash
# Records that `vidimus serve --sink clickhouse://…` keeps in a ClickHouse, and what `vidimus audit --clickhouse` finds there: the real engine behind
# its HTTP interface. Needs target/debug/vidimus. VIDIMUS_CLICKHOUSE_AWAY: for how many seconds it is gone under load (3).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
engine=$("$here/setup.sh")
cache=$("$here/../setup.sh")
export VIDIMUS_CHDB=$engine/venv/bin/python VIDIMUS_OTEL_TABLES=$engine/sqltemplates
export PYTHONPYCACHEPREFIX=$cache/pycache PYTHONDONTWRITEBYTECODE= PYTHONPATH=$here/../gateway
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vidimus}
cd "$here"
exec "$cache/venv/bin/python" -m unittest -v "$@"
