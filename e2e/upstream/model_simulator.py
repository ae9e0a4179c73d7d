"""A simulator of model providers. No model is behind it: every answer is computed from the request and says so.

OpenAI shape: POST /v1/chat/completions (JSON and SSE), GET /v1/models; wants `Authorization: Bearer KEY`.
Anthropic shape: POST /v1/messages (JSON and SSE); wants `x-api-key: KEY` or, as its SDK sends since 2.x, the bearer.
Another key, or none, gets the provider's own 401.
Deterministic: ids are digests of the request, the clock stands still, a token is a word.
"""

import asyncio
import hashlib
import json
from functools import partial

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from _serve import Log, arguments, listen, serve

MODELS = ["simulator-small", "simulator-large"]
CREATED = 1_700_000_000


def words_of(content) -> list[str]:
    """The words of a message's content, be it text or parts."""
    if isinstance(content, list):
        content = " ".join(part.get("text", "") for part in content)
    return (content or "").split()


def answer_to(body: dict, limit: int | None) -> tuple[list[str], int, bool]:
    """The simulated answer as chunks, the number of prompt tokens, and whether the limit cut it."""
    messages = body["messages"]
    prompt = sum(len(words_of(m.get("content"))) for m in messages) + len(words_of(body.get("system")))
    words = ["This", "is", "a", "simulator,", "not", "a", "model.", "You", "said:", *words_of(messages[-1].get("content"))]
    cut = limit is not None and limit < len(words)
    words = words[:limit] if cut else words
    return [w if i == 0 else f" {w}" for i, w in enumerate(words)], prompt, cut


def id_of(prefix: str, body: dict) -> str:
    return prefix + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]


def openai_error(status: int, message: str, kind: str, code: str | None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": code}}, status)


def anthropic_error(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"}, status)


async def paced(events, delay: float):
    """The events with a pause after each, so that streaming can be seen."""
    for event in events:
        yield event
        await asyncio.sleep(delay)


def sse(events, delay: float) -> StreamingResponse:
    return StreamingResponse(paced(events, delay), media_type="text/event-stream", headers={"cache-control": "no-cache"})


def openai_stream(body, chunks, usage, finish):
    """The chunks of a streamed completion; with include_usage every chunk has `usage`, null but in the last."""
    counted = (body.get("stream_options") or {}).get("include_usage")
    head = {"id": id_of("chatcmpl-", body), "object": "chat.completion.chunk", "created": CREATED, "model": body["model"]}

    def event(choices, spent=None):
        return "data: " + json.dumps({**head, "choices": choices, **({"usage": spent} if counted else {})}) + "\n\n"

    yield event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    for chunk in chunks:
        yield event([{"index": 0, "delta": {"content": chunk}, "finish_reason": None}])
    yield event([{"index": 0, "delta": {}, "finish_reason": finish}])
    if counted:
        yield event([], usage)
    yield "data: [DONE]\n\n"


async def chat_completions(args, request):
    if request.headers.get("authorization") != f"Bearer {args.key}":
        return openai_error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
    body = await request.json()
    if body.get("model") not in MODELS:
        return openai_error(404, f"The model `{body.get('model')}` does not exist", "invalid_request_error", "model_not_found")
    chunks, prompt, cut = answer_to(body, body.get("max_completion_tokens") or body.get("max_tokens"))
    usage = {"prompt_tokens": prompt, "completion_tokens": len(chunks), "total_tokens": prompt + len(chunks)}
    finish = "length" if cut else "stop"
    if body.get("stream"):
        return sse(openai_stream(body, chunks, usage, finish), args.delay_ms / 1000)
    return JSONResponse({
        "id": id_of("chatcmpl-", body), "object": "chat.completion", "created": CREATED, "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(chunks), "refusal": None},
                     "logprobs": None, "finish_reason": finish}],
        "usage": usage,
    })


async def models(args, request):
    if request.headers.get("authorization") != f"Bearer {args.key}":
        return openai_error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
    data = [{"id": m, "object": "model", "created": CREATED, "owned_by": "simulator"} for m in MODELS]
    return JSONResponse({"object": "list", "data": data})


def anthropic_stream(message, chunks, usage, stop):
    """message_start … message_stop, as named SSE events."""

    def event(kind, **fields):
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"

    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield event("message_start", message=start)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for chunk in chunks:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": chunk})
    yield event("content_block_stop", index=0)
    yield event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": len(chunks)})
    yield event("message_stop")


async def messages(args, request):
    if args.key not in (request.headers.get("x-api-key"), request.headers.get("authorization", "").removeprefix("Bearer ")):
        return anthropic_error(401, "authentication_error", "invalid x-api-key")
    body = await request.json()
    if body.get("model") not in MODELS:
        return anthropic_error(404, "not_found_error", f"model: {body.get('model')}")
    if "max_tokens" not in body:
        return anthropic_error(400, "invalid_request_error", "max_tokens: Field required")
    chunks, prompt, cut = answer_to(body, body["max_tokens"])
    usage, stop = {"input_tokens": prompt, "output_tokens": len(chunks)}, "max_tokens" if cut else "end_turn"
    message = {
        "id": id_of("msg_", body), "type": "message", "role": "assistant", "model": body["model"],
        "content": [{"type": "text", "text": "".join(chunks)}], "stop_reason": stop, "stop_sequence": None, "usage": usage,
    }
    if body.get("stream"):
        return sse(anthropic_stream(message, chunks, usage, stop), args.delay_ms / 1000)
    return JSONResponse(message)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--key", required=True, help="the provider key that this simulator accepts")
    parser.add_argument("--delay-ms", type=float, default=5, help="pause between streamed events")
    args = parser.parse_args()
    routes = [
        Route("/v1/chat/completions", partial(chat_completions, args), methods=["POST"]),
        Route("/v1/models", partial(models, args)),
        Route("/v1/messages", partial(messages, args), methods=["POST"]),
    ]
    serve(Starlette(routes=routes), listen(args.port), Log(args.log))


if __name__ == "__main__":
    main()
