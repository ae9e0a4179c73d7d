"""`vidimus wrap` before the published stdio servers, driven by clients that others wrote, alone and behind a gateway."""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import fastmcp
import mcp_types
from fastmcp.client.transports import StreamableHttpTransport
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from stage import BINARY, Stage, free_port

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = pathlib.Path(os.environ["VIDIMUS_NODE"]) / "node_modules/@modelcontextprotocol"
EVERYTHING = ("node", str(PACKAGES / "server-everything/dist/index.js"), "stdio")
COUNTER = (sys.executable, str(HERE / "stateless_server.py"))
RESOURCES = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: bot, namespace: tools}}
spec:
  owner: ada.lovelace@example.com
  team: tools
  purpose: Uses what is wrapped
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
  endpoint: {{url: "http://127.0.0.1:{everything}/mcp"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: counter, namespace: tools}}
spec:
  owner: ada.lovelace@example.com
  team: tools
  riskLevel: low
  endpoint: {{url: "http://127.0.0.1:{counter}/mcp"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: tools, namespace: tools}}
spec:
  description: The bot may use all but one of the tools.
  cedar: |
    permit (principal == Agent::"tools/bot", action == Action::"invokeTool", resource)
    unless {{ resource == Tool::"tools/everything/get-env" }};
"""


@contextlib.contextmanager
def wrapped(server, *flags, under=()):
    """A server behind `vidimus wrap`, once it serves; gives its address and the process."""
    port = free_port()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([*under, BINARY, "wrap", "--listen", f"127.0.0.1:{port}", *flags, "--", *server], stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"

            def serves():
                if process.poll() is not None:
                    log.seek(0)
                    raise AssertionError(f"wrap has ended: {log.read()}")
                with contextlib.suppress(OSError):
                    return urllib.request.urlopen(f"{url}/healthz", timeout=5).status == 200

            Stage.until(serves)
            yield f"{url}/mcp", process
        finally:
            Stage.stop(process)


async def sample(context, params):
    return mcp_types.CreateMessageResult(role="assistant", content=mcp_types.TextContent(type="text", text="sampled words"), model="m")


async def elicit(context, params):
    return mcp_types.ElicitResult(action="accept", content={"name": "Ada", "check": True})


def text(result):
    return "\n".join(part.text for part in result.content if part.type == "text")


async def long_call(client):
    seen = []

    async def note(progress, total, message):
        seen.append(progress)

    result = await client.call_tool("trigger-long-running-operation", {"duration": 3, "steps": 3}, progress_callback=note)
    return seen, text(result)


def discovered(url):
    """What a server without sessions says of itself, however long it is in starting."""
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"}}
    question = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
               "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "server/discover"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(question).encode(), headers), timeout=60) as answer:
        return answer.read().decode()


class Alone(unittest.TestCase):
    def drive(self, url, mode):
        async def run():
            async with Client(streamable_http_client(url), mode=mode, sampling_callback=sample, elicitation_callback=elicit) as client:
                self.assertEqual(client.protocol_version, "2025-11-25")
                names = {tool.name for tool in (await client.list_tools()).tools}
                self.assertLessEqual({"echo", "trigger-sampling-request", "trigger-elicitation-request"}, names)
                self.assertIn("hello", text(await client.call_tool("echo", {"message": "hello"})))
                self.assertEqual((await long_call(client))[0], [1, 2, 3])
                self.assertIn("sampled words", text(await client.call_tool("trigger-sampling-request", {"prompt": "p", "maxTokens": 5})))
                self.assertIn("Ada", text(await client.call_tool("trigger-elicitation-request", {})))
                # More than one at once, each with its own answer.
                many = await asyncio.gather(*(client.call_tool("echo", {"message": f"word {n}"}) for n in range(20)))
                for n, result in enumerate(many):
                    self.assertIn(f"word {n}", text(result))

        asyncio.run(run())

    def test_the_python_client_has_all_that_server_everything_offers(self):
        with wrapped(EVERYTHING) as (url, _):
            for mode in ("legacy", "auto"):
                with self.subTest(mode=mode):
                    self.drive(url, mode)

    def test_fastmcp_through_a_shared_process(self):
        async def run(url):
            seen = []

            async def note(progress, total, message):
                seen.append(progress)

            async with fastmcp.Client(StreamableHttpTransport(url), progress_handler=note) as client:
                self.assertIn("echo", {tool.name for tool in await client.list_tools()})
                result = await client.call_tool("trigger-long-running-operation", {"duration": 1, "steps": 3})
                self.assertFalse(result.is_error)
            return seen

        async def both(url):
            return await asyncio.gather(run(url), run(url))

        with wrapped(EVERYTHING, "--shared") as (url, _):
            self.assertEqual(asyncio.run(both(url)), [[1, 2, 3], [1, 2, 3]])

    def test_a_server_without_sessions_is_one_process_for_all(self):
        async def run(url, mode):
            seen = []

            async def note(progress, total, message):
                seen.append(progress)

            async with Client(streamable_http_client(url), mode=mode) as client:
                count = (await client.call_tool("count", {})).structured_content
                await client.call_tool("steps", {}, progress_callback=note)
                self.assertEqual(seen, [1, 2, 3])
                return client.protocol_version, count

        with wrapped(COUNTER) as (url, _):
            # A client takes a server that is long in starting for one with sessions.
            self.assertIn("2026-07-28", discovered(url))
            counts = [asyncio.run(run(url, "auto")) for _ in range(2)]
            self.assertEqual([version for version, _ in counts], ["2026-07-28"] * 2)
            self.assertEqual([count["calls"] for _, count in counts], [1, 2])
            version, count = asyncio.run(run(url, "legacy"))
            self.assertEqual((version, count["calls"]), ("2025-11-25", 1), "a session has a process of its own")

    def test_as_the_first_process_it_reaps_passes_signals_on_and_ends_with_its_work(self):
        leaves = "for n in 1 2 3; do setsid sh -c 'sleep 0.5 & exec true' & done; exec \"$@\""
        alone = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
        with wrapped(("sh", "-c", leaves, "sh", *EVERYTHING), under=alone) as (url, process):
            first = int(pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])

            async def run():
                async with Client(streamable_http_client(url), mode="legacy") as client:
                    self.assertIn("hello", text(await client.call_tool("echo", {"message": "hello"})))
                    time.sleep(2)
                    children = pathlib.Path(f"/proc/{first}/task/{first}/children").read_text().split()
                    states = [pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(") ", 1)[1][0] for child in children]
                    self.assertNotIn("Z", states, "nothing that has ended is left")

            asyncio.run(run())
            os.kill(first, signal.SIGTERM)
            self.assertEqual(process.wait(30), 0)


class BehindAGateway(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.parts = contextlib.ExitStack()
        everything, _ = cls.parts.enter_context(wrapped(EVERYTHING))
        counter, _ = cls.parts.enter_context(wrapped(COUNTER))
        port = lambda url: url.split(":")[2].split("/")[0]
        cls.stage = Stage(bare=True)
        cls.stage.add("all", RESOURCES.format(everything=port(everything), counter=port(counter)))
        cls.stage.serve()
        cls.token = cls.stage.token("bot")

    @classmethod
    def tearDownClass(cls):
        cls.stage.close()
        cls.parts.close()

    def test_the_python_client_in_both_eras(self):
        async def run(server, mode, tool, arguments):
            from mcp.shared._httpx_utils import create_mcp_http_client

            async with create_mcp_http_client(headers={"Authorization": f"Bearer {self.token}"}) as http:
                to = streamable_http_client(f"{self.stage.url}/mcp/tools/{server}", http_client=http)
                async with Client(to, mode=mode) as client:
                    names = {one.name for one in (await client.list_tools()).tools}
                    result = await client.call_tool(tool, arguments)
                    progress = (await long_call(client))[0] if server == "everything" else []
                    return client.protocol_version, names, text(result), progress

        version, names, said, progress = asyncio.run(run("everything", "legacy", "echo", {"message": "hello"}))
        self.assertEqual((version, progress), ("2025-11-25", [1, 2, 3]))
        self.assertIn("hello", said)
        self.assertTrue("echo" in names and "get-env" not in names, names)
        version, names, said, _ = asyncio.run(run("counter", "auto", "count", {}))
        self.assertEqual((version, names), ("2026-07-28", {"count", "steps"}))
        self.assertIn("calls", said)

    def configured(self, client):
        done = self.stage.vidimus("client-config", client, "--server", "tools/everything", "--url", self.stage.url, "-o", "json")
        self.assertNotIn(self.token, done.stdout)
        return json.loads(done.stdout)

    def listed(self, client, python, lists):
        """The names of tools that a client sees which is made by what `client-config` prints."""
        program = self.configured(client)["config"] + "\n" + lists
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "VIDIMUS_TOKEN": self.token, "PYTHONPATH": ""})
        self.assertEqual(done.returncode, 0, done.stderr)
        return set(json.loads(done.stdout.splitlines()[-1]))

    def test_what_client_config_prints_for_programs_runs(self):
        asks = "import asyncio, json\nasync def tools():\n{}\nprint(json.dumps(asyncio.run(tools())))"
        for client, python, lists in (
            ("fastmcp", sys.executable, "    async with client:\n        return [tool.name for tool in await client.list_tools()]"),
            ("openai-agents", sys.executable, "    async with server:\n        return [tool.name for tool in await server.list_tools()]"),
            ("langchain", os.environ["VIDIMUS_LANGCHAIN"], "    return [tool.name for tool in await client.get_tools()]"),
        ):
            with self.subTest(client=client):
                names = self.listed(client, python, asks.format(lists))
                self.assertTrue("echo" in names and "get-env" not in names, names)

    def test_what_client_config_prints_for_editors_has_the_shape_that_they_read(self):
        url = f"{self.stage.url}/mcp/tools/everything"
        claude = self.configured("claude-code")["config"]
        self.assertEqual(claude["mcpServers"]["tools-everything"]["type"], "http")
        self.assertEqual(self.configured("cursor")["config"]["mcpServers"]["tools-everything"]["url"], url)
        code = self.configured("vscode")["config"]
        self.assertEqual((set(code), code["servers"]["tools-everything"]["type"]), ({"servers", "inputs"}, "http"))

        async def tools(config):
            # The same file in a client that is here: fastmcp reads what Claude Code and Cursor do.
            async with fastmcp.Client(config) as client:
                return {tool.name for tool in await client.list_tools()}

        filled = json.loads(json.dumps(claude).replace("${VIDIMUS_TOKEN}", self.token))
        self.assertIn("echo", asyncio.run(tools(filled)))


if __name__ == "__main__":
    unittest.main()
