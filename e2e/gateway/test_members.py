"""Two real MCP servers, and one of sessions alone, behind one endpoint: unmodified clients of both eras call tools of each through it."""

import json
import unittest

from message import modern
from stage import Stage

STAGE = None
DESK = "/mcp/finance/desk"

ESTATE = """
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: archive, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: medium
  endpoint: {{url: "http://127.0.0.1:{archive}/mcp"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: desk, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: medium
  whenDown: {when_down}
  members:
    - {{name: ledger, server: {{name: ledger}}}}
    - {{name: archive, server: {{name: archive}}}}
    - {{name: everything, server: {{namespace: platform, name: everything}}}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: archive-read, namespace: finance}}
spec:
  description: Of the archive, finance agents may get an invoice, and nothing else.
  cedar: |
    permit (principal in Group::"finance-agents", action == Action::"invokeTool", resource == Tool::"finance/archive/get_invoice");
"""


def setUpModule():
    global STAGE
    STAGE = Stage("ledger", "everything")
    STAGE.archive = STAGE.start("archive", "dual_era_server", "--json")
    STAGE.archive_port = STAGE.port(STAGE.archive)
    estate("omit")
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def estate(when_down, archive=None):
    STAGE.add("members", ESTATE.format(when_down=when_down, archive=archive or STAGE.archive_port))


PYTHON = [("mcp_client.py", era) for era in ("2025", "2026")]
TYPESCRIPT = [("mcp_client.mjs", era) for era in ("2025", "2025-v2", "2026")]


def call(part, tool, arguments):
    text = json.dumps(arguments)
    return ("--call", tool, text) if part.endswith(".py") else ("--call", f"{tool}={text}")


class Members(unittest.TestCase):
    def steps(self, part, era, *flags, subject="invoice-bot"):
        return STAGE.client(part, DESK, STAGE.token(subject), "--era", era, *flags)

    def test_each_client_finds_and_calls_tools_of_each_member_that_it_may_use(self):
        for part, era in PYTHON + TYPESCRIPT:
            with self.subTest(part=part, era=era):
                prompt = ("archive__summarize", '{"id": "INV-1"}')
                named = prompt if part.endswith(".py") else ("=".join(prompt),)
                slow = ("ledger__slow_report", '{"steps": 3}')
                slow = slow if part.endswith(".py") else ("=".join(slow),)
                steps = self.steps(part, era, *call(part, "archive__get_invoice", {"id": "INV-2"}), "--prompt", *named, "--slow", *slow,
                                   "--resource", "ledger+ledger://policy")
                self.assertTrue(steps["connect"]["ok"], steps)
                tools = steps["list_tools"]["result"]
                self.assertLessEqual({"ledger__get_invoice", "ledger__whoami", "archive__get_invoice"}, set(tools))
                # One permit of one member is none at another, and what nobody permits is not listed.
                for hidden in ("archive__whoami", "archive__transfer", "ledger__delete_invoice", "get_invoice"):
                    self.assertNotIn(hidden, tools)
                self.assertIn("everything__echo", tools, "a server of sessions alone is bridged where its client has none")
                self.assertTrue(steps["call_tool"]["ok"], steps["call_tool"])
                self.assertIn("Globex", json.dumps(steps["call_tool"]["result"]))
                self.assertIn("ledger+ledger://policy", steps["list_resources"]["result"])
                self.assertIn("second pair of eyes", json.dumps(steps["read_resource"]["result"]))
                self.assertTrue(steps["get_prompt"]["ok"], steps["get_prompt"])
                self.assertEqual(len(steps["progress"]["result"]["progress"]), 3, steps["progress"])

    def test_a_member_of_sessions_is_called_in_one(self):
        for part, era in (("mcp_client.py", "2025"), ("mcp_client.mjs", "2025"), ("mcp_client.mjs", "2025-v2"), ("mcp_client.py", "2026"), ("mcp_client.mjs", "2026")):
            with self.subTest(part=part, era=era):
                steps = self.steps(part, era, "--steps", "connect,list_tools,call_tool", *call(part, "everything__echo", {"message": "hello"}))
                self.assertIn("hello", json.dumps(steps["call_tool"]["result"]))

    def test_the_record_names_the_member_and_by_what_it_was_called(self):
        steps = self.steps("mcp_client.py", "2026", "--steps", "call_tool", "--call", "ledger__whoami", "{}")
        said = json.loads(steps["call_tool"]["result"]["content"][0]["text"])
        self.assertIn(f":{STAGE.ports['ledger']}/mcp", json.dumps(said["claims"]["aud"]), "a token of this hop, for the member")
        records = [one for one in STAGE.records("--resource", "Tool/finance/ledger/whoami") if one["kind"] == "decision"]
        self.assertEqual(records[-1]["via"], "MCPServer/finance/desk")
        self.assertTrue(all("desk" not in one["resource"] for one in records))

    def test_who_may_use_one_member_alone_sees_that_one(self):
        steps = self.steps("mcp_client.py", "2025", "--steps", "connect,list_tools,call_tool", "--call", "ledger__get_invoice", '{"id": "INV-1"}',
                           subject="stranger")
        self.assertEqual(steps["list_tools"]["result"], ["everything__echo"])
        # Decided before anything is told of the session, in which the ledger is not.
        self.assertEqual(steps["call_tool"]["error"]["data"]["code"], "no_permit")

    def test_a_member_that_is_down_is_named_and_the_others_serve_or_not(self):
        # A session of a 2025 server begins with `initialize`; without one, only servers that need none are asked.
        message, headers = modern({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
        token = STAGE.token("invoice-bot")

        def listed():
            return STAGE.post(DESK, message, token, headers)[2]

        try:
            estate("omit", archive=1)
            STAGE.until(lambda: "archive__get_invoice" not in json.dumps(listed()))
            said = listed()["result"]
            self.assertIn("ledger__get_invoice", [tool["name"] for tool in said["tools"]])
            absent = said["_meta"]["dev.vidimus/members"]["absent"]
            self.assertIn(("archive", "upstream_unreachable"), [(one["member"], one["code"]) for one in absent])
            steps = self.steps("mcp_client.py", "2026", "--steps", "call_tool", "--call", "ledger__get_invoice", '{"id": "INV-1"}')
            self.assertTrue(steps["call_tool"]["ok"], steps)
            estate("fail", archive=1)
            STAGE.until(lambda: "error" in listed())
            self.assertIn('"archive"', listed()["error"]["message"])
        finally:
            estate("omit")
            STAGE.until(lambda: "archive__get_invoice" in json.dumps(listed()))


if __name__ == "__main__":
    unittest.main()
