"""The server that the MCP conformance suite expects: every feature of the protocol once, on the official Python SDK, both eras.

Names, arguments and texts are what the suite's scenarios ask for ("Server Implementation Requirements" in its own output).
"""

import asyncio
import base64
import functools
import json
import logging
import warnings
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools.base import Tool
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    AudioContent,
    Completion,
    CreateMessageRequest,
    CreateMessageResult,
    ElicitRequest,
    ElicitResult,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from _serve import Log, arguments, listen, serve

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WAV = base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0").decode()
SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


class Events(EventStore):
    """The events of all streams, kept for as long as the process lives."""

    def __init__(self):
        self.events: list[tuple[str, Any]] = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        at = int(last_event_id) if last_event_id.isdigit() else len(self.events) + 1
        if at > len(self.events):
            return None
        stream = self.events[at - 1][0]
        for number, (of, message) in enumerate(self.events[at:], at + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


TOLD = {ElicitRequest: ElicitResult, CreateMessageRequest: CreateMessageResult, ListRootsRequest: ListRootsResult}


def form(message: str, **properties) -> dict:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"message": message, "requestedSchema": schema}


def asks(**requests) -> dict:
    """Input requests by key: a form, the words for a model, or None for the client's roots."""
    made = {}
    for key, what in requests.items():
        if what is None:
            made[key] = ListRootsRequest(method="roots/list", params=None)
        elif isinstance(what, str):
            messages = [{"role": "user", "content": {"type": "text", "text": what}}]
            made[key] = CreateMessageRequest(params={"messages": messages, "maxTokens": 100})
        else:
            made[key] = ElicitRequest(params=what)
    return made


class Answered:
    """The context of a call, with what its client answered in the meantime."""

    def __init__(self, ctx: Context, input_responses: dict | None = None, request_state: str | None = None):
        self.ctx, self.input_responses, self.request_state = ctx, input_responses, request_state

    def __getattr__(self, name: str):
        return getattr(self.ctx, name)


def either(function):
    """What asks by its answer (2026-07-28) asks by requests in a session: the same tool in both eras."""

    @functools.wraps(function)
    async def run(ctx: Context, **arguments):
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return await function(ctx=ctx, **arguments)
        of_call = ServerMessageMetadata(related_request_id=ctx.request_id)
        answered = Answered(ctx)
        while isinstance(answer := await function(ctx=answered, **arguments), InputRequiredResult):
            told = {key: await ctx.session.send_request(ask, TOLD[type(ask)], metadata=of_call) for key, ask in answer.input_requests.items()}
            answered = Answered(ctx, told, answer.request_state)
        return answer

    return run


