"""Chains of real agents, tools and models: ended by what they come to, over two gateways that share a real Redis, and over a restart."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest
import urllib.request

from stage import BINARY, E2E, Stage, free_port

LIMITS = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: meeting, namespace: platform}
spec:
  description: What has read confidential and untrusted content asks no model outside; and no chain makes more than twenty calls.
  scope: Cluster
  cedar: |
    @id("meet") forbid (principal, action in Action::"llm", resource)
    when { context.labels.containsAll(["confidential", "untrusted"]) && resource.sends.contains("external") };
    @id("twenty") @ends_chain forbid (principal, action in [Action::"mcp", Action::"a2a", Action::"llm"], resource)
    when { context.chain.calls > 20 };
"""

STAGE = REDIS = OTHER = None


def setUpModule():
    global STAGE, REDIS, OTHER
    STAGE = Stage("ledger", "everything", "hop_one", "model")
    port = free_port()
    server = subprocess.run([str(E2E / "redis/setup.sh")], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    REDIS = subprocess.Popen([server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                             stdout=subprocess.DEVNULL)
    STAGE.flags = ("--standing", f"redis://127.0.0.1:{port}")
    estate = (STAGE.resources / "estate.yaml").read_text()
    estate = estate.replace("  toolSets: {finance-readonly:", "  labels: {reads: [confidential]}\n  toolSets: {finance-readonly:")
    estate = estate.replace("  toolSets: {harmless:", "  labels: {returns: [untrusted]}\n  toolSets: {harmless:")
    estate = estate.replace("  type: openAICompatible", "  type: openAICompatible\n  labels: {sends: [external]}")
    STAGE.add("estate", estate)
    STAGE.add("limits", LIMITS)
    STAGE.serve()
    OTHER = Other()


def tearDownModule():
    OTHER.close()
    STAGE.close()
    REDIS.kill()
    REDIS.wait()


class Other:
    """A second gateway, with the keys of the first and a ledger of its own."""

    def __init__(self):
        data = STAGE.root / "other"
        shutil.copytree(STAGE.data, data, ignore=shutil.ignore_patterns("ledger", "*.lock"))
        listen, admin = free_port(), free_port()
        self.url = f"http://127.0.0.1:{listen}"
        command = [BINARY, "serve", "--resources", str(STAGE.resources), "--data", str(data), "--secrets", str(STAGE.secrets),
                   "--listen", f"127.0.0.1:{listen}", "--admin", f"127.0.0.1:{admin}", "--public-url", STAGE.url, *STAGE.flags]
        with open(STAGE.root / "other.err", "w") as errors:
            self.process = subprocess.Popen(command, stderr=errors)
        STAGE.until(lambda: self.ready(admin))

    @staticmethod
    def ready(admin):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz").status == 200
        except OSError:
            return False

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def begin():
    """A person's agent has hop-one fetch an invoice: the token that hop-one got, with which it goes on."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {
        "messageId": os.urandom(8).hex(), "role": "ROLE_USER", "parts": [{"text": "go"}],
        "metadata": {"skill": "summarize", "hops": 0, "invoice": "INV-1"}}}}
    before = len(STAGE.seen("hop_one"))
    _, _, answer = STAGE.post("/a2a/finance/hop-one", message, STAGE.token("invoice-bot"), [("A2A-Version", "1.0")])
    assert "INV-1" in json.dumps(answer), answer
    asked = [row for row in STAGE.seen("hop_one")[before:] if row["method"] == "POST"]
    return dict(asked[0]["headers"])["authorization"].split()[1]


def model(token, url=None):
    body = json.dumps({"model": "simulator-small", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = urllib.request.Request((url or STAGE.url) + "/llm/platform/simulator/v1/chat/completions", data=body)
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        error.read()
        return error.code, error.headers["vidimus-code"]


class Chains(unittest.TestCase):
    def test_a_chain_over_two_gateways_ends_at_its_limit_and_the_record_says_which(self):
        token = begin()  # invoice-bot → hop-one (1) → ledger: the agent's SDK asks it for more than the one tool
        answers = [model(token, url) for url in (OTHER.url, STAGE.url) * 12]
        codes = [code for _, code in answers]
        self.assertIn("forbidden_by_policy", codes)
        ended = codes.index("forbidden_by_policy")
        self.assertEqual(codes[:ended], [None] * ended, codes)
        self.assertEqual(codes[ended + 1:], ["chain_ended"] * (23 - ended), codes)
        refused = [row for row in STAGE.records("--kind", "decision", "--outcome", "deny", "--transaction", transaction(token))]
        self.assertTrue(refused)
        self.assertEqual({row["facts"]["chain.ended_by"] for row in refused}, {"platform/meeting#twenty"})

    def test_what_met_in_a_chain_does_not_leave_and_where_it_came_from_is_on_record(self):
        token = begin()  # it has read the ledger
        self.assertEqual(model(token), (200, None), "nothing untrusted yet")
        steps = STAGE.client("mcp_client.py", "/mcp/platform/everything", token, "--era", "2025", "--steps", "call",
                             "--call", "echo", json.dumps({"message": "hi"}))
        self.assertTrue(all(step["ok"] for step in steps.values()), steps)
        status, code = model(token)
        self.assertEqual((status, code), (403, "forbidden_by_policy"))
        [refused] = [row for row in STAGE.records("--kind", "decision", "--outcome", "deny", "--transaction", transaction(token))
                     if row["policies"] == ["platform/meeting#meet"]]
        self.assertIn("finance/ledger", refused["facts"]['context.labels["confidential"]'])
        self.assertIn("platform/everything", refused["facts"]['context.labels["untrusted"]'])


def transaction(token):
    import base64
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["txn"]


if __name__ == "__main__":
    unittest.main()
