#!/usr/bin/env bash
# Licences, bans and sources of every dependency. Advisories need a network that CI does not have: run `cargo deny check` where there is one.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
if ! cargo deny --version >/dev/null 2>&1; then
  echo "installing cargo-deny $version (once)" >&2
  cargo install cargo-deny --locked --version "$version" >&2
fi
cargo deny --all-features check --hide-inclusion-graph bans licenses sources
