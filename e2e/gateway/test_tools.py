"""What is no MCP server, called as tools by unmodified MCP clients: a real gRPC server, and a real A2A agent."""

import json
import unittest

from stage import Stage

STAGE = None

SERVERS = """
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: invoices, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: low
  grpc: {{url: "http://127.0.0.1:{port}", timeout: 5s, descriptors: {descriptors}}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: echo-tools, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: low
  agent: {{name: echo, streams: true, skills: {{echo: {{description: Says it again.}}}}}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: tools, namespace: finance}}
spec:
  description: Finance agents may call the invoices and the echo.
  cedar: |
    permit (principal in Group::"finance-agents", action == Action::"invokeTool", resource)
    when {{ resource in MCPServer::"finance/invoices" || resource in MCPServer::"finance/echo-tools" }};
    forbid (principal, action == Action::"invokeTool", resource == Tool::"finance/invoices/Invoices_ListInvoices")
    when {{ context.numbers.hasTag("/limit") && context.numbers.getTag("/limit") > 5 }};
"""


def setUpModule():
    global STAGE
    STAGE = Stage("echo")
    descriptors = STAGE.root / "descriptors"
    port = STAGE.port(STAGE.start("grpc", "grpc_server", "--descriptors", str(descriptors)))
    STAGE.add("tools", SERVERS.format(port=port, descriptors=descriptors.read_text()))
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def called(path, name, arguments, subject="invoice-bot", **params):
    """One call, and its answer's result or error."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments, **params}}
    _, headers, answer = STAGE.post(path, message, STAGE.token(subject))
    return headers["vidimus-call"], answer.get("result"), answer.get("error")


class Grpc(unittest.TestCase):
    PATH = "/mcp/finance/invoices"

    def through(self, part, era, call, slow):
        steps = STAGE.client(part, self.PATH, STAGE.token("invoice-bot"), "--era", era, "--steps", "list_tools,call_tool,progress",
                             "--call", *call, "--slow", *slow)
        self.assertTrue(all(step["ok"] for step in steps.values()), steps)
        self.assertIn("Invoices_GetInvoice", json.dumps(steps["list_tools"]["result"]))
        # Twice is the client's own check of the structure against the schema that is derived from the descriptors.
        self.assertIn("1250", json.dumps(steps["call_tool"]["result"]))
        told = json.dumps(steps["progress"]["result"])
        self.assertIn("9007199254740993", told)

    def test_the_python_client_in_both_eras(self):
        for era in ("2025", "2026"):
            with self.subTest(era=era):
                self.through("mcp_client.py", era, ("Invoices_GetInvoice", '{"invoiceId": "INV-1"}'), ("Invoices_ListInvoices", '{"limit": 2}'))

    def test_what_goes_to_the_server_is_a_token_of_this_hop_and_nothing_of_mcp(self):
        call, result, _ = called(self.PATH, "Invoices_GetInvoice", {"invoiceId": "INV-1"})
        expected = {"invoiceId": "INV-1", "amountCents": 1250, "status": "OPEN", "credit": {"invoiceId": "C-1"}}
        self.assertEqual(result["structuredContent"], expected)
        headers = dict(STAGE.seen("grpc")[-1]["headers"])
        self.assertTrue(headers["authorization"].startswith("Bearer "))
        self.assertFalse([name for name in headers if name.startswith("mcp-") or name == "accept"], headers)
        [effect] = [row for row in STAGE.records("--kind", "effect") if row["id"] == call]
        self.assertEqual((effect["result"], "token" in effect), ("ok", True), effect)

    def test_a_status_is_the_tools_own_error(self):
        _, result, _ = called(self.PATH, "Invoices_GetInvoice", {"invoiceId": "INV-9"})
        self.assertTrue(result["isError"])
        self.assertEqual(result["content"][0]["text"], "gRPC status NOT_FOUND (5): no invoice INV-9: ü")

    def test_a_policy_compares_numbers_however_they_are_spelled(self):
        before = len(STAGE.seen("grpc"))
        _, _, error = called(self.PATH, "Invoices_ListInvoices", {"limit": 6})
        self.assertIsNotNone(error)
        for limit in ("6", 6.0, "0x6"):
            _, result, error = called(self.PATH, "Invoices_ListInvoices", {"limit": limit})
            self.assertTrue(error or result["isError"], (limit, result))
        self.assertEqual(len(STAGE.seen("grpc")), before)

    def test_a_stream_without_end_ends(self):
        _, result, error = called(self.PATH, "Invoices_ListInvoices", {"limit": -1})
        self.assertIsNone(result)
        self.assertEqual(error["data"]["code"], "upstream_invalid", error)


class Agent(unittest.TestCase):
    PATH = "/mcp/finance/echo-tools"

    def test_the_python_client_in_both_eras(self):
        for era in ("2025", "2026"):
            with self.subTest(era=era):
                steps = STAGE.client("mcp_client.py", self.PATH, STAGE.token("invoice-bot"), "--era", era, "--steps", "list_tools,call_tool,progress",
                                     "--call", "echo", '{"text": "say it again"}', "--slow", "echo", '{"text": "word by word"}')
                self.assertTrue(all(step["ok"] for step in steps.values()), steps)
                # The agent says it in several parts, each of which is a block.
                self.assertIn("say it again", "".join(block["text"] for block in steps["call_tool"]["result"]["content"]))
                self.assertIn("word", json.dumps(steps["progress"]["result"]))

    def test_a_task_of_a_tool_is_its_callers(self):
        _, result, _ = called(self.PATH, "send_message", {"text": "hello"})
        self.assertEqual(result["structuredContent"]["state"], "completed", result)

    def test_who_may_call_the_tool_and_not_message_the_agent_is_refused(self):
        before = len(STAGE.seen("echo"))
        _, result, error = called(self.PATH, "echo", {"text": "hello"}, "risky-bot")
        self.assertIsNone(result)
        self.assertIsNotNone(error)
        self.assertEqual(len(STAGE.seen("echo")), before)
        decisions = STAGE.records("--kind", "decision", "--agent", "finance/risky-bot")
        outcomes = {row["action"]: row["outcome"] for row in decisions if row["action"] in ("invokeTool", "callAgent")}
        self.assertEqual(outcomes, {"invokeTool": "allow", "callAgent": "deny"}, decisions)


if __name__ == "__main__":
    unittest.main()
