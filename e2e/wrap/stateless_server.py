"""A stdio server of the official Python SDK, which speaks 2026-07-28 and the eras before. It says which process it is."""

import os

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("counter")
calls = 0


@server.tool()
def count() -> dict[str, int]:
    """How often this process was called."""
    global calls
    calls += 1
    return {"calls": calls, "pid": os.getpid()}


@server.tool()
async def steps(ctx: Context, many: int = 3) -> str:
    """Tells of its progress."""
    for step in range(1, many + 1):
        await ctx.report_progress(step, many)
    return f"{many} steps"


server.run("stdio")
