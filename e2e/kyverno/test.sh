#!/usr/bin/env bash
# What Kyverno's own command line says of the twenty pods, with the policies of deploy/admission.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VIDIMUS_KYVERNO=$("$here/setup.sh")
export VIDIMUS_KYVERNO PYTHONDONTWRITEBYTECODE=
cd "$here"
exec python3 -m unittest -v "$@"
