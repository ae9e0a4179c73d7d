"""The unmodified official Anthropic client. --url is the base above /v1.

--as api-key and --as auth-token give the token to the SDK under that name (2.x sends both as `Authorization: Bearer`);
--as x-api-key adds it as that header, as SDKs before 2.x and many other clients do.
Steps: message, stream. Each says which headers the SDK sent.
"""

import asyncio

import anthropic

from _report import Report, arguments
from _sent import Sent


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--as", dest="way", choices=["api-key", "auth-token", "x-api-key"], default="api-key")
    parser.add_argument("--model", default="simulator-small")
    parser.add_argument("--text", default="Hello there")
    args = parser.parse_args()
    report, sent = Report(args.steps), Sent()
    token = args.token or "none"
    credential = {"default_headers": {"x-api-key": token}} if args.way == "x-api-key" else {args.way.replace("-", "_"): token}
    asked = {"model": args.model, "max_tokens": 100, "messages": [{"role": "user", "content": args.text}]}

    http = sent.client(anthropic.DefaultAsyncHttpxClient)
    async with anthropic.AsyncAnthropic(**credential, base_url=args.url, http_client=http, max_retries=0) as client:

        async def stream():
            async with client.messages.stream(**asked) as events:
                chunks = [text async for text in events.text_stream]
                final = await events.get_final_message()
            return {"text": "".join(chunks), "chunks": len(chunks), "usage": final.usage, "stop_reason": final.stop_reason}

        await report.step("message", lambda: client.messages.create(**asked), sent.beside)
        await report.step("stream", stream, sent.beside)


if __name__ == "__main__":
    asyncio.run(main())