def contents(server: MCPServer) -> None:
    """Tools that answer at once."""

    @server.tool(structured_output=False)
    def test_simple_text() -> list:
        """Text."""
        return [text("This is a simple text response for testing.")]

    @server.tool(structured_output=False)
    def test_image_content() -> list:
        """An image."""
        return [ImageContent(type="image", data=PNG, mime_type="image/png")]

    @server.tool(structured_output=False)
    def test_audio_content() -> list:
        """Sound."""
        return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]

    def embedded(uri, kind, words):
        return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=kind, text=words))

    @server.tool(structured_output=False)
    def test_embedded_resource() -> list:
        """A resource inside."""
        return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]

    @server.tool(structured_output=False)
    def test_multiple_content_types() -> list:
        """All of these."""
        return [
            text("Multiple content types test:"),
            ImageContent(type="image", data=PNG, mime_type="image/png"),
            embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
        ]

    @server.tool(structured_output=False)
    def test_error_handling() -> list:
        """An error."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool(structured_output=False)
    def test_custom_header(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "eu",
    ) -> list:
        """An argument that goes into a header too."""
        return [text(region)]


def talks(server: MCPServer) -> None:
    """Tools that say something, or ask, before they answer."""

    @server.tool(structured_output=False)
    async def test_tool_with_logging(ctx: Context) -> list:
        """Log messages."""
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.info(words)
            await asyncio.sleep(0.05)
        return [text("logged")]

    @server.tool(structured_output=False)
    async def test_logging_tool(ctx: Context) -> list:
        """One log message."""
        await ctx.info("a log message")
        return [text("logged")]

    @server.tool(structured_output=False)
    async def test_tool_with_progress(ctx: Context) -> list:
        """Progress."""
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100)
            await asyncio.sleep(0.05)
        return [text("done")]

    @server.tool(structured_output=False)
    async def test_reconnection(ctx: Context) -> list:
        """Closes its stream in the middle."""
        await ctx.close_sse_stream()
        await asyncio.sleep(0.2)
        return [text("reconnected")]

    @server.tool(structured_output=False)
    @either
    async def test_sampling(prompt: str, ctx: Context) -> list | InputRequiredResult:
        """Asks the client's model."""
        if (told := ctx.input_responses) is None:
            return InputRequiredResult(input_requests=asks(model=prompt))
        return [text(f"LLM response: {getattr(told['model'].content, 'text', told['model'].content)}")]

    def elicited(ctx: Context, words: str, ask: dict) -> list | InputRequiredResult:
        if (told := ctx.input_responses) is None:
            return InputRequiredResult(input_requests=asks(user=ask))
        return [text(words.format(action=told["user"].action, content=json.dumps(told["user"].content or {})))]

    @server.tool(structured_output=False)
    @either
    async def test_elicitation(message: str, ctx: Context) -> list | InputRequiredResult:
        """Asks the user."""
        word = {"type": "string"}
        return elicited(ctx, "User response: action: {action}, content: {content}", form(message, username=word, email=word))

    @server.tool(structured_output=False)
    @either
    async def test_elicitation_sep1034_defaults(ctx: Context) -> list | InputRequiredResult:
        """Asks with defaults."""
        properties = {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "default": True},
        }
        ask = {"message": "defaults", "requestedSchema": {"type": "object", "properties": properties, "required": []}}
        return elicited(ctx, "Elicitation completed: action={action}, content={content}", ask)

    @server.tool(structured_output=False)
    @either
    async def test_elicitation_sep1330_enums(ctx: Context) -> list | InputRequiredResult:
        """Asks with choices."""
        titled = [{"const": f"value{n}", "title": f"{word}"} for n, word in enumerate(("First Option", "Second Option", "Third Option"), 1)]
        choices = [{"const": f"value{n}", "title": f"{word}"} for n, word in enumerate(("First Choice", "Second Choice", "Third Choice"), 1)]
        options = ["option1", "option2", "option3"]
        names = ["Option One", "Option Two", "Option Three"]
        properties = {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": names},
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": choices}},
        }
        ask = {"message": "choices", "requestedSchema": {"type": "object", "properties": properties, "required": []}}
        return elicited(ctx, "Elicitation completed: action={action}, content={content}", ask)


def rounds(server: MCPServer) -> None:
    """Tools and a prompt that ask by an answer (input_required of 2026-07-28); in a session, by requests."""
    name = form("What is your name?", name={"type": "string"})

    def tool(function):
        return server.tool(structured_output=False)(either(function))

    def once(key: str, ask):
        """Asks for one thing until it is there, then answers with it."""

        async def run(ctx: Context) -> list | InputRequiredResult:
            told = (ctx.input_responses or {}).get(key)
            if told is None:
                return InputRequiredResult(input_requests=asks(**{key: ask}))
            return [text(told.model_dump_json())]

        return run

    for suffix, key, ask in (
        ("elicitation", "user_name", name),
        ("sampling", "capital_question", "What is the capital of France?"),
        ("list_roots", "client_roots", None),
    ):
        run = once(key, ask)
        run.__name__ = f"test_input_required_result_{suffix}"
        run.__doc__ = f"Needs {key}."
        tool(run)

    @tool
    async def test_input_required_result_request_state(ctx: Context) -> list | InputRequiredResult:
        """Needs its own state back."""
        if ctx.request_state != "state":
            ask = form("Please confirm", ok={"type": "boolean"})
            return InputRequiredResult(input_requests=asks(confirm=ask), request_state="state")
        return [text("state-ok")]

    @tool
    async def test_input_required_result_tampered_state(ctx: Context) -> list | InputRequiredResult:
        """Needs its own state back; the SDK seals it."""
        return await test_input_required_result_request_state(ctx)

    @tool
    async def test_input_required_result_multiple_inputs(ctx: Context) -> list | InputRequiredResult:
        """Needs three things."""
        if len(ctx.input_responses or {}) < 3:
            needed = asks(user_name=name, greeting="Generate a greeting", client_roots=None)
            return InputRequiredResult(input_requests=needed, request_state="state")
        return [text("all there")]

    @tool
    async def test_input_required_result_multi_round(ctx: Context) -> list | InputRequiredResult:
        """Needs two things, one after the other."""
        if ctx.request_state is None:
            ask = form("Step 1: What is your name?", name={"type": "string"})
            return InputRequiredResult(input_requests=asks(step1=ask), request_state="one")
        if ctx.request_state == "one":
            ask = form("Step 2: What is your favorite color?", color={"type": "string"})
            return InputRequiredResult(input_requests=asks(step2=ask), request_state="two")
        return [text("both there")]

    @tool
    async def test_input_required_result_capabilities(ctx: Context) -> list | InputRequiredResult:
        """Asks only for what the client can do."""
        able = ctx.client_capabilities
        possible = {"greeting": ("sampling", "Generate a greeting"), "user_name": ("elicitation", name)}
        needed = {key: ask for key, (of, ask) in possible.items() if able and getattr(able, of, None) is not None}
        if not needed or ctx.input_responses:
            return [text("nothing more")]
        return InputRequiredResult(input_requests=asks(**needed))

    @tool
    async def test_missing_capability(ctx: Context) -> list:
        """Needs a capability."""
        able = ctx.client_capabilities
        if not able or able.sampling is None:
            raise MCPError(-32021, "sampling is required", {"requiredCapabilities": {"sampling": {}}})
        return [text("able")]

    @tool
    async def test_streaming_elicitation(ctx: Context) -> list | InputRequiredResult:
        """Progress, then a question."""
        await ctx.report_progress(1, 2)
        if ctx.input_responses:
            return [text("answered")]
        return InputRequiredResult(input_requests=asks(user_name=name))

    @server.prompt()
    @either
    async def test_input_required_result_prompt(ctx: Context) -> list | InputRequiredResult:
        """A prompt that needs something."""
        if not ctx.input_responses:
            ask = form("What context should the prompt use?", context={"type": "string"})
            return InputRequiredResult(input_requests=asks(user_context=ask))
        return [UserMessage("with context")]


