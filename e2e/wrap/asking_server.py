"""A stdio server of the official Python SDK which asks its client's user, in whatever way its era has for that. It counts its calls."""

from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Elicit, Resolve
from pydantic import BaseModel

server = MCPServer("asking")
calls = 0


class Who(BaseModel):
    name: str


async def who() -> Elicit[Who]:
    return Elicit("Who are you?", Who)


@server.tool()
async def greet(person: Annotated[Who, Resolve(who)]) -> str:
    """Greets whoever the client's user says that it is."""
    return f"Hello {person.name}"


@server.tool()
def count() -> dict[str, int]:
    """How often this process was called."""
    global calls
    calls += 1
    return {"calls": calls}


@server.tool()
async def steps(ctx: Context, many: int = 3) -> str:
    """Tells of its progress."""
    for step in range(1, many + 1):
        await ctx.report_progress(step, many)
    return f"{many} steps"


@server.resource("text://motto")
def motto() -> str:
    """What it goes by."""
    return "One call, one decision."


@server.prompt()
def haiku(about: str) -> str:
    """A prompt with an argument."""
    return f"Write a haiku about {about}."


server.run("stdio")
