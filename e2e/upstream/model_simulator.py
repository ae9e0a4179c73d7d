"""A simulator of model providers. No model is behind it: every answer is computed from the request and says so.

OpenAI shape: POST /v1/chat/completions, /v1/responses (JSON and SSE), /v1/embeddings, GET /v1/models; wants `Authorization: Bearer KEY`.
Azure shape: the same below /openai/deployments/MODEL (with api-version) and /openai/v1; wants `api-key: KEY`.
Gemini shape: POST /v1/models/MODEL:generateContent, :streamGenerateContent (SSE, or a list), :countTokens, :batchEmbedContents, also below
/v1beta; wants `x-goog-api-key: KEY`.
Anthropic shape: POST /v1/messages (JSON and SSE); wants `x-api-key: KEY` or, as its SDK sends since 2.x, the bearer.
Another key, or none, gets the provider's own 401.
Deterministic: ids are digests of the request, the clock stands still, a token is a word.
"""

import asyncio
import base64
import hashlib
import json
import struct
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


def has_key(args, request) -> bool:
    """Whether the key came as this API has it, and by no other way."""
    azure = request.url.path.startswith("/openai/")
    given = {"authorization": f"Bearer {args.key}"} if not azure else {"api-key": args.key}
    return all(request.headers.get(name) == given.get(name) for name in ("authorization", "api-key", "x-goog-api-key"))


async def asked(args, request) -> dict:
    """The body, with the model that Azure's path names, which is the one that counts."""
    return {**await request.json(), **request.path_params}


async def chat_completions(args, request):
    if not has_key(args, request):
        return openai_error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
    if "model" in request.path_params and "api-version" not in request.query_params:
        return openai_error(404, "Resource not found", "invalid_request_error", "404")
    body = await asked(args, request)
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


def response_stream(response, chunks):
    """The events of a response that matter: created, its text, completed with its usage."""

    def event(kind, **fields):
        return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': 0, **fields})}\n\n"

    yield event("response.created", response={**response, "status": "in_progress", "output": [], "usage": None})
    for chunk in chunks:
        yield event("response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=chunk, logprobs=[])
    yield event("response.completed", response=response)


async def responses(args, request):
    if not has_key(args, request):
        return openai_error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
    body = await asked(args, request)
    if body.get("model") not in MODELS:
        return openai_error(404, f"The model `{body.get('model')}` does not exist", "invalid_request_error", "model_not_found")
    said = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    chunks, prompt, cut = answer_to({"messages": said}, body.get("max_output_tokens"))
    text = {"type": "output_text", "text": "".join(chunks), "annotations": [], "logprobs": []}
    response = {
        "id": id_of("resp_", body), "object": "response", "created_at": CREATED, "model": body["model"], "error": None,
        "status": "incomplete" if cut else "completed", "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": {"input_tokens": prompt, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": len(chunks),
                  "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": prompt + len(chunks)},
    }
    if body.get("stream"):
        return sse(response_stream(response, chunks), args.delay_ms / 1000)
    return JSONResponse(response)


def vector_of(text: str) -> list[float]:
    return [byte / 256 for byte in hashlib.sha256(text.encode()).digest()[:8]]


async def embeddings(args, request):
    if not has_key(args, request):
        return openai_error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
    body = await asked(args, request)
    if body.get("model") not in MODELS:
        return openai_error(404, f"The model `{body.get('model')}` does not exist", "invalid_request_error", "model_not_found")
    vector = vector_of(body["input"])
    if body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    words = len(body["input"].split())
    return JSONResponse({"object": "list", "model": body["model"], "data": [{"object": "embedding", "index": 0, "embedding": vector}],
                         "usage": {"prompt_tokens": words, "total_tokens": words}})


def gemini_error(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": status, "message": message, "status": kind}}, status)


def text_of(content) -> str:
    return " ".join(part.get("text", "") for part in content.get("parts", []))


async def listed(chunks, delay: float):
    """A list whose members come one after another: the form of a stream without `alt=sse`."""
    for index, chunk in enumerate(chunks):
        yield ("[" if index == 0 else ",\r\n") + json.dumps(chunk)
        await asyncio.sleep(delay)
    yield "]"


async def gemini(args, request):
    if request.headers.get("x-goog-api-key") != args.key or "authorization" in request.headers:
        return gemini_error(401, "UNAUTHENTICATED", "API key not valid.")
    model, _, verb = request.path_params["named"].partition(":")
    if model not in MODELS:
        return gemini_error(404, "NOT_FOUND", f"models/{model} is not found")
    body = await request.json()
    if verb == "batchEmbedContents":
        return JSONResponse({"embeddings": [{"values": vector_of(text_of(one["content"]))} for one in body["requests"]]})
    said = [{"content": text_of(content)} for content in body["contents"]]
    if verb == "countTokens":
        return JSONResponse({"totalTokens": sum(len(words_of(one["content"])) for one in said)})
    if verb not in ("generateContent", "streamGenerateContent"):
        return gemini_error(404, "NOT_FOUND", f"{verb} is not found")
    chunks, prompt, cut = answer_to({"messages": said}, body.get("generationConfig", {}).get("maxOutputTokens"))

    def answer(text, written, finish=None):
        candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, **({"finishReason": finish} if finish else {})}
        # Thoughts are counted apart, and are some of the answer's.
        usage = {"promptTokenCount": prompt, "candidatesTokenCount": written, "thoughtsTokenCount": 3, "totalTokenCount": prompt + written + 3}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": id_of("", body)}

    finish = "MAX_TOKENS" if cut else "STOP"
    if verb == "generateContent":
        return JSONResponse(answer("".join(chunks), len(chunks), finish))
    parts = [answer(chunk, index + 1, finish if index + 1 == len(chunks) else None) for index, chunk in enumerate(chunks)]
    if request.query_params.get("alt") == "sse":
        return sse((f"data: {json.dumps(part)}\r\n\r\n" for part in parts), args.delay_ms / 1000)
    return StreamingResponse(listed(parts, args.delay_ms / 1000), media_type="application/json")


async def models(args, request):
    if not has_key(args, request):
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
        Route("/v1/responses", partial(responses, args), methods=["POST"]),
        Route("/v1/embeddings", partial(embeddings, args), methods=["POST"]),
        Route("/openai/v1/chat/completions", partial(chat_completions, args), methods=["POST"]),
        Route("/openai/v1/responses", partial(responses, args), methods=["POST"]),
        Route("/openai/v1/embeddings", partial(embeddings, args), methods=["POST"]),
        Route("/openai/responses", partial(responses, args), methods=["POST"]),
        Route("/openai/deployments/{model}/chat/completions", partial(chat_completions, args), methods=["POST"]),
        Route("/openai/deployments/{model}/embeddings", partial(embeddings, args), methods=["POST"]),
        Route("/v1/models/{named}", partial(gemini, args), methods=["POST"]),
        Route("/v1beta/models/{named}", partial(gemini, args), methods=["POST"]),
        Route("/v1/messages", partial(messages, args), methods=["POST"]),
    ]
    serve(Starlette(routes=routes), listen(args.port), Log(args.log))


if __name__ == "__main__":
    main()
