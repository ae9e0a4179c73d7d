"""The unmodified official Google Gen AI client. --url is the base above /v1.

Steps: models, generate, stream, chat, count, embed. --api-version is the SDK's own where it is left out. Each says which headers the SDK sent.
"""

import asyncio

from google import genai
from google.genai import types

from _report import Report, arguments, plain


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="simulator-small")
    parser.add_argument("--text", default="Hello there")
    parser.add_argument("--api-version")
    args = parser.parse_args()
    report = Report(args.steps)
    options = types.HttpOptions(base_url=args.url, api_version=args.api_version)
    client = genai.Client(api_key=args.token or "none", http_options=options).aio
    config = types.GenerateContentConfig(max_output_tokens=100, temperature=0.5)
    asked = {"model": args.model, "contents": args.text}

    async def models():
        return [model.name async for model in await client.models.list()]

    async def stream():
        chunks, usage = [], None
        async for chunk in await client.models.generate_content_stream(**asked, config=config):
            chunks.append(chunk.text or "")
            usage = chunk.usage_metadata or usage
        return {"text": "".join(chunks), "chunks": len(chunks), "usage": plain(usage)}

    async def generate():
        answer = await client.models.generate_content(**asked, config=config)
        return {"text": answer.text, "usage": plain(answer.usage_metadata)}

    async def chat():
        talk = client.chats.create(model=args.model)
        await talk.send_message(args.text)
        return {"text": (await talk.send_message("and again")).text}

    async def count():
        return {"tokens": (await client.models.count_tokens(**asked)).total_tokens}

    async def embed():
        answer = await client.models.embed_content(**asked)
        return {"lengths": [len(one.values) for one in answer.embeddings]}

    for step in (models, generate, stream, chat, count, embed):
        await report.step(step.__name__, step)


if __name__ == "__main__":
    asyncio.run(main())
