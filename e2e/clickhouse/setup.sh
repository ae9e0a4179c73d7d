#!/usr/bin/env bash
# Prints a directory with `venv/bin/python`, which has ClickHouse's engine (chdb, from PyPI, 530 MB), and `sqltemplates/`, the tables of the
# collector's ClickHouse exporter as its module has them. Everything else goes to stderr. Idempotent.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/.*otlpreceiver v//p' "$here/../otel/builder.yaml")
dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/clickhouse-$version-$(sha256sum <"$here/requirements.txt" | cut -c1-12)
mkdir -p "$dir"
if command -v flock >/dev/null; then # two at once: the second waits, then finds the work done
  exec 9>"$dir/lock"
  flock 9
fi
if [[ ! -e $dir/stamp ]]; then
  command -v go >/dev/null || { echo "e2e/clickhouse/setup.sh: go is not installed (1.25 or newer)" >&2; exit 1; }
  {
    echo "installing ClickHouse's engine into $dir (once)"
    rm -rf "$dir/venv" "$dir/sqltemplates"
    python3 -m venv --without-pip "$dir/venv"
    # Of what it asks for, pandas and pyarrow, nothing is used here.
    python3 -m pip --python "$dir/venv/bin/python" install --quiet --no-deps --no-input -r "$here/requirements.txt"
    "$dir/venv/bin/python" -c 'import chdb; print(chdb.engine_version)'
    module=github.com/open-telemetry/opentelemetry-collector-contrib/exporter/clickhouseexporter@v$version
    # The sum of the module is checked against Go's database of sums.
    from=$(cd "$dir" && go mod download -json "$module" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    cp -r "$from/internal/sqltemplates" "$dir/sqltemplates"
    chmod -R u+w "$dir/sqltemplates"
    touch "$dir/stamp"
  } >&2
fi
echo "$dir"
