"""A real A2A agent (official Python SDK) that speaks 1.0 and 0.3 over JSON-RPC and HTTP+JSON on one endpoint, and 1.0 over gRPC at --grpc-port;
its card names what --bindings names.

--kind invoice (skills summarize, reconcile) calls on: with `hops` > 0 the next agent (--next-a2a), otherwise an MCP tool
(--mcp). It presents the very token it received, so the gateway's chain grows by one with each hop. Its answer is the inner
answer, or the refusal, word for word, with the task failed.
--kind echo (skill echo) streams its input back word by word and may be cancelled.

--push has webhooks told of tasks, by the SDK's own sender. --sign has each card that is served signed by the private key (a JWK) in that file; where
a file of that name with .changed is there, the card then says that it is another one.

What to do comes in the message's metadata: {"skill": "summarize", "hops": 2, "invoice": "INV-1", "delay_ms": 50}.
The answer is an artifact of two parts: the text, and the trail [{agent, skill, claims, token_sha256}], nearest agent first.
"""

import asyncio
import contextlib
import json
import logging
import pathlib

import grpc
import httpx
from a2a.client import ClientConfig, create_client
from a2a.helpers import get_artifact_text, get_data_parts, get_message_text, new_data_part, new_task_from_user_message
from a2a.helpers import new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler, GrpcHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import BasePushNotificationSender, InMemoryPushNotificationConfigStore, InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2_grpc
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Role, SendMessageRequest, TaskState
from a2a.utils.signing import create_agent_card_signer
from google.protobuf.json_format import MessageToDict
from jwt import PyJWK
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from starlette.applications import Starlette

from _credential import claims_of, digest_of
from _serve import Log, arguments, listen, serve

SKILLS = {"invoice": ["summarize", "reconcile"], "echo": ["echo"]}


def bearer(context) -> str:
    """The token of the incoming request, without its scheme."""
    return context.call_context.state["headers"].get("authorization", "").removeprefix("Bearer ")


async def ask_tool(url: str, token: str, invoice: str) -> str:
    """Calls get_invoice over MCP with the given token; the text of the result."""
    async with create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http:
        async with McpClient(streamable_http_client(url, http_client=http)) as client:
            result = await client.call_tool("get_invoice", {"id": invoice})
            text = "\n".join(part.text for part in result.content if part.type == "text")
            if result.is_error:
                raise RuntimeError(text)
            return text


async def ask_agent(url: str, token: str, text: str, metadata: dict) -> tuple[bool, str, list]:
    """Sends a message over A2A with the given token; whether it went well, the answer and the trail."""
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        client = await create_client(url, ClientConfig(httpx_client=http, streaming=False))
        request = SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))
        request.message.metadata.update(metadata)
        async for event in client.send_message(request):
            artifact = event.task.artifacts[0]
            trail = next(iter(get_data_parts(artifact.parts)), [])
            return event.task.status.state == TaskState.TASK_STATE_COMPLETED, get_artifact_text(artifact), trail
    raise RuntimeError("the agent sent nothing")


