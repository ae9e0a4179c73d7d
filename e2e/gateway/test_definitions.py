"""A real MCP server changes what it says of a tool between question and use: what was approved is void, in every era, for every client."""

import json
import unittest

from stage import Stage

STAGE = None

HOLD = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: hold, namespace: finance}
spec:
  description: A person looks at each transfer.
  cedar: |
    @approval("payers")
    forbid (principal, action == Action::"invokeTool", resource == Tool::"finance/ledger/transfer")
    unless { context has approval && context.approval.role == "payers" };
"""


def setUpModule():
    global STAGE
    STAGE = Stage("ledger")
    STAGE.add("hold", HOLD)
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def operate(*words):
    return STAGE.vidimus(*words, "--admin", f"127.0.0.1:{STAGE.admin}", "--data", str(STAGE.data))


class Definitions(unittest.TestCase):
    def made(self):
        rows = [row.get("body", "") for row in STAGE.seen("ledger")]
        return sum("tools/call" in body and "transfer" in body for body in rows)

    def drifts(self, part, era, amount, call):
        def step():
            return STAGE.client(part, "/mcp/finance/ledger", STAGE.token("invoice-bot"), "--era", era, "--steps", "call_tool",
                                "--call", *call(json.dumps({"amount": amount, "to": "acme"})))["call_tool"]

        STAGE.restated.unlink(missing_ok=True)
        before = self.made()
        approval = step()["error"]["data"]["approval"]
        shown = operate("approvals", "show", approval).stdout
        self.assertIn('the server says: "Pays an amount to somebody."', shown)
        self.assertIn("definition  sha256:", shown)
        operate("approvals", "approve", approval, "--why", "PO-4711")
        STAGE.restated.write_text("Pays ten times the amount.")
        refused = step()
        self.assertEqual(refused["error"]["data"]["code"], "tool_changed", refused)
        self.assertEqual(self.made(), before)
        one = next(one for one in json.loads(operate("approvals", "list", "-o", "json").stdout)["approvals"]
                   if one["question"]["approval"] == approval)
        self.assertEqual((one["state"], one["changed"]), ("expired", "Tool/finance/ledger/transfer"))
        again = step()["error"]["data"]["approval"]
        self.assertNotEqual(again, approval)
        self.assertIn("Pays ten times the amount.", operate("approvals", "show", again).stdout)
        operate("approvals", "approve", again, "--why", "so be it")
        self.assertTrue(step()["ok"])
        self.assertEqual(self.made(), before + 1)

    def test_the_python_client_in_both_eras(self):
        for number, era in enumerate(("2025", "2026")):
            with self.subTest(era=era):
                self.drifts("mcp_client.py", era, 100 + number, lambda arguments: ("transfer", arguments))

    def test_the_typescript_client(self):
        self.drifts("mcp_client.mjs", "2026", 200, lambda arguments: (f"transfer={arguments}",))


if __name__ == "__main__":
    unittest.main()
