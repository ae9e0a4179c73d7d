"""A call that waits for a person: real clients are held, somebody approves in another terminal, and the same call completes, once."""

import json
import unittest

from stage import Stage

STAGE = None

HOLD = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: hold, namespace: finance}
spec:
  description: A person looks at each transfer, and at each message to the echo agent.
  cedar: |
    @id("transfers") @approval("payers") @reason("transfers are looked at")
    forbid (principal, action == Action::"invokeTool", resource == Tool::"finance/ledger/transfer")
    unless { context has approval && context.approval.role == "payers" };
    @id("messages") @approval("payers")
    forbid (principal, action == Action::"callAgent", resource == Agent::"finance/echo")
    when { ["SendMessage", "SendStreamingMessage"].contains(context.method) }
    unless { context has approval && context.approval.role == "payers" };
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: hold-models, namespace: platform}
spec:
  description: And at each question to the small model.
  cedar: |
    @approval("payers") forbid (principal, action == Action::"callModel", resource)
    unless { context has approval && context.approval.role == "payers" };
"""


def setUpModule():
    global STAGE
    STAGE = Stage("ledger", "echo", "model")
    STAGE.add("hold", HOLD)
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def operate(*words, check=True):
    return STAGE.vidimus(*words, "--admin", f"127.0.0.1:{STAGE.admin}", "--data", str(STAGE.data), check=check)


class Approvals(unittest.TestCase):
    def sent(self, name):
        return sum("transfer" in row.get("body", "") and "tools/call" in row.get("body", "") for row in STAGE.seen(name))

    def hold_approve_and_hold_again(self, part, era, flag):
        def step():
            return STAGE.client(part, "/mcp/finance/ledger", STAGE.token("invoice-bot"), "--era", era, "--steps", "call_tool",
                                "--call", *flag)["call_tool"]

        before = self.sent("ledger")
        held = step()
        self.assertFalse(held["ok"], held)
        data = held["error"]["data"]
        self.assertEqual((data["code"], self.sent("ledger")), ("approval_required", before), held)
        self.assertIn("transfers are looked at", held["error"]["message"])
        shown = operate("approvals", "show", data["approval"]).stdout
        for says in ("Agent/finance/invoice-bot", "Tool/finance/ledger/transfer", '"amount":', "asks 1 of payers"):
            self.assertIn(says, shown)
        self.assertEqual(step()["error"]["data"]["approval"], data["approval"], "each try waits for the same approval")
        operate("approvals", "approve", data["approval"], "--why", "PO-4711")
        done = step()
        self.assertTrue(done["ok"], done)
        self.assertEqual(self.sent("ledger"), before + 1)
        again = step()
        self.assertEqual(again["error"]["data"]["code"], "approval_required")
        self.assertNotEqual(again["error"]["data"]["approval"], data["approval"])
        self.assertEqual(self.sent("ledger"), before + 1)

    def test_the_python_client_in_both_eras(self):
        for number, era in enumerate(("2025", "2026")):
            with self.subTest(era=era):
                arguments = json.dumps({"amount": 100 + number, "to": "acme"})
                self.hold_approve_and_hold_again("mcp_client.py", era, ("transfer", arguments))

    def test_the_typescript_client(self):
        self.hold_approve_and_hold_again("mcp_client.mjs", "2026", ('transfer={"amount": 200, "to": "acme"}',))

    def test_a_held_tool_is_listed(self):
        steps = STAGE.client("mcp_client.py", "/mcp/finance/ledger", STAGE.token("invoice-bot"), "--era", "2026", "--steps", "list_tools")
        self.assertIn("transfer", steps["list_tools"]["result"])

    def test_an_agent_and_a_model_say_which_approval_they_wait_for(self):
        message = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {
            "messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "hello"}]}}}
        chat = {"model": "simulator-small", "messages": [{"role": "user", "content": "hello"}]}
        for path, body, headers, find in (
            ("/a2a/finance/echo", message, [("A2A-Version", "1.0")], lambda said: said["result"]["task"]["metadata"]["vidimus"]),
            ("/llm/platform/simulator/v1/chat/completions", chat, [], lambda said: said["error"]["vidimus"]),
        ):
            with self.subTest(path=path):
                token = STAGE.token("invoice-bot")
                _, head, said = STAGE.post(path, body, token, headers)
                about = find(said)
                self.assertEqual((head["vidimus-code"], head["retry-after"]), ("approval_required", "10"), said)
                self.assertIn("hello", operate("approvals", "show", about["approval"]).stdout)
                operate("approvals", "approve", about["approval"], "--why", "fine")
                other = json.loads(json.dumps(body).replace("hello", "something else"))
                self.assertEqual(STAGE.post(path, other, token, headers)[1]["vidimus-code"], "approval_required")
                status, head, said = STAGE.post(path, body, token, headers)
                self.assertEqual((status, head["vidimus-code"], "error" in said), (200, None, False), said)
                self.assertEqual(STAGE.post(path, body, token, headers)[1]["vidimus-code"], "approval_required")

    def test_what_is_approved_after_a_kill_is_what_was_shown_before(self):
        arguments = json.dumps({"amount": 300, "to": "acme"})

        def step():
            return STAGE.client("mcp_client.py", "/mcp/finance/ledger", STAGE.token("invoice-bot"), "--era", "2026",
                                "--steps", "call_tool", "--call", "transfer", arguments)["call_tool"]

        approval = step()["error"]["data"]["approval"]
        STAGE.gateway.kill()
        STAGE.gateway.wait()
        STAGE.serve()
        # Payloads are not recorded: nobody approves what cannot be looked at.
        refused = operate("approvals", "approve", approval, "--why", "x", check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("cannot be shown", refused.stderr)
        self.assertEqual(step()["error"]["data"]["approval"], approval)
        operate("approvals", "approve", approval, "--why", "PO-4712")
        before = self.sent("ledger")
        self.assertTrue(step()["ok"])
        self.assertEqual(self.sent("ledger"), before + 1)


if __name__ == "__main__":
    unittest.main()
