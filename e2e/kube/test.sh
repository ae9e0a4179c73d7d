#!/usr/bin/env bash
# The CRDs in deploy/crds, every example, and the tables of good and bad objects, against a real Kubernetes API server; and what it admits, by
# policies of its own and by asking Vidimus. Needs target/debug/vidimus.
set -euo pipefail
cd "$(dirname "$0")"
VIDIMUS_KUBE_BIN="$(./setup.sh)"
export VIDIMUS_KUBE_BIN
export VIDIMUS_BIN=${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-$PWD/../../target}/debug/vidimus}
exec go test -count=1 -timeout 5m "$@" ./...
