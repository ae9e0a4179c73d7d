"""FastMCP's proxy in front of the MCP server, as its documentation starts one; it has no policies."""

import json
import os
from importlib.metadata import version
from pathlib import Path

from fastmcp.server import create_proxy

if __name__ == "__main__":
    proxy = create_proxy(f"http://127.0.0.1:{os.environ['UPSTREAM']}/mcp", name="bench")
    ready = {
        "product": f"FastMCP {version('fastmcp')}",
        "surface": {"mcp": "/mcp", "exact": False},
        "tokens": ["none"],
        "cannot": {name: "FastMCP proxies MCP only" for name in ("a2a_send", "llm_chat", "llm_chat_stream")},
    }
    (Path(os.environ["DIR"]) / "ready.json").write_text(json.dumps(ready))
    proxy.run(transport="http", host="127.0.0.1", port=int(os.environ["PORT"]), log_level="ERROR", show_banner=False)
