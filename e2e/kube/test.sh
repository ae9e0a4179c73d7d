#!/usr/bin/env bash
# The CRDs in deploy/crds, every example, and the tables of good and bad objects, against a real Kubernetes API server; a gateway that follows it; and
# what it admits, by policies of its own and by asking Vidimus. Needs target/debug/vidimus (`make kube` builds it); `-run TestCustomResources` does not.
set -euo pipefail
cd "$(dirname "$0")"
VIDIMUS_KUBE_BIN="$(./setup.sh)"
VIDIMUS_KUBECTL="$(../venv.sh kube)/venv/bin/kubectl" # of the newcomer of docs/kubernetes.md
export VIDIMUS_KUBE_BIN VIDIMUS_KUBECTL
VIDIMUS_BIN="$(realpath -m "${VIDIMUS_BIN:-${CARGO_TARGET_DIR:-../../target}/debug/vidimus}")"
export VIDIMUS_BIN
exec go test -count=1 -timeout 15m "$@" ./...
