#!/usr/bin/env bash
# Clients of AuthZEN that others wrote.
exec "$(dirname "${BASH_SOURCE[0]}")/../venv.sh" authzen
