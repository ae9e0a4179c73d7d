#!/usr/bin/env bash
# The CRDs in deploy/crds, every example, and the tables of good and bad objects, against a real Kubernetes API server.
set -euo pipefail
cd "$(dirname "$0")"
VIDIMUS_KUBE_BIN="$(./setup.sh)"
export VIDIMUS_KUBE_BIN
exec go test -count=1 -timeout 5m "$@" ./...
