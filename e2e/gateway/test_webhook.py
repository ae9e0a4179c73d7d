"""Somebody outside is told of a held call, and a person answers with a token of its own: what a relay to a chat does."""

import base64
import hashlib
import hmac
import http.server
import json
import signal
import subprocess
import threading
import time
import unittest

from stage import BINARY, Stage

KEY = bytes(range(32))
ARGUMENTS = json.dumps({"amount": 700, "to": "acme"})

HOLD = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: hold, namespace: finance}
spec:
  description: A person looks at each transfer; after two seconds, a manager as well.
  cedar: |
    @approval("payers") @escalation("managers") @escalate_after("2s")
    forbid (principal, action == Action::"invokeTool", resource == Tool::"finance/ledger/transfer")
    unless { context has approval && context.approval.role == "payers" };
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: people, namespace: finance}
spec:
  description: Managers approve as managers, and whoever is here may look.
  scope: Cluster
  cedar: |
    permit (principal in UserGroup::"managers", action == Action::"approve", resource) when { context.role == "managers" };
    permit (principal, action == Action::"read", resource == View::"approvals");
"""

STAGE = RECEIVER = None


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it is told, with whether it was signed; refuses the first request, and says that it approves, which counts for nothing."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Told)
        self.told, self.requests = [], 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def of(self, kind):
        return [event for event in self.told if event["type"] == f"approval.{kind}"]


class Told(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = b".".join([self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), body])
        signature = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        good = self.headers["webhook-signature"] == f"v1,{signature}" and abs(time.time() - int(self.headers["webhook-timestamp"])) < 300
        self.server.requests += 1
        refuse = self.server.requests == 1
        if not refuse:
            self.server.told.append({**json.loads(body), "good": good, "webhook-id": self.headers["webhook-id"]})
        answer = json.dumps({"approve": True, "state": "approved"}).encode()
        self.send_response(503 if refuse else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def setUpModule():
    global STAGE, RECEIVER
    RECEIVER = Receiver()
    url = f"http://127.0.0.1:{RECEIVER.server_port}/hook"
    STAGE = Stage("ledger", flags=("--webhook", url, "--webhook-secret", "hook"))
    secret = STAGE.secrets / "hook"
    secret.write_text(f"whsec_{base64.b64encode(KEY).decode()}\n")
    secret.chmod(0o600)
    STAGE.add("hold", HOLD)
    STAGE.serve()


def tearDownModule():
    STAGE.close()
    RECEIVER.shutdown()


def transfer():
    return STAGE.client("mcp_client.mjs", "/mcp/finance/ledger", STAGE.token("invoice-bot"), "--era", "2026", "--steps", "call_tool",
                        "--call", f"transfer={ARGUMENTS}")["call_tool"]


class Webhook(unittest.TestCase):
    def test_who_is_told_answers_as_a_person_and_the_call_completes(self):
        where = ("--admin", f"127.0.0.1:{STAGE.admin}", "--data", str(STAGE.data))
        watching = subprocess.Popen([BINARY, "approvals", "watch", "-o", "json", *where], stdout=subprocess.PIPE, text=True)
        self.addCleanup(watching.stdout.close)
        self.addCleanup(watching.kill)
        held = transfer()
        approval = held["error"]["data"]["approval"]
        STAGE.until(lambda: RECEIVER.of("asked") and RECEIVER.of("escalated"))
        asked = RECEIVER.of("asked")[0]
        self.assertEqual(asked["data"]["question"]["approval"], approval)
        self.assertNotIn("acme", json.dumps(RECEIVER.told), "no arguments are told")
        self.assertTrue(all(event["good"] for event in RECEIVER.told), RECEIVER.told)
        self.assertFalse(transfer()["ok"], "what the receiver says counts for nothing")

        def answer(token, headers=()):
            body = {"approval": approval, "shown": asked["data"]["shown"], "why": "said so in the chat"}
            head = ["-H", f"Authorization: Bearer {token}"] if token else []
            done = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", f"http://127.0.0.1:{STAGE.admin}/approvals/approve", *head, *headers,
                                   "-H", "Content-Type: application/json", "-d", json.dumps(body)], capture_output=True, text=True, check=True)
            return int(done.stdout.rsplit("\n", 1)[1])

        def person(name, group):
            return STAGE.vidimus("identity", "operator", "--data", str(STAGE.data), "--name", name, "--group", group).stdout.strip()

        self.assertEqual(answer(None), 401)
        self.assertEqual(answer(base64.b64encode(KEY).decode()), 401)
        self.assertIn(answer(STAGE.token("invoice-bot")), (401, 403))
        self.assertEqual(answer(person("bob", "payers")), 403, "no policy permits payers anything here")
        self.assertEqual(answer(person("mia", "managers")), 200)
        self.assertTrue(transfer()["ok"])
        STAGE.until(lambda: all(RECEIVER.of(kind) for kind in ("voted", "approved", "used")))
        self.assertEqual(RECEIVER.of("voted")[0]["data"]["given"][0]["escalation"], "managers")

        # Killed, and begun again: where it stands is told once more, under the same id.
        before = RECEIVER.of("used")[0]
        STAGE.gateway.kill()
        STAGE.gateway.wait()
        STAGE.serve()
        STAGE.until(lambda: len(RECEIVER.of("used")) > 1)
        self.assertEqual(RECEIVER.of("used")[1]["webhook-id"], before["webhook-id"])

        # Who watched has seen the same, over the fall, and ends when it is told to.
        self.assertFalse(transfer()["ok"], "an approval is for one call")
        kinds = []
        while kinds.count("asked") < 2:
            line = json.loads(watching.stdout.readline())
            kinds.append(line["type"].removeprefix("approval."))
        self.assertEqual(kinds[:5], ["asked", "escalated", "voted", "approved", "used"])
        watching.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(30), 0)


if __name__ == "__main__":
    unittest.main()
