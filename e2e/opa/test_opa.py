"""A real OPA as the webhook of a guard: it serves the Rego that others printed, and calls wait for it, as docs/guards.md says."""

import http.server
import json
import os
import pathlib
import re
import subprocess
import threading
import unittest
import urllib.request

from stage import Stage, free_port

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs/guards.md"
OPA = os.environ["VIDIMUS_OPA"]
POLICY = next(text for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.M | re.S) if "opa" in text)
PLAN = {"env": "staging", "hash": "sha256:8f2cb7b6", "path": "plans/7.tfplan"}

RESOURCES = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: {name}, namespace: infra}}
spec:
  owner: ada.lovelace@example.com
  team: infra
  purpose: Applies plans
  riskLevel: low
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: {name}}}}}]
"""

SERVER = """
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: terraform, namespace: infra}}
spec:
  owner: ada.lovelace@example.com
  team: infra
  riskLevel: high
  endpoint: {{url: "http://127.0.0.1:{port}/mcp"}}
"""


class Tool(http.server.BaseHTTPRequestHandler):
    """An MCP server with one tool, which always did it."""

    calls = []

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.calls.append(message["params"])
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "applied"}]}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Opa(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tool = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tool)
        cls.addClassCleanup(cls.tool.server_close)
        cls.addClassCleanup(cls.tool.shutdown)
        threading.Thread(target=cls.tool.serve_forever, daemon=True).start()
        cls.port = free_port()
        cls.start_opa()
        cls.addClassCleanup(lambda: cls.stop_opa())
        cls.stage = Stage(bare=True)
        cls.addClassCleanup(cls.stage.close)
        agents = [RESOURCES.format(name=name) for name in ("deploy-bot", "sre-bot", "other-bot")]
        policy = POLICY.replace("http://opa.infra:8181", f"http://127.0.0.1:{cls.port}")
        server = SERVER.format(port=cls.tool.server_address[1])
        cls.stage.add("estate", "---\n".join([*agents, server, policy]))
        cls.stage.serve()

    @classmethod
    def start_opa(cls):
        command = [OPA, "run", "--server", "--v0-compatible", "--addr", f"127.0.0.1:{cls.port}", "--log-level", "error", str(HERE / "rego")]
        cls.opa = subprocess.Popen(command)
        Stage.until(cls.is_up)

    @classmethod
    def is_up(cls):
        if cls.opa.poll() is not None:
            raise RuntimeError("opa ended")
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{cls.port}/health", timeout=5).status == 200
        except OSError:
            return False

    @classmethod
    def stop_opa(cls):
        cls.opa.terminate()
        cls.opa.wait()

    def apply(self, agent, plan):
        """The code of what becomes of a call, `None` where it is made; and what its record says of the guard."""
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "apply_infra", "arguments": {"plan": plan}}}
        before = len(Tool.calls)
        _, headers, answer = self.stage.post("/mcp/infra/terraform", message, self.stage.token(agent))
        code = answer.get("error", {}).get("data", {}).get("code")
        self.assertEqual(len(Tool.calls) - before, 0 if code else 1, answer)
        facts = next(row["facts"] for row in self.stage.records("--kind", "decision") if row["id"] == headers["vidimus-call"])
        return code, facts.get("guard.infra/plans/opa")

    def close_window(self, to):
        body = json.dumps({"from": 0, "to": to}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/data/change_window", data=body, method="PUT")
        urllib.request.urlopen(request, timeout=5).close()

    def test_the_printed_policy_decides(self):
        refused = ("forbidden_by_policy", "found: not-allowed 1")
        for agent, change, expected in (
            ("deploy-bot", {}, (None, "passed")),
            ("sre-bot", {"env": "prod"}, (None, "passed")),
            ("deploy-bot", {"env": "prod"}, refused),
            ("other-bot", {}, refused),
            ("sre-bot", {"hash": "sha256:0"}, refused),
            ("sre-bot", {"path": "plans/7.destroy.tfplan"}, refused),
            ("sre-bot", {"env": None}, refused),
        ):
            with self.subTest(agent=agent, change=change):
                self.assertEqual(self.apply(agent, PLAN | change), expected)
        self.assertEqual(self.apply("sre-bot", "no plan"), refused)

    def test_what_opa_learns_counts_at_once(self):
        self.close_window(0)
        try:
            self.assertEqual(self.apply("sre-bot", PLAN)[0], "forbidden_by_policy")
        finally:
            self.close_window(24)
        self.assertEqual(self.apply("sre-bot", PLAN), (None, "passed"))

    def test_without_opa_nothing_is_applied(self):
        self.stop_opa()
        try:
            self.assertEqual(self.apply("sre-bot", PLAN), ("forbidden_by_policy", "failed: unreachable 1"))
        finally:
            self.start_opa()
        self.assertEqual(self.apply("sre-bot", PLAN), (None, "passed"))


if __name__ == "__main__":
    unittest.main()
