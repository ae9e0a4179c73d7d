#!/usr/bin/env bash
# Runs fuzz targets one after the other, FUZZ_SECONDS each: all of them, or those named. What is found stays in fuzz/corpus (inputs)
# and fuzz/artifacts (crashes). Needs a nightly toolchain; cargo-fuzz is installed into .cache where it is missing.
# No address sanitizer: unsafe code is denied here, so what there is to find are panics, overflows, hangs and broken promises.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
toolchain=${FUZZ_TOOLCHAIN:-nightly}
PATH=$PWD/.cache/fuzz/bin:$PATH
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --version 0.13.2 --locked --root .cache/fuzz
cd fuzz
[ $# -gt 0 ] || mapfile -t targets < <(cargo "+$toolchain" fuzz list --fuzz-dir .)
cargo "+$toolchain" fuzz build --fuzz-dir . --sanitizer none
for target in "${@:-${targets[@]}}"; do
	echo "== $target, ${FUZZ_SECONDS:-30} s"
	mkdir -p "corpus/$target"
	cargo "+$toolchain" fuzz run --fuzz-dir . --sanitizer none "$target" "corpus/$target" "seeds/$target" -- \
		"-max_total_time=${FUZZ_SECONDS:-30}" -dict=words.dict -timeout=10 -rss_limit_mb=4096 -print_final_stats=1
done
