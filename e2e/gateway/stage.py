"""One stage for the tests: real upstreams, the gateway binary in front of them, and the resources that connect the two."""

import contextlib
import json
import os
import pathlib
import random
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

E2E = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("VIDIMUS_BIN", str(E2E.parent / "target/debug/vidimus"))
PROVIDER_KEY = "provider-key-that-agents-never-see"

RESOURCES = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: invoice-bot, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Matches invoices to purchase orders
  riskLevel: low
  environment: production
  groups: [finance-agents]
  capabilities: [financial-analysis]
  identities:
    - oidc: {{issuer: "urn:vidimus:local", subject: invoice-bot}}
    - spiffe: spiffe://vidimus.local/ns/finance/sa/invoice-bot
  actsFor: [{{issuer: "urn:vidimus:local"}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: risky-bot, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: The same, at a higher risk
  riskLevel: high
  environment: production
  groups: [finance-agents]
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: risky-bot}}}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: stranger, namespace: marketing}}
spec:
  owner: bob@example.com
  team: marketing
  purpose: Registered, and permitted nothing
  riskLevel: low
  environment: production
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: stranger}}}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: hop-one, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Passes work on
  riskLevel: low
  environment: production
  groups: [finance-agents]
  capabilities: [financial-analysis]
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: hop-one}}}}]
  actsFor: [{{issuer: "urn:vidimus:local"}}]
  endpoint: {{url: "http://127.0.0.1:{hop_one}/"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: hop-two, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Passes work on
  riskLevel: low
  environment: production
  groups: [finance-agents]
  capabilities: [financial-analysis]
  delegation: {{maxFanOut: 2}}
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: hop-two}}}}]
  actsFor: [{{issuer: "urn:vidimus:local"}}]
  endpoint: {{url: "http://127.0.0.1:{hop_two}/"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: echo, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Says it again
  riskLevel: low
  environment: production
  capabilities: [financial-analysis]
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: echo}}}}]
  endpoint: {{url: "http://127.0.0.1:{echo}/", rest: "http://127.0.0.1:{echo}/"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: ledger, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: medium
  endpoint: {{url: "http://127.0.0.1:{ledger}/mcp"}}
  toolSets: {{finance-readonly: [get_invoice, list_invoices, whoami, slow_report]}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: everything, namespace: platform}}
spec:
  owner: ada.lovelace@example.com
  team: platform
  riskLevel: low
  endpoint: {{url: "http://127.0.0.1:{everything}/mcp"}}
  toolSets: {{harmless: [echo]}}
---
apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {{name: simulator, namespace: platform}}
spec:
  owner: ada.lovelace@example.com
  type: openAICompatible
  streamUsage: true
  endpoint: {{url: "http://127.0.0.1:{model}"}}
  credential: {{file: "{key_file}"}}
  models: [{{name: simulator-small}}, {{name: simulator-large}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {{name: claude-simulator, namespace: platform}}
spec:
  owner: ada.lovelace@example.com
  type: anthropic
  endpoint: {{url: "http://127.0.0.1:{model}"}}
  credential: {{file: "{key_file}"}}
  models: [{{name: simulator-small}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {{name: gemini-simulator, namespace: platform}}
spec:
  owner: ada.lovelace@example.com
  type: gemini
  endpoint: {{url: "http://127.0.0.1:{model}"}}
  credential: {{file: "{key_file}"}}
  models: [{{name: simulator-small}}, {{name: simulator-large}}]
  aliases: {{fast: simulator-small}}
---
apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {{name: azure-simulator, namespace: platform}}
spec:
  owner: ada.lovelace@example.com
  type: azure
  endpoint: {{url: "http://127.0.0.1:{model}"}}
  credential: {{file: "{key_file}"}}
  models: [{{name: simulator-small}}, {{name: simulator-large}}]
  aliases: {{fast: simulator-small}}
---
apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {{name: away-simulator, namespace: platform}}
spec:
  owner: ada.lovelace@example.com
  type: openAI
  endpoint: {{url: "http://127.0.0.1:1"}}
  credential: {{file: "{key_file}"}}
  models: [{{name: simulator-small}}]
  failover: {{to: [{{provider: gemini-simulator}}, {{provider: claude-simulator}}]}}
"""

POLICIES = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: finance-read, namespace: finance}
spec:
  description: Low-risk finance agents may read the ledger, at most three hops from the user.
  cedar: |
    permit (principal in Group::"finance-agents", action == Action::"invokeTool", resource in ToolSet::"finance-readonly")
    when { principal.risk_level == "low" && context.delegation_depth <= 3 };
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: finance-documents, namespace: finance}
spec:
  description: Finance agents may read the ledger's documents and prompts.
  cedar: |
    permit (principal in Group::"finance-agents", action in [Action::"readResource", Action::"getPrompt"], resource);
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: finance-agents-talk, namespace: finance}
spec:
  description: Agents with overlapping capabilities may talk, at most three hops from the user.
  cedar: |
    permit (principal is Agent, action == Action::"callAgent", resource is Agent)
    when { principal.capabilities.containsAny(resource.capabilities) && context.delegation_depth <= 3 };
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: small-transfers, namespace: finance}
spec:
  description: Transfers up to 10000.
  cedar: |
    permit (principal == Agent::"finance/invoice-bot", action == Action::"invokeTool", resource == Tool::"finance/ledger/transfer")
    when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 10000 };
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: harmless-tools, namespace: platform}
spec:
  description: Everybody registered may use the harmless tools.
  cedar: permit (principal, action == Action::"invokeTool", resource in ToolSet::"harmless");
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: small-models, namespace: platform}
spec:
  description: Finance may use the small model.
  cedar: |
    permit (principal in Group::"finance/finance-agents", action == Action::"callModel", resource) when { resource.name == "simulator-small" };
"""


NOBODY = 1  # a port on which nothing listens


given = set()  # the ports that this process has named to somebody


def free_port():
    """A port that nobody has and that nobody gets by chance until it is bound: the kernel gives what asks for port 0, and each
    connection, one of 32768 to 60999 (net.ipv4.ip_local_port_range), so that a port asked of it is somebody else's a moment later."""
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in given:
                given.add(port)
                return port


class Stage:
    """Starts everything once, or only the upstreams named, or (`bare`) no upstream and without any resources; `close` ends it."""

    def __init__(self, *only, flags=(), bare=False):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="vidimus-e2e-"))
        self.restated = self.root / "restated"  # what the ledger server says of transfer instead, where it is there
        self.resources, self.data = self.root / "resources", self.root / "data"
        self.resources.mkdir()
        self.processes = contextlib.ExitStack()
        self.logs, self.flags, self.gateway = {}, flags, None
        self.under, self.environment = (), {}  # what the gateway is started by, and what of its environment is another
        self.listen, self.tls, self.admin = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.listen}"
        self.secrets = self.root / "secrets"
        self.secrets.mkdir(mode=0o700)
        if not bare:
            self.estate(only)

    def estate(self, only):
        """The upstreams, and the resources that name them."""
        key_file = self.secrets / "provider.key"
        key_file.write_text(PROVIDER_KEY + "\n")
        key_file.chmod(0o600)
        two = ("--next-a2a", f"{self.url}/a2a/finance/hop-one", "--mcp", f"{self.url}/mcp/finance/ledger")
        one = ("--next-a2a", f"{self.url}/a2a/finance/hop-two", "--mcp", f"{self.url}/mcp/finance/ledger")
        parts = {
            "ledger": ("dual_era_server", "--restate", str(self.restated)),
            "everything": ("everything",),
            "hop_one": ("a2a_agent", "--kind", "invoice", "--name", "hop-one", *one),
            "hop_two": ("a2a_agent", "--kind", "invoice", "--name", "hop-two", *two),
            "echo": ("a2a_agent", "--kind", "echo", "--bindings", "JSONRPC,HTTP+JSON"),
            "model": ("model_simulator", "--key", PROVIDER_KEY),
        }
        started = {name: self.start(name, *part) for name, part in parts.items() if not only or name in only}
        self.ports = {name: self.port(started[name]) if name in started else NOBODY for name in parts}
        self.add("estate", RESOURCES.format(key_file=key_file.name, **self.ports))
        self.add("policies", POLICIES)

    def add(self, name, text):
        """Writes resources; a running gateway takes them up by itself, see `until`."""
        (self.resources / f"{name}.yaml").write_text(text)

    @staticmethod
    def until(condition, seconds=30):
        """Waits for something that is to happen; how soon is no part of the test."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"it did not happen within {seconds} s")
            time.sleep(0.05)

    def logged(self, text):
        """How often the gateway has logged this."""
        return (self.root / "gateway.err").read_text().count(text)

    @staticmethod
    def port(process):
        """Where a part serves, once it does. What does not within a minute is named, and not waited for any longer."""
        if not select.select([process.stdout], [], [], 60)[0]:
            raise RuntimeError(f"not ready within a minute: {process.args}")
        return int(process.stdout.readline().split()[1])

    def start(self, name, part, *flags):
        self.logs[name] = self.root / f"{name}.jsonl"
        self.logs[name].touch()
        command = [str(E2E / "run"), part, "--port", "0", "--log", str(self.logs[name]), *flags]
        with open(self.root / f"{name}.err", "w") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.processes.callback(self.stop, process)
        return process

    def serve(self):
        """Starts (or starts again) the gateway; returns when it is ready."""
        command = [*self.under, BINARY, "serve", "--resources", str(self.resources), "--data", str(self.data),
                   "--secrets", str(self.secrets),
                   "--listen", f"127.0.0.1:{self.listen}", "--tls-listen", f"127.0.0.1:{self.tls}",
                   "--admin", f"127.0.0.1:{self.admin}", *self.flags]
        with open(self.root / "gateway.err", "a") as errors:
            self.gateway = subprocess.Popen(command, stderr=errors, env={**os.environ, **self.environment})
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz") as answer:
                    if answer.status == 200:
                        return
            if self.gateway.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError("the gateway did not get ready:\n" + (self.root / "gateway.err").read_text())

    @staticmethod
    def stop(process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout:
            process.stdout.close()

    def close(self):
        if self.gateway:
            self.stop(self.gateway)
        self.processes.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def vidimus(self, *args, check=True):
        done = subprocess.run([BINARY, *args], capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"vidimus {' '.join(args)} exited {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def token(self, subject, *flags):
        return self.vidimus("identity", "token", "--data", str(self.data), "--subject", subject, *flags).stdout.strip()

    def client(self, part, url, token, *flags):
        """Runs a client driver; its steps by name."""
        command = [str(E2E / "run"), part, "--url", self.url + url, *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120,
                              env={**os.environ, "VIDIMUS_TOKEN": token})
        steps = {}
        for line in done.stdout.splitlines():
            row = json.loads(line)
            steps[row["step"]] = row
        if not steps:
            raise AssertionError(f"{part} printed nothing: {done.stderr}")
        return steps

    @contextlib.contextmanager
    def client_at_work(self, part, url, token, *flags):
        """A client driver while it runs: gives its steps one by one, each once it is there."""
        command = [str(E2E / "run"), part, "--url", self.url + url, *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "VIDIMUS_TOKEN": token})

        def step(name):
            for line in process.stdout:
                row = json.loads(line)
                if row["step"] == name:
                    return row
            raise AssertionError(f"{part} did not get to {name}")

        try:
            yield step
        finally:
            self.stop(process)

    def post(self, path, body, token=None, headers=(), method="POST", raw=False):
        """One plain request: status, headers, body."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        request.add_header("Accept", "application/json, text/event-stream")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        for name, value in headers:
            request.add_header(name, value)
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        content = answer.read()
        if raw:
            return answer.status, answer.headers, content
        return answer.status, answer.headers, json.loads(content or b"null")

    def seen(self, name):
        """The requests that reached an upstream."""
        rows = [json.loads(line) for line in self.logs[name].read_text().splitlines()]
        return [row for row in rows if "method" in row]

    def records(self, *flags):
        done = self.vidimus("audit", "search", "--data", str(self.data), "--limit", "0", "-o", "json", *flags)
        return [json.loads(line) for line in done.stdout.splitlines()]
