#!/usr/bin/env bash
# Builds a real witness (litewitness) and a reader of tiled logs from source, once for each version, and prints the directory they are
# in. A minute the first time; nothing after that.
set -euo pipefail
cd "$(dirname "$0")"
version="$(sed -n 's|.*filippo.io/torchwood v\([0-9.]*\).*|\1|p' go.mod | head -1)-$(cat go.mod go.sum tools.go reader/main.go | sha256sum | cut -c1-12)"
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/tlog-$version"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -x $bin/litewitness || ! -x $bin/reader ]]; then
  command -v go >/dev/null || { echo "e2e/tlog/setup.sh: go is not installed (1.26 or newer)" >&2; exit 1; }
  echo "building litewitness $version and a reader (once)" >&2
  building="$(mktemp -d "$bin/building.XXXXXX")"
  trap 'rm -rf "$building"' EXIT
  # A build that was interrupted leaves nothing under the final names.
  nice -n 19 go build -mod=readonly -ldflags "-s -w" -o "$building/" \
    filippo.io/torchwood/cmd/litewitness ./reader >&2
  mv "$building/litewitness" "$building/reader" "$bin/"
fi
echo "$bin"