def documents(server: MCPServer) -> None:
    """Resources and prompts."""

    @server.resource("test://static-text", mime_type="text/plain", description="Text")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png", description="An image")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @server.resource("test://watched-resource", mime_type="text/plain", description="Changes")
    def watched() -> str:
        return "watched"

    @server.resource("test://template/{id}/data", mime_type="application/json", description="By id")
    def template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.prompt(description="Simple")
    def test_simple_prompt() -> list:
        return [UserMessage("This is a simple prompt for testing.")]

    @server.prompt(description="With arguments")
    def test_prompt_with_arguments(arg1: str, arg2: str) -> list:
        return [UserMessage(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")]

    @server.prompt(description="With a resource")
    def test_prompt_with_embedded_resource(resourceUri: str) -> list:
        inside = TextResourceContents(uri=resourceUri, mime_type="text/plain", text="Embedded resource content for testing.")
        return [
            UserMessage(EmbeddedResource(type="resource", resource=inside)),
            UserMessage("Please process the embedded resource above."),
        ]

    @server.prompt(description="With an image")
    def test_prompt_with_image() -> list:
        return [
            UserMessage(ImageContent(type="image", data=PNG, mime_type="image/png")),
            UserMessage("Please analyze the image above."),
        ]

    @server.completion()
    async def complete(ref, argument, context):
        return Completion(values=["paris", "park", "party"], total=150, has_more=False)


def changes(server: MCPServer) -> None:
    """What tells subscribers, and sessions' subscriptions."""

    @server.tool(structured_output=False)
    async def test_trigger_tool_change(ctx: Context) -> list:
        """Tools have changed."""
        await ctx.notify_tools_changed()
        return [text("changed")]

    @server.tool(structured_output=False)
    async def test_trigger_prompt_change(ctx: Context) -> list:
        """Prompts have changed."""
        await ctx.notify_prompts_changed()
        return [text("changed")]

    async def nothing(context, params) -> EmptyResult:
        return EmptyResult()

    low = server._lowlevel_server  # the SDK's high-level server has no hook for these
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, nothing)
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, nothing)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, nothing)


def json_schema_2020_12_tool() -> str:
    """A schema that uses much of its language."""
    return "ok"


def build() -> MCPServer:
    schema = Tool.from_function(json_schema_2020_12_tool, structured_output=False)
    schema = schema.model_copy(update={"parameters": SCHEMA_2020_12})
    server = MCPServer("everything", tools=[schema])
    for part in (contents, talks, rounds, documents, changes):
        part(server)
    return server


def main() -> None:
    args = arguments(__doc__).parse_args()
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.CRITICAL)  # refusals are answers here, not events to log
    log = Log(args.log)
    sock = listen(args.port)
    serve(build().streamable_http_app(event_store=Events(), retry_interval=100), sock, log)


if __name__ == "__main__":
    main()
