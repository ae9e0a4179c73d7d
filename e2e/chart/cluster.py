"""A kube-apiserver with its etcd, on loopback, and Helm."""

import json
import os
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CHART = Path(__file__).parents[2] / "deploy" / "chart" / "vidimus"
TOOLS = Path(os.environ["VIDIMUS_CHART_TOOLS"])
TOKEN = "for-this-run-only"
KUBE_VERSION = "1.34.4"


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def helm(*words, kubeconfig="/nonexistent", check=True):
    """What Helm prints; where `check` is off, the whole result."""
    home = tempfile.gettempdir()
    env = {"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": str(kubeconfig), "HELM_CACHE_HOME": f"{home}/helm-cache"}
    ran = subprocess.run([TOOLS / "helm", *words], capture_output=True, text=True, env=env, timeout=120)
    if check and ran.returncode:
        raise AssertionError(f"helm {' '.join(map(str, words))}: {ran.stderr}")
    return ran.stdout if check else ran


def values(name):
    """The flags for one of the files of values that are tried; `minimal` has none."""
    return [] if name == "minimal" else ["-f", CHART / "ci" / f"{name}-values.yaml"]


def rendered(name, *more, chart=CHART):
    text = helm("template", "vidimus", chart, "-n", "vidimus-system", "--kube-version", KUBE_VERSION, *values(name), *more)
    return [one for one in yaml.safe_load_all(text) if one]


class Cluster:
    """Ends with `close`."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.at = Path(self.directory.name)
        self.programs = []
        etcd, peers, secure = free_port(), free_port(), free_port()
        clients, peers = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
        self.start("etcd", "--data-dir", self.at / "etcd-data", "--unsafe-no-fsync", "--listen-client-urls", clients,
                   "--advertise-client-urls", clients, "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
                   "--initial-cluster", f"default={peers}")
        key = self.at / "sa.key"
        key.write_bytes(rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()))
        (self.at / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
        self.start("kube-apiserver", "--etcd-servers", clients, "--bind-address", "127.0.0.1", "--secure-port", str(secure),
                   "--cert-dir", self.at / "certs", "--token-auth-file", self.at / "tokens.csv", "--authorization-mode", "RBAC",
                   "--service-cluster-ip-range", "10.0.0.0/24", "--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
                   "--service-account-key-file", key, "--service-account-signing-key-file", key)
        self.url = f"https://127.0.0.1:{secure}"
        # The certificate is one that the server made for itself a moment ago, on loopback.
        self.tls = ssl._create_unverified_context()
        self.kubeconfig = self.at / "kubeconfig"
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "it", "user": {"token": TOKEN}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}]}))
        self.plurals = {}
        deadline = time.monotonic() + 120
        while self.ask("GET", "/readyz")[0] != 200:
            if time.monotonic() > deadline:
                raise AssertionError("the API server is not ready: " + (self.at / "kube-apiserver.log").read_text()[-3000:])
            time.sleep(0.2)

    def start(self, name, *words):
        with open(self.at / f"{name}.log", "wb") as log:
            self.programs.append(subprocess.Popen([Path(os.environ["VIDIMUS_KUBE_BIN"]) / name, *words], stdout=log, stderr=log))

    def close(self):
        for program in self.programs:
            program.kill()
            program.wait()
        self.directory.cleanup()

    def ask(self, method, path, body=None, content="application/json"):
        """Status, answer, and the warnings that came with it."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"Bearer {TOKEN}", "Content-Type": content}, method=method)
        try:
            with urllib.request.urlopen(request, context=self.tls, timeout=30) as answer:
                status, text, warnings = answer.status, answer.read(), answer.headers.get_all("Warning", [])
        except urllib.error.HTTPError as error:
            status, text, warnings = error.code, error.read(), []
        except OSError:
            return 0, {}, []
        try:
            return status, json.loads(text), warnings
        except ValueError:
            return status, {"text": text.decode()}, warnings

    def path(self, thing):
        """Where an object is."""
        version = thing["apiVersion"]
        group = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if version not in self.plurals:
            _, found, _ = self.ask("GET", group)
            self.plurals[version] = {one["kind"]: (one["name"], one["namespaced"]) for one in found.get("resources", []) if "/" not in one["name"]}
        if thing["kind"] not in self.plurals[version]:
            self.plurals.pop(version)
            raise AssertionError(f"the API server has no {version} {thing['kind']}")
        plural, namespaced = self.plurals[version][thing["kind"]]
        within = f"/namespaces/{thing['metadata']['namespace']}" if namespaced else ""
        return f"{group}{within}/{plural}/{thing['metadata']['name']}"

    def apply(self, thing, dry=False):
        """A server-side apply."""
        query = "?fieldManager=it&force=true&fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        return self.ask("PATCH", self.path(thing) + query, thing, "application/apply-patch+yaml")

    def wait(self, what, is_so):
        deadline = time.monotonic() + 60
        while not is_so():
            if time.monotonic() > deadline:
                raise AssertionError(f"not {what}")
            time.sleep(0.1)
