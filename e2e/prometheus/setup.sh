#!/usr/bin/env bash
# Builds promtool, and what reads an exposition by Prometheus' parser, from source, once for each version, and prints the directory they are in. Some
# minutes the first time; nothing after that.
set -euo pipefail
cd "$(dirname "$0")"
version="$(sed -n 's|.*github.com/prometheus/prometheus v\([0-9.]*\).*|\1|p' go.mod | head -1)-$(cat go.mod go.sum tools.go exposition/main.go | sha256sum | cut -c1-12)"
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/prometheus-$version"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -x $bin/exposition ]]; then
  command -v go >/dev/null || { echo "e2e/prometheus/setup.sh: go is not installed (1.26 or newer)" >&2; exit 1; }
  echo "building promtool $version (once)" >&2
  building="$(mktemp -d "$bin/building.XXXXXX")"
  trap 'rm -rf "$building"' EXIT
  nice -n 19 go build -mod=readonly -ldflags "-s -w" -o "$building/" github.com/prometheus/prometheus/cmd/promtool ./exposition >&2
  mv "$building/promtool" "$building/exposition" "$bin/"
fi
echo "$bin"
