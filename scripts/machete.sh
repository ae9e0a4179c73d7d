#!/usr/bin/env bash
# Dependencies that no crate uses.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.9.2
if ! cargo machete --version >/dev/null 2>&1; then
  echo "installing cargo-machete $version (once)" >&2
  cargo install cargo-machete --locked --version "$version" >&2
fi
cargo machete --skip-target-dir
# machete looks at crates only: what the workspace declares and no crate takes is found here.
unused=0
for name in $(sed -n '/^\[workspace.dependencies\]/,/^\[workspace.lints/p' Cargo.toml | sed -nE 's/^([A-Za-z0-9_-]+) = .*/\1/p'); do
  if ! grep -qE "^$name(\.workspace|[ .=])" crates/*/Cargo.toml bench/Cargo.toml xtask/Cargo.toml; then
    echo "Cargo.toml: no crate of the workspace uses $name" >&2
    unused=1
  fi
done
exit $unused
