#!/usr/bin/env bash
# Builds a real SPIRE server and agent from source, once for each version, and prints the directory they are in.
# Five minutes and 2 GB of module cache the first time; nothing after that.
set -euo pipefail
cd "$(dirname "$0")"
version="$(sed -n 's|^\tgithub.com/spiffe/spire v\([0-9.]*\).*|\1|p' go.mod)-$(cat go.mod go.sum tools.go | sha256sum | cut -c1-12)"
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/spire-$version"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -x $bin/spire-server || ! -x $bin/spire-agent ]]; then
  command -v go >/dev/null || { echo "e2e/spire/setup.sh: go is not installed (1.25.3 or newer)" >&2; exit 1; }
  echo "building the SPIRE server and agent $version (once)" >&2
  building="$(mktemp -d "$bin/building.XXXXXX")"
  trap 'rm -rf "$building"' EXIT
  # A build that was interrupted leaves nothing under the final names.
  nice -n 19 go build -mod=readonly -ldflags "-s -w" -o "$building/" \
    github.com/spiffe/spire/cmd/spire-server github.com/spiffe/spire/cmd/spire-agent >&2
  mv "$building/spire-server" "$building/spire-agent" "$bin/"
fi
echo "$bin"
