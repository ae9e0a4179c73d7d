#!/usr/bin/env bash
# Prints the path of a real Chromium: the one that CHROMIUM names, or on PATH, else Debian's, which is installed (as root). Everything
# else goes to stderr. Idempotent.
set -euo pipefail

for name in ${CHROMIUM:-} chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then
    command -v "$name"
    exit 0
  fi
done

command -v apt-get >/dev/null || { echo "e2e/chromium/setup.sh: there is no chromium on PATH, and no apt-get to fetch one; set CHROMIUM" >&2; exit 1; }
[[ $(id -u) == 0 ]] || { echo "e2e/chromium/setup.sh: there is no chromium on PATH; as root: apt-get install chromium" >&2; exit 1; }
echo "e2e/chromium/setup.sh: installing Debian's chromium, once" >&2
export DEBIAN_FRONTEND=noninteractive
{
  # Without lists of packages nothing is found; a fresh machine may have none, or old ones.
  apt-get install --yes --quiet --no-install-recommends chromium || { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends chromium; }
} >&2
command -v chromium
