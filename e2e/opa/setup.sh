#!/usr/bin/env bash
# Builds opa from source, once for each version, and prints the directory it is in. A minute the first time; nothing after that.
set -euo pipefail
cd "$(dirname "$0")"
version="$(sed -n 's|.*github.com/open-policy-agent/opa v\([0-9.]*\).*|\1|p' go.mod | head -1)-$(cat go.mod go.sum tools.go | sha256sum | cut -c1-12)"
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/opa-$version"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -x $bin/opa ]]; then
  command -v go >/dev/null || { echo "e2e/opa/setup.sh: go is not installed (1.26 or newer)" >&2; exit 1; }
  echo "building opa $version (once)" >&2
  building="$(mktemp -d "$bin/building.XXXXXX")"
  trap 'rm -rf "$building"' EXIT
  nice -n 19 go build -mod=readonly -ldflags "-s -w" -o "$building/" github.com/open-policy-agent/opa >&2
  mv "$building/opa" "$bin/"
fi
echo "$bin"
