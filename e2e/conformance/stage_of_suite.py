"""The gateway with one upstream of a suite behind it, and everything permitted to the suite."""

import contextlib
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "gateway"))

from stage import Stage, free_port  # noqa: E402, F401

RESOURCES = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: suite, namespace: conformance}}
spec:
  owner: ada.lovelace@example.com
  team: conformance
  purpose: Is a conformance suite
  riskLevel: low
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: suite}}}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: everything, namespace: conformance}}
spec:
  owner: ada.lovelace@example.com
  team: conformance
  riskLevel: low
  endpoint: {{url: "http://127.0.0.1:{port}/mcp"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: sessions, namespace: conformance}}
spec:
  owner: ada.lovelace@example.com
  team: conformance
  riskLevel: low
  endpoint: {{url: "http://127.0.0.1:{port}/mcp", mcp: sessions}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: stateless, namespace: conformance}}
spec:
  owner: ada.lovelace@example.com
  team: conformance
  riskLevel: low
  endpoint: {{url: "http://127.0.0.1:{port}/mcp", mcp: stateless}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: members, namespace: conformance}}
spec:
  owner: ada.lovelace@example.com
  team: conformance
  riskLevel: low
  members: [{{name: {member}, server: {{name: everything}}}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: sut, namespace: conformance}}
spec:
  owner: ada.lovelace@example.com
  team: conformance
  purpose: Is the system under test
  riskLevel: low
  endpoint: {endpoint}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: everything, namespace: conformance}}
spec:
  description: The suite may do everything here.
  cedar: permit (principal == Agent::"conformance/suite", action, resource);
"""


MEMBER = "only-member"  # a name that nothing in a suite has


@contextlib.contextmanager
def gateway(port: int, flags=(), **endpoint):
    """A gateway whose `mcp/conformance/…` and `a2a/conformance/sut` are at `port`: the MCP server as it is (`everything`), by a bridge as if it spoke
    one era alone (`sessions`, `stateless`), and as the only one of an endpoint with members (`members`). `endpoint` has the other addresses of the agent."""
    stage = Stage(flags=flags, bare=True)
    try:
        url = f"http://127.0.0.1:{port}/"
        stage.add("conformance", RESOURCES.format(port=port, member=MEMBER, endpoint=json.dumps({"url": url, **endpoint})))
        stage.serve()
        yield stage
    finally:
        stage.close()


@contextlib.contextmanager
def serving(part: str, *flags: str):
    """A part of this folder as it serves; its port."""
    command = [sys.executable, str(HERE / f"{part}.py"), "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield Stage.port(process)
    finally:
        Stage.stop(process)
