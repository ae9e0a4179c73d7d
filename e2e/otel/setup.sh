#!/usr/bin/env bash
# Builds a real OpenTelemetry collector with the official builder, once for each version, and prints the directory it is in.
# Two minutes the first time; nothing after that.
set -euo pipefail
cd "$(dirname "$0")"
version=$(sed -n 's/.*otlpreceiver v//p' builder.yaml)
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/otelcol-$version-$(sha256sum <builder.yaml | cut -c1-12)"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -x $bin/otelcol ]]; then
  command -v go >/dev/null || { echo "e2e/otel/setup.sh: go is not installed (1.25 or newer)" >&2; exit 1; }
  echo "building the OpenTelemetry collector $version (once)" >&2
  building="$(mktemp -d "$bin/building.XXXXXX")"
  trap 'rm -rf "$building"' EXIT
  cp builder.yaml "$building/"
  cd "$building"
  # A build that was interrupted leaves nothing under the final name.
  GOBIN="$building" nice -n 19 go install "go.opentelemetry.io/collector/cmd/builder@v$version" >&2
  ./builder --config builder.yaml --skip-compilation >&2
  (cd source && nice -n 19 go build -trimpath -ldflags "-s -w" -o ../otelcol . >&2)
  mv otelcol "$bin/"
fi
echo "$bin"
