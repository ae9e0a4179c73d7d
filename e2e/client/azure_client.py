"""The unmodified official OpenAI client for Azure. --url is the base above /openai.

Steps: models, chat, stream (usage not asked for), embed, respond, respond_stream. Each says which headers the SDK sent.
"""

import asyncio

import openai

from _report import Report, arguments
from _sent import Sent


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="simulator-small")
    parser.add_argument("--text", default="Hello there")
    parser.add_argument("--api-version", default="2024-10-21")
    args = parser.parse_args()
    report, sent = Report(args.steps), Sent()
    asked = {"model": args.model, "messages": [{"role": "user", "content": args.text}]}

    http = sent.client(openai.DefaultAsyncHttpxClient)
    given = {"api_key": args.token or "none", "azure_endpoint": args.url, "api_version": args.api_version}
    async with openai.AsyncAzureOpenAI(**given, http_client=http, max_retries=0) as client:

        async def models():
            return [m.id async for m in client.models.list()]

        async def stream():
            events = [e async for e in await client.chat.completions.create(**asked, stream=True)]
            text = "".join(c.delta.content or "" for e in events for c in e.choices)
            return {"text": text, "with_usage": sum(e.usage is not None for e in events)}

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
        for step in (stream, embed, respond, respond_stream):
            await report.step(step.__name__, step, sent.beside)


if __name__ == "__main__":
    asyncio.run(main())
