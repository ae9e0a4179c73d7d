#!/usr/bin/env bash
# Builds a real S3-compatible store (versitygw, over a directory) from source, once for each version, and prints the path of its command. Two
# minutes the first time; nothing after that.
set -euo pipefail
cd "$(dirname "$0")"
version="$(sed -n 's|.*versity/versitygw v\([0-9.]*\).*|\1|p' go.mod | head -1)-$(cat go.mod go.sum tools.go | sha256sum | cut -c1-12)"
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/s3-$version"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -x $bin/versitygw ]]; then
  command -v go >/dev/null || { echo "e2e/s3/setup.sh: go is not installed (1.26 or newer)" >&2; exit 1; }
  echo "building versitygw $version (once)" >&2
  building="$(mktemp -d "$bin/building.XXXXXX")"
  trap 'rm -rf "$building"' EXIT
  # A build that was interrupted leaves nothing under the final name.
  nice -n 19 go build -mod=readonly -ldflags "-s -w" -o "$building/" github.com/versity/versitygw/cmd/versitygw >&2
  mv "$building/versitygw" "$bin/"
fi
echo "$bin/versitygw"
