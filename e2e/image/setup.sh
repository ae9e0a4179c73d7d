#!/usr/bin/env bash
# Installs a reader of CycloneDX with its schemas, once, into a cache outside the tree, and prints the directory. Needs python3 with pip and PyPI.
set -euo pipefail
version=11.12.0
dir="${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/image-cyclonedx-$version"
mkdir -p "$dir"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$dir/lock"
  flock 9
fi
if [[ ! -e $dir/stamp ]]; then
  echo "e2e/image/setup.sh: installing cyclonedx-python-lib $version into $dir (once)" >&2
  rm -rf "$dir/python"
  python3 -m pip install --quiet --no-input --target "$dir/python" "cyclonedx-python-lib[json-validation]==$version" >&2
  touch "$dir/stamp"
fi
echo "$dir/python"
