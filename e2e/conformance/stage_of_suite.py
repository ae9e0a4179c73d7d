"""The gateway with one upstream of a suite behind it, and everything permitted to the suite."""

import contextlib
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "gateway"))

from stage import Stage  # noqa: E402

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
kind: Agent
metadata: {{name: sut, namespace: conformance}}
spec:
  owner: ada.lovelace@example.com
  team: conformance
  purpose: Is the system under test
  riskLevel: low
  endpoint: {{url: "http://127.0.0.1:{port}{path}", rest: "http://127.0.0.1:{port}{path}"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: everything, namespace: conformance}}
spec:
  description: The suite may do everything here.
  cedar: permit (principal == Agent::"conformance/suite", action, resource);
"""


@contextlib.contextmanager
def gateway(port: int, path: str = "/", flags=()):
    """A gateway whose `mcp/conformance/everything` and `a2a/conformance/sut` are at `port`."""
    stage = Stage(flags=flags, bare=True)
    try:
        stage.add("conformance", RESOURCES.format(port=port, path=path))
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
