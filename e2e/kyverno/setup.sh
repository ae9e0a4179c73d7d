#!/usr/bin/env bash
# Builds Kyverno's own command line from source, once for each version, and prints the path of its command. Ten minutes on two cores the first time;
# nothing after that.
set -euo pipefail
cd "$(dirname "$0")"
version="$(sed -n 's|.*github.com/kyverno/kyverno v\([0-9.]*\).*|\1|p' go.mod | head -1)-$(cat go.mod go.sum tools.go | sha256sum | cut -c1-12)"
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/kyverno-$version"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -x $bin/kubectl-kyverno ]]; then
  command -v go >/dev/null || { echo "e2e/kyverno/setup.sh: go is not installed (1.26 or newer)" >&2; exit 1; }
  echo "building Kyverno's command line $version (once)" >&2
  building="$(mktemp -d "$bin/building.XXXXXX")"
  trap 'rm -rf "$building"' EXIT
  # A build that was interrupted leaves nothing under the final name.
  nice -n 19 go build -mod=readonly -ldflags "-s -w" -o "$building/" github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno >&2
  mv "$building/kubectl-kyverno" "$bin/"
fi
echo "$bin/kubectl-kyverno"
