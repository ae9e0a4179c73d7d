"""A plain HTTP client (httpx), as an agent has one that knows nothing of MCP. --url is the address, --method the method, --json a body.

Step: request. What is not 2xx is a refusal.
"""

import asyncio
import json

import httpx

from _report import Report, arguments


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--method", default="GET")
    parser.add_argument("--json", help="the body")
    args = parser.parse_args()
    headers = {"Authorization": f"Bearer {args.token}"} if args.token else {}

    async with httpx.AsyncClient(headers=headers, timeout=60) as http:

        async def request():
            answer = await http.request(args.method, args.url, json=json.loads(args.json) if args.json else None)
            answer.raise_for_status()
            return {"status": answer.status_code, "body": answer.json() if answer.content else None}

        await Report(args.steps).step("request", request)


if __name__ == "__main__":
    asyncio.run(main())
