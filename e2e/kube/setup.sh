#!/usr/bin/env bash
# Builds a real kube-apiserver and its etcd from source, once for each version, and prints the directory they are in.
# Four minutes and 2 GB of module cache the first time; nothing after that.
set -euo pipefail
cd "$(dirname "$0")"
version="$(sed -n 's|^\tk8s.io/kubernetes v||p' go.mod)-$(cat go.mod go.sum tools.go | sha256sum | cut -c1-12)"
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/kube-$version"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -x $bin/kube-apiserver || ! -x $bin/etcd ]]; then
  command -v go >/dev/null || { echo "e2e/kube/setup.sh: go is not installed (1.24 or newer)" >&2; exit 1; }
  echo "building kube-apiserver and etcd $version (once)" >&2
  building="$(mktemp -d "$bin/building.XXXXXX")"
  trap 'rm -rf "$building"' EXIT
  # A build that was interrupted leaves nothing under the final names.
  nice -n 19 go build -mod=readonly -tags netgo -ldflags "-s -w" -o "$building/etcd" go.etcd.io/etcd/server/v3 >&2
  nice -n 19 go build -mod=readonly -tags netgo -ldflags "-s -w" -o "$building/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver >&2
  mv "$building/etcd" "$building/kube-apiserver" "$bin/"
fi
echo "$bin"
