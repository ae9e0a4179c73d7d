#!/usr/bin/env bash
# Builds Helm from source, and brings what the chart can be applied to: the CRDs of prometheus-operator, and a reader of YAML.
# Once for each version, into a cache outside the tree; prints that directory. Some minutes the first time; nothing after that.
set -euo pipefail
helm=v3.22.0 prometheus=v0.85.0 yaml=6.0.3
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/chart-${helm#v}-${prometheus#v}-$yaml"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -e $bin/stamp ]]; then
  command -v go >/dev/null || { echo "e2e/chart/setup.sh: go is not installed (1.26 or newer)" >&2; exit 1; }
  echo "e2e/chart/setup.sh: building helm $helm and fetching CRDs into $bin (once)" >&2
  rm -rf "$bin/crds" "$bin/python"
  mkdir "$bin/crds"
  GOBIN=$bin GOFLAGS=-mod=mod nice -n 19 go install -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@$helm" >&2
  # of MODULE@VERSION FILE…: copies files out of a module, whose sum the checksum database vouches for
  of() {
    local dir
    dir=$(cd "$bin" && GOFLAGS=-mod=mod go mod download -json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    shift
    for file in "$@"; do install -m 644 "$dir/$file" "$bin/crds/"; done
  }
  operator=example/prometheus-operator-crd/monitoring.coreos.com
  of "github.com/prometheus-operator/prometheus-operator@$prometheus" "${operator}_servicemonitors.yaml" "${operator}_prometheusrules.yaml"
  python3 -m pip install --quiet --no-deps --no-input --target "$bin/python" "PyYAML==$yaml" >&2
  touch "$bin/stamp"
fi
echo "$bin"
