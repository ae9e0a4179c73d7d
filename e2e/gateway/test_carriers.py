"""How a held call reaches people by real clients: an MCP client leads its user to the approval, an A2A client has a task that waits, and the
same call completes when somebody approves it in another terminal."""

import json
import unittest
import urllib.request

from stage import Stage

STAGE = None

HOLD = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: hold, namespace: finance}
spec:
  description: A person looks at each transfer, and at each message to the echo agent, soon where hop-one sends it.
  cedar: |
    @id("transfers") @approval("payers") @reason("transfers are looked at")
    forbid (principal, action == Action::"invokeTool", resource == Tool::"finance/ledger/transfer")
    unless { context has approval && context.approval.role == "payers" };
    @id("messages") @approval("payers")
    forbid (principal, action == Action::"callAgent", resource == Agent::"finance/echo")
    when { ["SendMessage", "SendStreamingMessage"].contains(context.method) }
    unless { context has approval && context.approval.role == "payers" };
    @id("soon") @approval("payers") @lifetime("2s")
    forbid (principal == Agent::"finance/hop-one", action == Action::"callAgent", resource == Agent::"finance/echo")
    when { ["SendMessage", "SendStreamingMessage"].contains(context.method) }
    unless { context has approval && context.approval.role == "payers" };
"""


def setUpModule():
    global STAGE
    STAGE = Stage("ledger", "echo")
    STAGE.flags = ("--admin-url", f"http://127.0.0.1:{STAGE.admin}/")
    STAGE.add("hold", HOLD)
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def operate(*words, check=True):
    return STAGE.vidimus("approvals", *words, "--admin", f"127.0.0.1:{STAGE.admin}", "--data", str(STAGE.data), check=check)


def sent(name, method):
    return [json.loads(row["body"])["params"] for row in STAGE.seen(name) if f'"{method}"' in row.get("body", "")]


class McpClients(unittest.TestCase):
    PYTHON, TYPESCRIPT = "mcp_client.py", "mcp_client.mjs"

    def call(self, part, era, amount, action="accept"):
        arguments = json.dumps({"amount": amount, "to": "acme"})
        call = ("transfer", arguments) if part == self.PYTHON else (f"transfer={arguments}",)
        return ("--era", era, "--steps", "call_tool", "--elicit", action, "--call", *call)

    def at_work(self, part, token, *flags):
        return STAGE.client_at_work(part, "/mcp/finance/ledger", token, *flags)

    def test_the_user_is_led_to_the_approval_and_the_same_call_completes(self):
        for number, part in enumerate((self.PYTHON, self.TYPESCRIPT)):
            with self.subTest(part=part), self.at_work(part, STAGE.token("invoice-bot"), *self.call(part, "2026", 100 + number)) as step:
                before = len(sent("ledger", "tools/call"))
                asked = step("elicited")["result"]
                self.assertEqual(asked["mode"], "url", asked)
                self.assertIn("transfers are looked at", asked["message"])
                url, approval = asked["url"], asked["url"].rsplit("/", 1)[1]
                self.assertEqual(url, f"http://127.0.0.1:{STAGE.admin}/approvals/{approval}")
                # It is a page that says what to do, for whoever opens it, and nothing of the call.
                with urllib.request.urlopen(url) as page:
                    text = page.read().decode()
                self.assertIn(f"vidimus approvals show {approval}", text)
                self.assertNotIn("acme", text)
                self.assertIn('"amount":', operate("show", approval).stdout)
                operate("approve", approval, "--why", "PO-4711")
                done = step("call_tool")
                self.assertTrue(done["ok"], done)
                calls = sent("ledger", "tools/call")
                self.assertEqual(len(calls), before + 1)
                # The server knows nothing of it.
                self.assertFalse({"requestState", "inputResponses"} & calls[-1].keys(), calls[-1])

    def test_what_is_denied_ends_the_call_and_who_declines_is_told(self):
        before = len(sent("ledger", "tools/call"))
        token = STAGE.token("invoice-bot")
        with self.at_work(self.PYTHON, token, *self.call(self.PYTHON, "2026", 200)) as step:
            operate("deny", step("elicited")["result"]["url"].rsplit("/", 1)[1], "--why", "unknown payee")
            self.assertEqual(step("call_tool")["error"]["data"]["code"], "approval_denied")
        for part in (self.PYTHON, self.TYPESCRIPT):
            with self.subTest(part=part):
                steps = STAGE.client(part, "/mcp/finance/ledger", token, *self.call(part, "2026", 201, "decline"))
                self.assertEqual(steps["call_tool"]["error"]["data"]["code"], "approval_required", steps)
        self.assertEqual(len(sent("ledger", "tools/call")), before)

    def test_the_error_of_2025_has_the_address(self):
        for number, part in enumerate((self.PYTHON, self.TYPESCRIPT)):
            with self.subTest(part=part):
                token, flags = STAGE.token("invoice-bot"), self.call(part, "2025", 300 + number)
                held = STAGE.client(part, "/mcp/finance/ledger", token, *flags)["call_tool"]["error"]
                self.assertEqual(held["code"], -32042, held)
                [asked] = held["data"]["elicitations"]
                self.assertEqual(asked["url"], f"http://127.0.0.1:{STAGE.admin}/approvals/{asked['elicitationId']}")
                operate("approve", asked["elicitationId"], "--why", "PO-4712")
                done = STAGE.client(part, "/mcp/finance/ledger", token, *flags)["call_tool"]
                self.assertTrue(done["ok"], done)

    def test_nobody_approves_what_is_done_for_them(self):
        before = len(sent("ledger", "tools/call"))
        token = STAGE.token("invoice-bot", "--user", "admin")
        with self.at_work(self.PYTHON, token, *self.call(self.PYTHON, "2026", 400)) as step:
            approval = step("elicited")["result"]["url"].rsplit("/", 1)[1]
            # The client has accepted meanwhile. The person it acts for may be an administrator, and still not answer.
            refused = operate("approve", approval, "--why", "it is mine", check=False)
            self.assertEqual(refused.returncode, 2, refused)
            self.assertIn("nobody approves what is done for him", refused.stderr)
        self.assertEqual(len(sent("ledger", "tools/call")), before)


class A2aClients(unittest.TestCase):
    def at_work(self, version, text, principal="invoice-bot"):
        flags = ("--version", version, "--text", text, "--steps", "go_on")
        return STAGE.client_at_work("a2a_client", "/a2a/finance/echo", STAGE.token(principal), *flags)

    def test_the_task_goes_on_when_it_is_approved(self):
        for version, method in (("1.0", "SendMessage"), ("0.3", "message/send")):
            with self.subTest(version=version), self.at_work(version, f"pay {version}") as step:
                before = len(sent("echo", method))
                waits = step("waits")["result"]
                self.assertEqual(waits["status"]["state"], "TASK_STATE_AUTH_REQUIRED", waits)
                about = waits["metadata"]["vidimus"]
                self.assertEqual(about["code"], "approval_required", waits)
                self.assertIn(about["approval"], waits["status"]["message"]["parts"][0]["text"])
                self.assertIn("pay", operate("show", about["approval"]).stdout)
                operate("approve", about["approval"], "--why", "fine")
                done = step("go_on")
                self.assertTrue(done["ok"], done)
                self.assertEqual(done["result"]["status"]["state"], "TASK_STATE_COMPLETED", done)
                messages = sent("echo", method)
                self.assertEqual(len(messages), before + 1)
                self.assertNotIn("taskId", messages[-1]["message"])

    def test_it_says_when_it_is_denied_or_nobody_answers(self):
        before = len(STAGE.seen("echo"))
        with self.at_work("1.0", "pay nobody") as step:
            operate("deny", step("waits")["result"]["metadata"]["vidimus"]["approval"], "--why", "no")
            self.assertEqual(step("go_on")["result"]["status"]["state"], "TASK_STATE_REJECTED")
        with self.at_work("0.3", "pay late", "hop-one") as step:
            self.assertEqual(step("go_on")["result"]["status"]["state"], "TASK_STATE_FAILED")
        messages = [row for row in STAGE.seen("echo")[before:] if row["method"] == "POST"]
        self.assertEqual(messages, [])

    def test_a_stream_says_so_too(self):
        for version in ("1.0", "0.3"):
            with self.subTest(version=version):
                flags = ("--version", version, "--text", f"stream {version}", "--steps", "stream")
                steps = STAGE.client("a2a_client", "/a2a/finance/echo", STAGE.token("invoice-bot"), *flags)
                [event] = steps["stream"]["result"]
                self.assertEqual(event["kind"], "task", steps)


if __name__ == "__main__":
    unittest.main()
