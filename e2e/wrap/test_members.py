"""Clients that others wrote, unmodified, through one endpoint with two members: fastmcp, the OpenAI Agents SDK, LangChain's adapters."""

import asyncio
import json
import os
import subprocess
import unittest

import fastmcp
from agents.mcp import MCPServerStreamableHttp
from desk import HIDDEN, SEEN, open_desk
from fastmcp.client.transports import StreamableHttpTransport

# In an environment of its own: it has the MCP SDK 1.
LANGCHAIN = """
import asyncio, json, os
from langchain_mcp_adapters.client import MultiServerMCPClient

async def run():
    server = {"transport": "streamable_http", "url": os.environ["DESK"], "headers": {"Authorization": "Bearer " + os.environ["VIDIMUS_TOKEN"]}}
    tools = {tool.name: tool for tool in await MultiServerMCPClient({"desk": server}).get_tools()}
    called = [await tools[name].ainvoke({"id": "INV-1"}) for name in ("ledger__get_invoice", "archive__get_invoice")]
    return {"tools": sorted(tools), "called": [str(one) for one in called]}

print(json.dumps(asyncio.run(run())))
"""


class Members(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = open_desk()
        cls.addClassCleanup(cls.stage.close)
        cls.token = cls.stage.token("invoice-bot")
        cls.headers = {"Authorization": f"Bearer {cls.token}"}

    def sees_and_calls(self, names, answers):
        self.assertLessEqual(SEEN, set(names))
        self.assertFalse(HIDDEN & set(names))
        self.assertEqual(len(answers), 2)
        self.assertTrue(all("Acme" in str(answer) for answer in answers), answers)

    def test_fastmcp_in_both_eras(self):
        async def run(mode):
            async with fastmcp.Client(StreamableHttpTransport(self.stage.desk, headers=self.headers), mode=mode) as client:
                names = {tool.name for tool in await client.list_tools()}
                answers = [await client.call_tool(f"{member}__get_invoice", {"id": "INV-1"}) for member in ("ledger", "archive")]
                resources = [str(one.uri) for one in await client.list_resources()]
                return names, answers, resources, await client.read_resource("archive+ledger://policy")

        for mode in ("legacy", "auto"):
            with self.subTest(mode=mode):
                names, answers, resources, read = asyncio.run(run(mode))
                self.sees_and_calls(names, answers)
                self.assertEqual(sorted(resources), ["archive+ledger://policy", "ledger+ledger://policy"])
                self.assertIn("second pair of eyes", str(read))

    def test_the_openai_agents_sdk(self):
        async def run():
            async with MCPServerStreamableHttp({"url": self.stage.desk, "headers": self.headers}, client_session_timeout_seconds=60) as server:
                names = {tool.name for tool in await server.list_tools()}
                answers = [await server.call_tool(f"{member}__get_invoice", {"id": "INV-1"}) for member in ("ledger", "archive")]
                return names, answers

        self.sees_and_calls(*asyncio.run(run()))

    def test_langchain_mcp_adapters(self):
        done = subprocess.run([os.environ["VIDIMUS_LANGCHAIN"], "-c", LANGCHAIN], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "VIDIMUS_TOKEN": self.token, "DESK": self.stage.desk, "PYTHONPATH": ""})
        self.assertEqual(done.returncode, 0, done.stderr)
        said = json.loads(done.stdout.splitlines()[-1])
        self.sees_and_calls(said["tools"], said["called"])


if __name__ == "__main__":
    unittest.main()
