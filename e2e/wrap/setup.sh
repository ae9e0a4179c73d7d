#!/usr/bin/env bash
# Clients of MCP that others wrote: fastmcp and the OpenAI Agents SDK in one environment, LangChain's in another (it has the MCP SDK 1). Prints
# both directories, a line each.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/../venv.sh" wrap
exec "$here/../venv.sh" wrap/langchain
