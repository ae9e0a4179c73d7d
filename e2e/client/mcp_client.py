"""The unmodified official Python MCP client, driven through one session.

--era 2025: the `initialize` handshake. --era auto: the SDK's default, `server/discover` with fall-back.
--era 2026: as auto, but landing anywhere else than on 2026-07-28 is reported as a failed `connect`.
--elicit ACTION: the client says that it leads its user to addresses, and answers so when it is asked to; each time is a step `elicited`.
Steps: connect, list_tools, call_tool, list_resources, read_resource, list_prompts, get_prompt, progress, cancel, close.
"""

import asyncio
import json
import sys

import anyio
import mcp_types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from _report import Report, arguments, describe, innermost, plain

MODES = {"2025": "legacy", "2026": "auto", "auto": "auto"}


def flags():
    parser = arguments(__doc__)
    parser.add_argument("--era", choices=MODES, default="auto")
    parser.add_argument("--call", nargs=2, action="append", metavar=("TOOL", "JSON"), help="repeatable")
    parser.add_argument("--resource", help="uri; default: the first one listed")
    parser.add_argument("--prompt", nargs=2, metavar=("NAME", "JSON"), default=["summarize", '{"id": "INV-1"}'])
    parser.add_argument("--slow", nargs=2, metavar=("TOOL", "JSON"), default=["slow_report", '{"steps": 3}'])
    parser.add_argument("--slow-cancel", nargs=2, metavar=("TOOL", "JSON"),
                        default=["slow_report", '{"steps": 100, "delay_ms": 100}'])
    parser.add_argument("--elicit", choices=["accept", "decline", "cancel"])
    return parser.parse_args()


def elicitation(args, report):
    """What a client does whose user is led to an address; None for one that leads nobody."""

    async def ask(context, params):
        report.line("elicited", ok=True, result=plain(params))
        return mcp_types.ElicitResult(action=args.elicit)

    return ask if args.elicit else None


async def progress(client, tool, arguments):
    seen = []

    async def note(progress, total, message):
        seen.append({"progress": progress, "total": total, "message": message})

    result = await client.call_tool(tool, json.loads(arguments), progress_callback=note)
    return {"progress": seen, "result": plain(result)}


async def cancel(client, tool, arguments):
    """Abandons a call after 500 ms: 2025 posts notifications/cancelled, 2026 closes the response stream."""
    with anyio.move_on_after(0.5) as scope:
        await client.call_tool(tool, json.loads(arguments))
    await anyio.sleep(0.2)  # lets the transport carry the cancellation out before the session ends
    return {"cancelled": scope.cancelled_caught}


async def drive(client, args, report):
    for tool, tool_arguments in args.call or [["get_invoice", '{"id": "INV-1"}']]:
        await report.step("call_tool", lambda: client.call_tool(tool, json.loads(tool_arguments)),
                          lambda r: {"tool": tool, **plain(r)})
    listed = await report.step("list_resources", client.list_resources, lambda r: [str(x.uri) for x in r.resources])
    uri = args.resource or (str(listed.resources[0].uri) if listed and listed.resources else None)
    if uri:
        await report.step("read_resource", lambda: client.read_resource(uri))
    await report.step("list_prompts", client.list_prompts, lambda r: [p.name for p in r.prompts])
    await report.step("get_prompt", lambda: client.get_prompt(args.prompt[0], json.loads(args.prompt[1])))
    await report.step("progress", lambda: progress(client, *args.slow))
    await report.step("cancel", lambda: cancel(client, *args.slow_cancel))


async def main() -> None:
    args = flags()
    report = Report(args.steps)
    headers = {"Authorization": f"Bearer {args.token}"} if args.token else None
    connected = False
    try:
        async with create_mcp_http_client(headers=headers) as http:
            async with Client(streamable_http_client(args.url, http_client=http), mode=MODES[args.era],
                              elicitation_callback=elicitation(args, report)) as client:
                connected = True
                version = client.protocol_version
                report.line("connect", ok=args.era != "2026" or version == "2026-07-28",
                            result={"protocol_version": version, "server": plain(client.server_info)})
                await report.step("list_tools", client.list_tools, lambda r: [t.name for t in r.tools])
                await drive(client, args, report)
        report.line("close", ok=True, result=None)
    except Exception as error:
        report.line("close" if connected else "connect", ok=False, error=describe(innermost(error)))


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)
