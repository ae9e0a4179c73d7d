"""Clients of one era of MCP reach servers of the other through the gateway: the official SDK and server-everything, neither of which knows of it."""

import asyncio
import contextlib
import pathlib
import sys
import unittest

import fastmcp
import mcp_types
from fastmcp.client.transports import StreamableHttpTransport
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from stage import Stage
from test_wrap import EVERYTHING, discovered, long_call, sample, text, wrapped

ASKING = (sys.executable, str(pathlib.Path(__file__).resolve().parent / "asking_server.py"))
RESOURCES = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: bot, namespace: tools}}
spec:
  owner: ada.lovelace@example.com
  team: tools
  purpose: Uses servers of another era
  riskLevel: low
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: bot}}}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: everything, namespace: tools}}
spec:
  owner: ada.lovelace@example.com
  team: tools
  riskLevel: low
  endpoint: {{url: "{everything}", mcp: sessions}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: asking, namespace: tools}}
spec:
  owner: ada.lovelace@example.com
  team: tools
  riskLevel: low
  endpoint: {{url: "{asking}", mcp: stateless}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: tools, namespace: tools}}
spec:
  description: The bot may use all but one of the tools.
  cedar: |
    permit (principal == Agent::"tools/bot", action, resource)
    unless {{ resource == Tool::"tools/everything/get-env" }};
"""


async def elicit(context, params):
    return mcp_types.ElicitResult(action="accept", content={"name": "Ada", "check": True})


class BetweenTheEras(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.parts = contextlib.ExitStack()
        everything, _ = cls.parts.enter_context(wrapped(EVERYTHING))
        asking, _ = cls.parts.enter_context(wrapped(ASKING))
        assert "2026-07-28" in discovered(asking)
        cls.stage = Stage(bare=True)
        cls.stage.add("all", RESOURCES.format(everything=everything, asking=asking))
        cls.stage.serve()
        cls.token = cls.stage.token("bot")

    @classmethod
    def tearDownClass(cls):
        cls.stage.close()
        cls.parts.close()

    @contextlib.asynccontextmanager
    async def client(self, server, mode):
        async with create_mcp_http_client(headers={"Authorization": f"Bearer {self.token}"}) as http:
            to = streamable_http_client(f"{self.stage.url}/mcp/tools/{server}", http_client=http)
            async with Client(to, mode=mode, sampling_callback=sample, elicitation_callback=elicit) as client:
                yield client

    def test_a_client_with_sessions_has_all_that_a_stateless_server_offers(self):
        async def run():
            seen = []

            async def note(progress, total, message):
                seen.append(progress)

            async with self.client("asking", "legacy") as client:
                self.assertEqual(client.protocol_version, "2025-11-25")
                self.assertEqual({tool.name for tool in (await client.list_tools()).tools}, {"greet", "count", "steps"})
                count = (await client.call_tool("count", {})).structured_content["calls"]
                await client.call_tool("steps", {}, progress_callback=note)
                self.assertEqual(seen, [1, 2, 3])
                self.assertIn("Hello Ada", text(await client.call_tool("greet", {})))
                read = await client.read_resource("text://motto")
                self.assertIn("One call", read.contents[0].text)
                prompt = await client.get_prompt("haiku", {"about": "logs"})
                self.assertIn("logs", prompt.messages[0].content.text)
                many = await asyncio.gather(*(client.call_tool("steps", {"many": n}) for n in range(1, 10)))
                self.assertEqual([text(result) for result in many], [f"{n} steps" for n in range(1, 10)])
                return count

        first, second = asyncio.run(run()), asyncio.run(run())
        self.assertEqual(second, first + 1, "both clients reach the one process that has no sessions")

    def test_a_client_without_sessions_has_all_that_a_server_of_sessions_offers(self):
        async def run():
            async with self.client("everything", "auto") as client:
                self.assertEqual(client.protocol_version, "2026-07-28")
                names = {tool.name for tool in (await client.list_tools()).tools}
                self.assertLessEqual({"echo", "trigger-sampling-request", "trigger-elicitation-request"}, names)
                self.assertNotIn("get-env", names)
                self.assertIn("hello", text(await client.call_tool("echo", {"message": "hello"})))
                self.assertEqual((await long_call(client))[0], [1, 2, 3])
                self.assertIn("sampled words", text(await client.call_tool("trigger-sampling-request", {"prompt": "p", "maxTokens": 5})))
                self.assertIn("Ada", text(await client.call_tool("trigger-elicitation-request", {})))
                resources = (await client.list_resources()).resources
                self.assertTrue((await client.read_resource(resources[0].uri)).contents)
                many = await asyncio.gather(*(client.call_tool("echo", {"message": f"word {n}"}) for n in range(20)))
                for n, result in enumerate(many):
                    self.assertIn(f"word {n}", text(result))

        asyncio.run(run())

    def test_fastmcp_with_sessions_and_a_stateless_server(self):
        async def run():
            to = StreamableHttpTransport(f"{self.stage.url}/mcp/tools/asking", headers={"Authorization": f"Bearer {self.token}"})
            async with fastmcp.Client(to) as client:
                return text(await client.call_tool("steps", {"many": 2}))

        self.assertEqual(asyncio.run(run()), "2 steps")

    def test_what_is_bridged_is_recorded_as_what_its_client_asked(self):
        async def run():
            async with self.client("asking", "legacy") as client:
                await client.call_tool("greet", {})

        before = {record["index"] for record in self.stage.records()}
        asyncio.run(run())
        methods = [record.get("method") for record in self.stage.records() if record["index"] not in before]
        self.assertIn("tools/call", methods)
        self.assertNotIn("server/discover", methods)


if __name__ == "__main__":
    unittest.main()
