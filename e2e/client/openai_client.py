"""The unmodified official OpenAI client. --url is the base up to and including /v1.

Steps: models, chat, stream (with usage), plain_stream (without asking for it), embed, respond, respond_stream. Each says which headers the SDK sent.
"""

import asyncio

import openai

from _report import Report, arguments
from _sent import Sent


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="simulator-small")
    parser.add_argument("--text", default="Hello there")
    parser.add_argument("--max-tokens", type=int, help="of a chat's answer")
    args = parser.parse_args()
    report, sent = Report(args.steps), Sent()
    asked = {"model": args.model, "messages": [{"role": "user", "content": args.text}]}
    if args.max_tokens:
        asked["max_tokens"] = args.max_tokens

    http = sent.client(openai.DefaultAsyncHttpxClient)
    async with openai.AsyncOpenAI(api_key=args.token or "none", base_url=args.url, http_client=http, max_retries=0) as client:

        async def models():
            return [m.id async for m in client.models.list()]

        async def stream():
            chunks, usage = [], None
            asked_stream = {**asked, "stream": True, "stream_options": {"include_usage": True}}
            async for event in await client.chat.completions.create(**asked_stream):
                chunks += [c.delta.content for c in event.choices if c.delta.content]
                usage = event.usage or usage
            return {"text": "".join(chunks), "chunks": len(chunks), "usage": usage}

        async def plain_stream():
            events = [e async for e in await client.chat.completions.create(**asked, stream=True)]
            text = "".join(c.delta.content or "" for e in events for c in e.choices)
            return {"text": text, "without_choices": sum(not e.choices for e in events), "with_usage": sum(e.usage is not None for e in events)}

        async def embed():
            answer = await client.embeddings.create(model=args.model, input=args.text)
            return {"length": len(answer.data[0].embedding)}

        async def respond():
            answer = await client.responses.create(model=args.model, input=args.text)
            return {"text": answer.output_text, "output_tokens": answer.usage.output_tokens}

        async def respond_stream():
            chunks, usage = [], None
            async for event in await client.responses.create(model=args.model, input=args.text, stream=True):
                chunks += [event.delta] if event.type == "response.output_text.delta" else []
                usage = event.response.usage if event.type == "response.completed" else usage
            return {"text": "".join(chunks), "output_tokens": usage.output_tokens}

        await report.step("models", models, sent.beside)
        await report.step("chat", lambda: client.chat.completions.create(**asked), sent.beside)
        await report.step("stream", stream, sent.beside)
        await report.step("plain_stream", plain_stream, sent.beside)
        for step in (embed, respond, respond_stream):
            await report.step(step.__name__, step, sent.beside)


if __name__ == "__main__":
    asyncio.run(main())
