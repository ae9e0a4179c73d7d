"""The unmodified official Python A2A client, driven through one agent.

--version 1.0 or 0.3 keeps only the card's interfaces of that version; without it the SDK chooses (1.0 first). --binding is the transport;
over gRPC the token goes as metadata, and whatever else is sent is the SDK's own, as the card says.
--url is the agent's base; the card is read at URL/.well-known/agent-card.json and calls go to the URL that the card names.
--metadata goes into the message: {"skill": …, "hops": …}. Steps: card, send, stream, get, cancel; only where it is named: go_on, which sends a message that waits for a person again when it may be.
"""

import asyncio
import json
import uuid

import grpc
import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.client import ClientCallContext
from a2a.helpers import get_stream_response_text, new_text_message
from a2a.types.a2a_pb2 import CancelTaskRequest, GetTaskRequest, Role, SendMessageRequest, TaskState
from google.protobuf.json_format import MessageToDict

from _report import Report, arguments


def message(text: str, metadata: dict) -> SendMessageRequest:
    request = SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))
    request.message.metadata.update(metadata)
    return request


async def send(client, request, context=None):
    """The first answer: a Task or a Message."""
    async for event in client.send_message(request, context=context):
        return event
    raise RuntimeError("the agent sent nothing")


async def stream(client, request, context=None):
    """Every event, by its kind, with its text."""
    events = client.send_message(request, context=context)
    return [{"kind": e.WhichOneof("payload"), "text": get_stream_response_text(e)} async for e in events]


async def go_on(client, request, report):
    """Sends a message, and again with its task where a person has approved it; the last that is known of it."""
    task = (await send(client, request)).task
    report.line("waits", ok=True, result=MessageToDict(task))
    while task.status.state == TaskState.TASK_STATE_AUTH_REQUIRED:
        await asyncio.sleep(0.2)
        task = await client.get_task(GetTaskRequest(id=task.id))
    if task.status.state != TaskState.TASK_STATE_INPUT_REQUIRED:
        return task
    again = SendMessageRequest()
    again.CopyFrom(request)
    again.message.message_id, again.message.task_id, again.message.context_id = str(uuid.uuid4()), task.id, task.context_id
    return (await send(client, again)).task


async def cancel(client, text: str, context=None):
    """Starts a slow task without waiting for its end, then cancels it."""
    request = message(text, {"skill": "echo", "delay_ms": 1000})
    request.configuration.return_immediately = True
    event = await send(client, request, context)
    return await client.cancel_task(CancelTaskRequest(id=event.task.id), context=context)


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--version", choices=["1.0", "0.3"])
    parser.add_argument("--binding", choices=["JSONRPC", "HTTP+JSON", "GRPC"], default="JSONRPC")
    parser.add_argument("--task", help="the task that `get` asks for, instead of the one that was sent")
    parser.add_argument("--text", default="one two three")
    parser.add_argument("--metadata", type=json.loads, default={"skill": "echo"})
    args = parser.parse_args()
    report = Report(args.steps)
    headers = {"Authorization": f"Bearer {args.token}"} if args.token else {}

    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        report.wanted = report.wanted and ["card", *report.wanted]
        card = await report.step("card", A2ACardResolver(http, args.url).get_agent_card, MessageToDict)
        if card is None:
            return
        if args.version:
            kept = [i for i in card.supported_interfaces if i.protocol_version.startswith(args.version)]
            del card.supported_interfaces[:]
            card.supported_interfaces.extend(kept)
        config = {"httpx_client": http, "supported_protocol_bindings": [args.binding]}
        context = None
        if args.binding == "GRPC":
            config["grpc_channel_factory"] = grpc.aio.insecure_channel
            context = ClientCallContext(service_parameters=headers)
        plain = ClientFactory(ClientConfig(**config, streaming=False)).create(card)
        streaming = ClientFactory(ClientConfig(**config)).create(card)
        if report.wanted and "go_on" in report.wanted:
            await report.step("go_on", lambda: go_on(plain, message(args.text, args.metadata), report), MessageToDict)
        sent = await report.step("send", lambda: send(plain, message(args.text, args.metadata), context), MessageToDict)
        await report.step("stream", lambda: stream(streaming, message(args.text, args.metadata), context))
        task = args.task or sent and sent.HasField("task") and sent.task.id
        if task:
            await report.step("get", lambda: plain.get_task(GetTaskRequest(id=task), context=context), MessageToDict)
        await report.step("cancel", lambda: cancel(plain, args.text, context), MessageToDict)


if __name__ == "__main__":
    asyncio.run(main())
