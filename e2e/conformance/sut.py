"""The agent that the A2A compatibility kit expects, on the official Python SDK: what it does follows from how a message's id begins.

The card's address is `--public-url`, which is where the kit goes on to.
"""

import asyncio
import logging

import httpx
from a2a.helpers import new_data_part, new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import BasePushNotificationSender, InMemoryPushNotificationConfigStore, InMemoryTaskStore, TaskUpdater
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Part, TaskState
from starlette.applications import Starlette

from _serve import Log, arguments, listen, serve
from a2a_agent import over_grpc

TEXT_FILE = Part(raw=b"tck", media_type="text/plain", filename="output.txt")
LINKED_FILE = Part(url="https://example.com/output.txt", media_type="text/plain", filename="output.txt")

# How the id of a message begins, and the parts of the artifact that answers it. The longest beginning that fits counts.
ARTIFACTS = {
    "tck-artifact-text": [new_text_part("Generated text content")],
    "tck-artifact-file-url": [LINKED_FILE],
    "tck-artifact-file": [TEXT_FILE],
    "tck-artifact-data": [new_data_part({"key": "value", "count": 42})],
    "tck-stream-artifact-text": [new_text_part("Streamed text content")],
    "tck-stream-artifact-file": [TEXT_FILE],
    "tck-stream-ordering-001": [new_text_part("Ordered output")],
    "tck-stream-001": [new_text_part("Stream hello from TCK")],
    "tck-stream-003": [new_text_part("Stream task lifecycle")],
}


class Agent(AgentExecutor):
    """Does what the kit's scenarios say."""

    async def execute(self, context, event_queue) -> None:
        message = context.message
        if message.message_id.startswith("tck-message-response"):
            answer = TaskUpdater(event_queue, context.task_id, context.context_id)
            await event_queue.enqueue_event(answer.new_agent_message([new_text_part("Direct message response")]))
            return
        task = context.current_task or new_task_from_user_message(message)
        if not context.current_task:
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await self.answer(message.message_id, updater)

    async def answer(self, name: str, updater) -> None:
        streams = name.startswith("tck-stream") or name.startswith("test-resubscribe")
        if streams:
            await updater.update_status(TaskState.TASK_STATE_WORKING)
        if name.startswith("tck-input-required"):
            return await updater.requires_input()
        if name.startswith("tck-reject-task"):
            return await updater.reject(updater.new_agent_message([new_text_part("rejected")]))
        if name.startswith("test-resubscribe"):
            await asyncio.sleep(4)  # twice what the kit waits for a stream
        if name.startswith("tck-stream-artifact-chunked"):
            chunk = {"artifact_id": "chunked", "name": "chunked"}
            await updater.add_artifact([new_text_part("chunk-1 ")], **chunk, append=False, last_chunk=False)
            await updater.add_artifact([new_text_part("chunk-2")], **chunk, append=True, last_chunk=True)
        fitting = [begin for begin in ARTIFACTS if name.startswith(begin)]
        if fitting:
            await updater.add_artifact(ARTIFACTS[max(fitting, key=len)])
        if fitting or streams:
            return await updater.complete()
        await updater.complete(updater.new_agent_message([new_text_part("Hello from TCK")]))

    async def cancel(self, context, event_queue) -> None:
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--public-url", help="the address in the card")
    parser.add_argument("--bindings", default="JSONRPC", help="the bindings in the card: JSONRPC, HTTP+JSON, GRPC")
    parser.add_argument("--grpc-port", type=int, help="port on 127.0.0.1 where it speaks gRPC, if it does")
    args = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    sock = listen(args.port)
    url = args.public_url or f"http://127.0.0.1:{sock.getsockname()[1]}/"
    at = lambda binding: f"127.0.0.1:{args.grpc_port}" if binding == "GRPC" else url
    card = AgentCard(
        name="sut",
        description="The system under test.",
        version="1.0.0",
        capabilities=AgentCapabilities(streaming=True, push_notifications=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="tck", name="tck", description="Does what the kit says.", tags=["tck"])],
        supported_interfaces=[
            AgentInterface(url=at(binding), protocol_binding=binding, protocol_version="1.0") for binding in args.bindings.split(",")
        ],
    )
    webhooks = InMemoryPushNotificationConfigStore()
    handler = DefaultRequestHandler(
        agent_executor=Agent(), task_store=InMemoryTaskStore(), agent_card=card,
        push_config_store=webhooks, push_sender=BasePushNotificationSender(httpx.AsyncClient(), webhooks),
    )
    routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True)
    routes += create_rest_routes(handler)
    log = Log(args.log)
    serve(Starlette(routes=routes, lifespan=over_grpc(handler, args.grpc_port, log) if args.grpc_port else None), sock, log)


if __name__ == "__main__":
    main()
