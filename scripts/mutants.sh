#!/usr/bin/env bash
# Mutation testing of the heart: changes the code in small ways, one at a time, and tells which change no test notices.
# What is changed, and which survivors are explained, is in .cargo/mutants.toml. All of it takes hours: name files or flags of
# cargo-mutants to run a part (`scripts/mutants.sh --file crates/core/src/decide/edge.rs`), `--iterate` to go on where it was stopped,
# `--list` to see what there is. Ends with an error where a mutant survives. What was found stays in .cache/mutants/mutants.out.
#
# It works on a copy, which is kept beside a target directory of its own, so that nothing is left changed and dependencies are
# compiled once. cargo-mutants is installed into .cache where it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
home=$PWD/.cache/mutants
PATH=$home/bin:$PATH
command -v cargo-mutants >/dev/null || cargo install cargo-mutants --version 27.1.0 --locked --root "$home"
rm -rf "$home/tree"
mkdir -p "$home/tree"
git ls-files -z --cached --others --exclude-standard --deduplicate |
	tar --create --null --ignore-failed-read --files-from=- | tar --extract --directory="$home/tree"
# Enough for the properties to notice what the tables do not; the tables are what is relied on.
export VIDIMUS_PROPERTY_CASES=${VIDIMUS_PROPERTY_CASES:-600}
export CARGO_TARGET_DIR=$home/target CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
cd "$home/tree"
exec cargo mutants --in-place --output "$home" "$@"
