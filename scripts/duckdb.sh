#!/usr/bin/env bash
# Prints a Python that has DuckDB, with which the index is compared in `make bench`; installed once, from PyPI, outside the tree.
set -euo pipefail
version=2.0.1
venv=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/duckdb-$version
if ! [[ -x $venv/bin/python && -e $venv/whole ]]; then
  echo "scripts/duckdb.sh: installing duckdb $version into $venv (once)" >&2
  python3 -m venv "$venv" >&2
  "$venv/bin/pip" install --quiet "duckdb==$version" >&2
  touch "$venv/whole"
fi
echo "$venv/bin/python"
