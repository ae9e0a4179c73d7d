"""The ledger with three real witnesses (litewitness), of which two have to cosign; and read over HTTP by a client that is not ours (torchwood)."""

import base64
import gzip
import hashlib
import importlib.util
import io
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import time
import unittest
import urllib.error
import urllib.request

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from message import call, modern
from stage import Stage, free_port

BIN = pathlib.Path(os.environ["VIDIMUS_TLOG_BIN"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
LEDGER = "/mcp/finance/ledger"
# Hashes, and no records.
AUDITOR = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: who-reads, namespace: platform}
spec:
  description: Who reads the ledger over HTTP.
  scope: Cluster
  cedar: |
    permit (principal == User::"urn:vidimus:local#admin", action in [Action::"operate", Action::"read"], resource);
    permit (principal in UserGroup::"hashes", action == Action::"read", resource == View::"ledger");
"""

spec = importlib.util.spec_from_file_location("verify_evidence", ROOT / "docs/verify-evidence.py")
VERIFIER = importlib.util.module_from_spec(spec)
spec.loader.exec_module(VERIFIER)


class Witness:
    """A litewitness with a key of its own, in an ssh-agent of its own."""

    def __init__(self, stage, name):
        self.stage, self.name, self.at = stage, f"witness.example/{name}", stage.root / name
        self.at.mkdir()
        private = Ed25519PrivateKey.generate()
        public = private.public_key()
        (self.at / "key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        (self.at / "key").chmod(0o600)
        blob = base64.b64decode(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
        self.fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        raw = b"\x04" + public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        number = hashlib.sha256(self.name.encode() + b"\n" + raw).hexdigest()[:8]
        self.key = f"{self.name}+{number}+{base64.b64encode(raw).decode()}"
        self.port, self.process = free_port(), None
        self.agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(self.at / "agent")], stdout=subprocess.DEVNULL)
        stage.processes.callback(stage.stop, self.agent)
        stage.until(lambda: (self.at / "agent").exists())
        environment = {**os.environ, "SSH_AUTH_SOCK": str(self.at / "agent")}
        subprocess.run(["ssh-add", "-q", str(self.at / "key")], env=environment, check=True)
        self.start()
        stage.processes.callback(self.stop)

    @property
    def flag(self):
        return f"{self.key} http://127.0.0.1:{self.port}/"

    def start(self):
        command = [str(BIN / "litewitness"), "-name", self.name, "-db", str(self.at / "db"), "-ssh-agent", str(self.at / "agent"),
                   "-key", self.fingerprint, "-listen", f"127.0.0.1:{self.port}"]
        with open(self.at / "log", "a") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.stage.until(lambda: b"listening" in (self.at / "log").read_bytes())

    def stop(self):
        self.stage.stop(self.process)

    def know(self, origin, key):
        """What `witnessctl add-log` and `add-key` do."""
        with sqlite3.connect(self.at / "db") as database:
            empty = base64.b64encode(hashlib.sha256().digest()).decode()
            database.execute("INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", (origin, empty))
            database.execute("INSERT INTO key (origin, key) VALUES (?, ?)", (origin, key))

    def seen(self):
        with sqlite3.connect(self.at / "db") as database:
            return database.execute("SELECT tree_size FROM log").fetchone()[0]


STAGE = None


def setUpModule():
    """The gateway runs before any witness knows its log: each refuses, is told of it, and cosigns when it is asked again."""
    global STAGE, ALL
    STAGE = Stage("ledger")
    unittest.addModuleCleanup(STAGE.close)  # also where what follows fails
    ALL = [Witness(STAGE, name) for name in "abc"]
    STAGE.flags = [flag for witness in ALL for flag in ("--witness", witness.flag)] + ["--witness-quorum", "2"]
    STAGE.add("who-reads", AUDITOR)
    STAGE.serve()
    ask()
    STAGE.until(lambda: STAGE.logged("whoever runs it has to add the log") >= 3)
    for witness in ALL:
        witness.know(key().split("+")[0], key())
    STAGE.until(settled, 60)


def ask():
    message, headers = modern(call("get_invoice", {"id": "INV-1"}))
    status, _, _ = STAGE.post(LEDGER, message, STAGE.token("invoice-bot"), headers, raw=True)
    assert status == 200, status


def key():
    return (STAGE.data / "ledger/keys/checkpoint.vkey").read_text().strip()


def note(name):
    path = STAGE.data / "ledger" / name
    return path.read_text() if path.exists() else "x\n0\n"


def size(name):
    return int(note(name).split("\n")[1])


def names():
    """Who cosigned the newest cosigned checkpoint, each found right by the Python of docs/."""
    return [witness.name for witness in ALL if VERIFIER.Key(witness.key, VERIFIER.WITNESS).signed(note("cosigned"))]


def settled(by=2):
    """All records are signed for, and that is cosigned."""
    records = len(STAGE.records("--kind", "all"))
    return records == size("checkpoint") == size("cosigned") and len(names()) >= by


def metric(name, **labels):
    text = urllib.request.urlopen(f"http://127.0.0.1:{STAGE.admin}/metrics").read().decode()
    found = [line for line in text.splitlines() if line.startswith(name) and all(f'{one}="{labels[one]}"' in line for one in labels)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def ready():
    return urllib.request.urlopen(f"http://127.0.0.1:{STAGE.admin}/readyz").status == 200


def verify(*words):
    return STAGE.vidimus("audit", "verify", "-o", "json", *words, check=False)


def asked_of(witnesses, quorum):
    return [flag for witness in witnesses for flag in ("--witness", witness.key)] + ["--quorum", str(quorum)]


def operator(*flags):
    return STAGE.vidimus("identity", "operator", "--data", str(STAGE.data), *flags).stdout.strip()


def read(token, quorum=2, *flags):
    """All of the log by the Go client; its last line, and what is before it."""
    policy = STAGE.root / "policy"
    members = [f"witness w{at} {witness.key}" for at, witness in enumerate(ALL)]
    policy.write_text("\n".join([f"log {key()}", *members, f"group all {quorum} w0 w1 w2", "quorum all", ""]))
    command = [str(BIN / "reader"), "-log", f"http://127.0.0.1:{STAGE.admin}/ledger/", "-policy", str(policy), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, env={**os.environ, "VIDIMUS_OPERATOR_TOKEN": token})
    lines = done.stdout.splitlines()
    return done.returncode, lines[:-1], (json.loads(lines[-1]) if done.returncode == 0 else done.stderr)


class Witnessed(unittest.TestCase):
    def setUp(self):
        STAGE.until(settled, 90)

    def test_evidence_takes_cosignatures_along_and_is_believed_only_with_them(self):
        ask()
        STAGE.until(lambda: settled(3), 30)
        out = STAGE.root / "evidence.jsonl"
        STAGE.vidimus("audit", "export", "--data", str(STAGE.data), "--out", str(out))
        stranger = Witness(STAGE, "stranger")
        for witnesses, quorum, proven in [(ALL, 3, True), (ALL, 2, True), (ALL[:1], 1, True), ([ALL[0], stranger], 2, False), ([stranger], 1, False)]:
            flags = asked_of(witnesses, quorum)
            said = verify("--key", key(), *flags, str(out))
            self.assertEqual((said.returncode, json.loads(said.stdout)["proven"]), (0, True) if proven else (1, False), said)
            log = verify("--data", str(STAGE.data), "--forget", *flags)
            self.assertEqual((log.returncode, json.loads(log.stdout)["intact"]), (0, True) if proven else (1, False), log)
            try:
                keys = [VERIFIER.Key(witness.key, VERIFIER.WITNESS) for witness in witnesses]
                VERIFIER.Evidence(io.BytesIO(out.read_bytes()), VERIFIER.Key(key()), (), keys, quorum)
                self.assertTrue(proven)
            except VERIFIER.Wrong as wrong:
                self.assertFalse(proven, wrong)
        cosigned = json.loads(verify("--key", key(), *asked_of(ALL, 3), str(out)).stdout)["cosigned"]
        self.assertEqual([one["witness"] for one in cosigned], [witness.name for witness in ALL])
        self.assertTrue(all(abs(one["time"] - time.time()) < 300 for one in cosigned), cosigned)

    def test_without_a_quorum_calls_go_on_and_it_is_told(self):
        ALL[2].stop()
        ask()
        STAGE.until(lambda: settled() and len(names()) == 2, 30)
        before = size("cosigned")
        ALL[1].stop()
        ask()
        STAGE.until(lambda: metric("vidimus_ledger_uncosigned_seconds") > 1)
        for _ in range(5):
            begun = time.monotonic()
            ask()
            self.assertLess(time.monotonic() - begun, 2)
        self.assertTrue(ready())
        self.assertGreater(metric("vidimus_witness_requests_total", witness=ALL[1].name, result="failed"), 0)
        self.assertEqual((size("cosigned"), metric("vidimus_ledger_open")), (before, 1))
        # What is not cosigned is proven all the same, and whoever wants cosignatures can have the older checkpoint.
        out = STAGE.root / "behind.jsonl"
        done = STAGE.vidimus("audit", "export", "--data", str(STAGE.data), "--out", str(out), check=False)
        self.assertIn("does not cover all", done.stderr)
        self.assertEqual(verify("--key", key(), *asked_of(ALL, 2), str(out)).returncode, 1)
        done = STAGE.vidimus("audit", "export", "--data", str(STAGE.data), "--cosigned", "--out", str(out), check=False)
        self.assertEqual((done.returncode, verify("--key", key(), *asked_of(ALL, 2), str(out)).returncode), (1, 0), done)
        for witness in ALL[1:]:
            witness.start()
        STAGE.until(settled, 90)
        self.assertEqual(metric("vidimus_ledger_uncosigned_seconds"), 0)
        self.assertGreater(STAGE.logged("the witness cosigns again"), 0)

    def test_a_start_goes_on_where_it_was_and_finds_out_where_it_does_not_know(self):
        for forgets in (False, True):
            STAGE.gateway.kill()
            STAGE.gateway.wait()
            if forgets:
                (STAGE.data / "ledger/cosigned").unlink()
            STAGE.serve()
            ask()
            STAGE.until(lambda: settled(3), 60)
            self.assertEqual(metric("vidimus_witness_requests_total", result="failed"), 0)
            self.assertEqual([witness.seen() for witness in ALL], [size("checkpoint")] * 3)

    def test_a_ledger_that_was_put_back_is_told_by_each_witness(self):
        STAGE.stop(STAGE.gateway)
        old, newer = STAGE.root / "old", STAGE.root / "newer"
        shutil.copytree(STAGE.data, old)
        STAGE.serve()
        for _ in range(3):
            ask()
        STAGE.until(lambda: settled(3), 60)
        STAGE.stop(STAGE.gateway)
        STAGE.data.rename(newer)
        old.rename(STAGE.data)
        told = STAGE.logged("a witness has seen another past of the ledger")
        STAGE.serve()
        # Whole in itself, and by nobody's memory: `--forget`.
        self.assertEqual(verify("--data", str(STAGE.data), "--forget").returncode, 0)
        ask()
        STAGE.until(lambda: STAGE.logged("a witness has seen another past of the ledger") >= told + 3, 60)
        self.assertGreaterEqual(metric("vidimus_witness_requests_total", result="inconsistent"), 3)
        self.assertTrue(ready())
        STAGE.stop(STAGE.gateway)
        shutil.rmtree(STAGE.data)
        newer.rename(STAGE.data)
        STAGE.serve()
        STAGE.until(settled, 60)


class Read(unittest.TestCase):
    def setUp(self):
        STAGE.until(settled, 90)

    def test_a_client_of_tiled_logs_reads_and_proves_all_of_it(self):
        saved = STAGE.root / "saved.checkpoint"
        saved.write_text(note("checkpoint"))
        # Over the border of a tile: refusals of one caller are recorded up to a rate.
        while size("checkpoint") < 300:
            ask()
        STAGE.until(settled, 60)
        code, records, said = read(operator("--name", "admin"), 2, "-since", str(saved))
        self.assertEqual(code, 0, said)
        self.assertEqual((said["size"], said["entries"]), (size("cosigned"), size("cosigned")))
        self.assertEqual(said["continues"], int(saved.read_text().split("\n")[1]))
        self.assertGreaterEqual(said["signatures"], 3)
        own = STAGE.vidimus("audit", "search", "--data", str(STAGE.data), "--kind", "all", "--limit", "0", "-o", "json", "--oldest-first", check=False)
        self.assertEqual(len(records), said["size"], own.stderr)
        for index in (0, 255, 256, said["size"] - 1):
            json.loads(records[index])

    def test_who_may_not_read_does_not_and_hashes_are_no_records(self):
        hashes = operator("--name", "eve", "--group", "hashes")
        code, _, said = read(hashes)
        self.assertNotEqual(code, 0)
        self.assertIn("403", said)
        status = lambda path, token: self.status(path, token)
        partial = f"tile/0/000.p/{min(size('cosigned'), 255)}"
        for path, may in [("checkpoint", True), (partial, True), (partial.replace("/0/", "/entries/"), False)]:
            self.assertEqual(status(path, hashes), 200 if may else 403, path)
            self.assertEqual(status(path, operator("--name", "admin")), 200, path)
            self.assertEqual(status(path, operator("--name", "nobody")), 403, path)
            self.assertEqual(status(path, STAGE.token("invoice-bot")), 401, path)
            self.assertEqual(status(path, None), 401, path)
        for path in ("tile/0/999", "tile/0/0", "tile/0/../0/000", "tile/00/000", "tile/9/000", "tile/data/000", "tile/"):
            self.assertEqual(status(path, operator("--name", "admin")), 404, path)

    def test_records_are_zipped_for_who_takes_it_and_hashes_are_not(self):
        partial = f"tile/entries/000.p/{min(size('cosigned'), 255)}"
        plain, said = self.got(partial, "identity")
        self.assertEqual((said["Content-Encoding"], said["Vary"]), (None, "accept-encoding"))
        zipped, said = self.got(partial, "br;q=1, gzip;q=0.5")
        self.assertEqual((said["Content-Encoding"], said["Vary"]), ("gzip", "accept-encoding"))
        self.assertEqual(gzip.decompress(zipped), plain)
        self.assertLess(len(zipped), len(plain))
        self.assertIsNone(self.got(partial, "gzip;q=0")[1]["Content-Encoding"])
        self.assertIsNone(self.got(partial.replace("/entries/", "/0/"), "gzip")[1]["Content-Encoding"])

    @staticmethod
    def got(path, encodings):
        token = operator("--name", "admin")
        headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": encodings}
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{STAGE.admin}/ledger/{path}", headers=headers)) as answer:
            return answer.read(), answer.headers

    @staticmethod
    def status(path, token):
        request = urllib.request.Request(f"http://127.0.0.1:{STAGE.admin}/ledger/{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            return urllib.request.urlopen(request).status
        except urllib.error.HTTPError as error:
            return error.code


if __name__ == "__main__":
    unittest.main()
