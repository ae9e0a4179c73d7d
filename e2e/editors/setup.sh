#!/usr/bin/env bash
# A validator of JSON Schema, and a reader of YAML.
exec "$(dirname "${BASH_SOURCE[0]}")/../venv.sh" editors