def innermost(error: BaseException) -> BaseException:
    """The one error inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class Agent(AgentExecutor):
    """Both kinds of agent."""

    def __init__(self, args):
        self.args = args

    async def execute(self, context, event_queue) -> None:
        task = context.current_task or new_task_from_user_message(context.message)
        if not context.current_task:
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.update_status(TaskState.TASK_STATE_WORKING)
        # numbers in metadata are floats: protobuf has no others there
        wish = MessageToDict(context.message).get("metadata", {})
        text = get_message_text(context.message)
        await (self.echo if self.args.kind == "echo" else self.invoice)(context, updater, text, wish)

    async def echo(self, context, updater, text: str, wish: dict) -> None:
        words, artifact = text.split() or [""], f"echo-{updater.task_id}"
        for index, word in enumerate(words):
            await asyncio.sleep(wish.get("delay_ms", 10) / 1000)
            note = updater.new_agent_message([new_text_part(f"{index + 1} of {len(words)}")])
            await updater.update_status(TaskState.TASK_STATE_WORKING, note)
            await updater.add_artifact([new_text_part(word + " ")], artifact_id=artifact, name="echo", append=index > 0,
                                       last_chunk=index == len(words) - 1)
        await updater.complete()

    async def invoice(self, context, updater, text: str, wish: dict) -> None:
        token, hops, trail = bearer(context), int(wish.get("hops", 0)), []
        await asyncio.sleep(wish.get("delay_ms", 0) / 1000)
        try:
            if hops > 0 and self.args.next_a2a:
                ok, answer, trail = await ask_agent(self.args.next_a2a, token, text, {**wish, "hops": hops - 1})
            elif self.args.mcp:
                ok, answer = True, await ask_tool(self.args.mcp, token, wish.get("invoice", "INV-1"))
            else:
                ok, answer = True, f"{self.args.name}: {text}"
        except Exception as error:
            ok, answer = False, str(innermost(error))
        me = {"agent": self.args.name, "skill": wish.get("skill"),
              "claims": claims_of(token), "token_sha256": digest_of(token)}
        await updater.add_artifact([new_text_part(answer), new_data_part([me, *trail])], name="answer")
        await (updater.complete() if ok else updater.failed())

    async def cancel(self, context, event_queue) -> None:
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def card(args, port: int) -> AgentCard:
    """The card; its interfaces name --public-url or this very server."""
    url = args.public_url or f"http://127.0.0.1:{port}/"
    at = lambda binding: f"127.0.0.1:{args.grpc_port}" if binding == "GRPC" else url
    return AgentCard(
        name=args.name,
        description=f"A test agent ({args.kind}).",
        version="1.0.0",
        capabilities=AgentCapabilities(streaming=True, push_notifications=args.push),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id=s, name=s, description=s, tags=["test"]) for s in SKILLS[args.kind]],
        supported_interfaces=[
            AgentInterface(url=at(binding), protocol_binding=binding, protocol_version=version)
            for binding in args.bindings.split(",")
            for version in args.versions.split(",")
            if binding != "GRPC" or version == "1.0"
        ],
    )


def signed_by(file: pathlib.Path):
    """What signs each card that is served, with the key that the file has by then."""

    async def sign(card: AgentCard) -> AgentCard:
        key, served = json.loads(file.read_text()), AgentCard()
        served.CopyFrom(card)
        create_agent_card_signer(PyJWK(key).key, {"kid": key["kid"], "alg": "ES256", "jku": None, "typ": "JOSE"})(served)
        if file.with_suffix(".changed").exists():
            served.description = "Another one."
        return served

    return sign


class LogCalls(grpc.aio.ServerInterceptor):
    """Writes one line for each call, as for each request over HTTP."""

    def __init__(self, log: Log):
        self.log = log

    async def intercept_service(self, continuation, details):
        self.log.write(method="POST", path=details.method, headers=[list(pair) for pair in details.invocation_metadata], body_length=0, body="")
        return await continuation(details)


def over_grpc(handler, port: int, log: Log):
    """Serves gRPC for as long as the application lives."""

    @contextlib.asynccontextmanager
    async def lifespan(_):
        server = grpc.aio.server(interceptors=[LogCalls(log)])
        a2a_pb2_grpc.add_A2AServiceServicer_to_server(GrpcHandler(handler), server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        yield
        await server.stop(1)

    return lifespan


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kind", choices=SKILLS, default="invoice")
    parser.add_argument("--name", help="default: KIND-agent")
    parser.add_argument("--next-a2a", help="base URL of the next agent, at the gateway")
    parser.add_argument("--mcp", help="URL of the MCP server, at the gateway")
    parser.add_argument("--public-url", help="the URL in the card")
    parser.add_argument("--versions", default="1.0,0.3", help="the versions in the card; without 0.3 it is not spoken")
    parser.add_argument("--bindings", default="JSONRPC", help="the bindings in the card: JSONRPC, HTTP+JSON, GRPC")
    parser.add_argument("--grpc-port", type=int, help="port on 127.0.0.1 where it speaks gRPC, if it does")
    parser.add_argument("--push", action="store_true", help="tell webhooks of tasks")
    parser.add_argument("--sign", type=pathlib.Path, help="file of the private key that signs the card")
    args = parser.parse_args()
    args.name = args.name or f"{args.kind}-agent"
    logging.basicConfig(level=logging.CRITICAL)  # refusals are answers here, not events to log
    sock = listen(args.port)
    agent_card = card(args, sock.getsockname()[1])
    push = {}
    if args.push:
        push["push_config_store"] = InMemoryPushNotificationConfigStore()
        push["push_sender"] = BasePushNotificationSender(httpx.AsyncClient(), push["push_config_store"])
    handler = DefaultRequestHandler(agent_executor=Agent(args), task_store=InMemoryTaskStore(), agent_card=agent_card, **push)
    of_old = "0.3" in args.versions
    routes = create_agent_card_routes(agent_card, signed_by(args.sign) if args.sign else None) + create_jsonrpc_routes(handler, "/", enable_v0_3_compat=of_old)
    routes += create_rest_routes(handler, enable_v0_3_compat=of_old)
    log = Log(args.log)
    lifespan = over_grpc(handler, args.grpc_port, log) if args.grpc_port else None
    serve(Starlette(routes=routes, lifespan=lifespan), sock, log)


if __name__ == "__main__":
    main()
