"""Any replica serves any call: three gateways behind a round robin, of which one is killed every second under load. No call fails but those in
flight on it, sessions go on, no count is exceeded, no record is lost, and one `audit verify` reads all logs."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import tempfile
import time
import unittest
import urllib.request

from message import call, claims, modern
from replicas import COPIED, Replica, Replicas
from traffic import Session, ToAgent, ToModel, Worker, post

SECONDS = int(os.environ.get("VIDIMUS_REPLICAS_SECONDS", "12"))
LIMIT = 4  # calls of a chain
LEDGER = "/mcp/finance/ledger"

RUNNER = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: runner, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Goes on with the chain that it is called in
  riskLevel: low
  environment: production
  groups: [finance-agents]
  capabilities: [financial-analysis]
  delegation: {{maxCalls: 4}}
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: runner}}}}]
  endpoint: {{url: "http://127.0.0.1:{echo}/"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: narrow, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Calls one other, and no second
  riskLevel: low
  environment: production
  groups: [finance-agents]
  capabilities: [financial-analysis]
  delegation: {{maxFanOut: 1}}
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: narrow}}}}]
  endpoint: {{url: "http://127.0.0.1:{echo}/"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: hold, namespace: finance}}
spec:
  description: A person looks at each transfer.
  cedar: |
    @id("transfers") @approval("payers") @reason("transfers are looked at")
    forbid (principal, action == Action::"invokeTool", resource == Tool::"finance/ledger/transfer")
    unless {{ context has approval && context.approval.role == "payers" }};
"""

STAGE = None


def setUpModule():
    global STAGE
    STAGE = Replicas("ledger", "echo", "model", resources={"runner": RUNNER})


def tearDownModule():
    STAGE.close()


def at(replica, path, message, token, headers=()):
    """A call at one replica."""
    return post(replica.listen, path, message, token, headers)


def tool(name, arguments):
    return modern(call(name, arguments))


def to_runner():
    """A message to the agent runner, told apart by its text."""
    mark = os.urandom(8).hex()
    return mark, {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {
        "messageId": mark, "role": "ROLE_USER", "parts": [{"text": mark}]}}}


def hop_token(mark):
    """The token that runner got with the message of this mark."""
    for row in STAGE.seen("echo"):
        if mark in row.get("body", ""):
            return dict(row["headers"])["authorization"].split()[1]
    return None


class Chain:
    """Chains, each used up by more calls at once than it may make, over all replicas."""

    def __init__(self, stage, token):
        self.stage, self.token, self.marks, self.exceeded, self.whole = stage, token, [], [], 0

    def step(self):
        mark, message = to_runner()
        answer = post(self.stage.listen, "/a2a/finance/runner", message, self.token, [("A2A-Version", "1.0")])
        token = hop_token(mark)
        if answer.status == 200 and token:
            message, headers = tool("get_invoice", {"id": f"INV-{mark}"})
            # One after another the limit is reached exactly; at once, the one too many may end the chain earlier, and never later.
            with concurrent.futures.ThreadPoolExecutor(1 if len(self.marks) % 2 else 8) as pool:
                tried = list(pool.map(lambda _: post(self.stage.listen, LEDGER, message, token, headers), range(8)))
            self.marks.append(mark)
            # The call of the runner itself counts.
            passed = sum(one.status == 200 and one.code is None for one in tried)
            self.whole += passed == LIMIT - 1
            if passed > LIMIT - 1:
                self.exceeded.append(mark)
        return answer

    @staticmethod
    def is_good(answer):
        return "result" in answer.json()


class AnyReplica(unittest.TestCase):
    def test_1_what_one_replica_gave_out_all_take(self):
        """Sessions, tokens of hops and keys: each at each."""
        token = STAGE.token("invoice-bot")
        sets = []
        for replica in STAGE.replicas:
            with urllib.request.urlopen(f"http://127.0.0.1:{replica.listen}/.well-known/jwks.json") as answer:
                sets.append({key["kid"] for key in json.load(answer)["keys"]})
        self.assertEqual([sets[0]] * 3, sets)
        session = Session(STAGE, token)
        self.assertEqual(session.begin().status, 202)
        for replica in STAGE.replicas:
            answer = at(replica, LEDGER, call("get_invoice", {"id": "INV-1"}), token, session.headers())
            self.assertTrue(session.is_good(answer), answer.body)
        stranger = STAGE.token("risky-bot")
        for replica in STAGE.replicas:
            answer = at(replica, LEDGER, call("get_invoice", {"id": "INV-1"}), stranger, session.headers())
            self.assertEqual(answer.code, "session_foreign")
        mark, message = to_runner()
        self.assertEqual(at(STAGE.replicas[0], "/a2a/finance/runner", message, token, [("A2A-Version", "1.0")]).status, 200)
        hop = hop_token(mark)
        self.assertEqual(claims(f"Bearer {hop}")["iss"], STAGE.url)
        message, headers = tool("get_invoice", {"id": "INV-1"})
        codes = [at(replica, LEDGER, message, hop, headers).code for replica in (*STAGE.replicas, STAGE.replicas[0])]
        self.assertEqual(codes, [None] * 3 + ["chain_limit"])

    def test_1_how_wide_an_agent_calls_is_counted_over_all(self):
        token = STAGE.token("invoice-bot")
        mark, asked = to_runner()
        self.assertEqual(at(STAGE.replicas[0], "/a2a/finance/narrow", asked, token, [("A2A-Version", "1.0")]).status, 200)
        hop = hop_token(mark)
        message, headers = tool("get_invoice", {"id": "INV-1"})
        self.assertIsNone(at(STAGE.replicas[1], LEDGER, message, hop, headers).code)
        chat = {"model": "simulator-small", "messages": [{"role": "user", "content": "hi"}]}
        for replica in STAGE.replicas:
            self.assertEqual(at(replica, "/llm/platform/simulator/v1/chat/completions", chat, hop).code, "delegation_too_wide")
            self.assertIsNone(at(replica, LEDGER, message, hop, headers).code)

    def test_2_an_approval_given_on_one_replica_releases_the_call_held_on_another(self):
        token = STAGE.token("invoice-bot")
        message, headers = tool("transfer", {"amount": 4711, "to": "acme"})

        def sent():
            return sum('"amount": 4711' in row.get("body", "") or '"amount":4711' in row.get("body", "") for row in STAGE.seen("ledger"))

        def held(replica):
            answer = at(replica, LEDGER, message, token, headers)
            self.assertEqual(answer.code, "approval_required", answer.body)
            return answer.json()["error"]["data"]["approval"]

        first, second, third = STAGE.replicas
        approval = held(first)
        # Who approves has to see what: the arguments are where the call was tried, and another says where that is.
        STAGE.until(lambda: approval in STAGE.operate(third, "approvals", "list").stdout)
        refused = STAGE.operate(third, "approvals", "approve", approval, "--why", "PO-4711", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("held at another gateway", refused.stderr)
        self.assertNotIn("restart", refused.stderr)
        shown = STAGE.operate(third, "approvals", "show", approval).stdout
        self.assertIn("(known at another gateway)", shown)
        if not COPIED:
            self.assertIn(f"vidimus.test/replica-{first.number}", shown)
        self.assertEqual(held(second), approval)
        self.assertIn("4711", STAGE.operate(second, "approvals", "show", approval).stdout)
        STAGE.operate(second, "approvals", "approve", approval, "--why", "PO-4711")
        before = sent()
        STAGE.until(lambda: (answer := at(third, LEDGER, message, token, headers)).code is None and answer.status == 200)
        self.assertEqual(sent(), before + 1)
        # Once, wherever it is tried.
        self.assertEqual({replica.number: at(replica, LEDGER, message, token, headers).code for replica in STAGE.replicas},
                         dict.fromkeys(range(3), "approval_required"))
        self.assertEqual(sent(), before + 1)

    def test_3_a_quarantine_at_one_is_one_at_all(self):
        token = STAGE.token("hop-one")
        message, headers = tool("get_invoice", {"id": "INV-1"})
        self.assertEqual([at(replica, LEDGER, message, token, headers).code for replica in STAGE.replicas], [None] * 3)
        STAGE.operate(STAGE.replicas[1], "quarantine", "agent", "finance/hop-one", "--why", "it is tried")
        for replica in STAGE.replicas:
            STAGE.until(lambda: at(replica, LEDGER, message, token, headers).code == "forbidden_by_policy", 10)

    def test_4_one_is_killed_every_second(self):
        token = STAGE.token("invoice-bot")
        sessions = [Session(STAGE, token) for _ in range(3)]
        for session in sessions:
            self.assertEqual(session.begin().status, 202)
        chain = Chain(STAGE, token)
        callers = [*sessions, ToAgent(STAGE, token), ToModel(STAGE, token), chain]
        workers = [Worker(caller) for caller in callers]
        kills, end = 0, time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                due = time.monotonic() + 1
                replica = STAGE.replicas[kills % len(STAGE.replicas)]
                # Each second one: where a slow machine has not started the last one yet, that one is waited for.
                STAGE.until(lambda: all(one.is_ready() for one in STAGE.replicas), 60)
                STAGE.front.kill(replica.number, replica.kill)
                replica.start()
                kills += 1
                time.sleep(max(0, due - time.monotonic()))
        finally:
            for worker in workers:
                worker.end()
        STAGE.until(lambda: all(one.is_ready() for one in STAGE.replicas), 60)
        self.assertEqual([worker.failure for worker in workers], [None] * len(workers))
        answered, interrupted = self.judge(workers)
        print(f"{kills} kills, {answered} answered, {interrupted} in flight, {len(chain.marks)} chains, {STAGE.front.served}", flush=True)
        self.assertGreaterEqual(kills, min(SECONDS // 3, 3))
        self.assertTrue(all(STAGE.front.served), STAGE.front.served)
        # What was in flight is little of all: a replica that hangs would not be noticed otherwise.
        self.assertLess(interrupted, answered)
        self.count(chain)
        self.records(workers)

    def judge(self, workers):
        """No call failed but those in flight on a replica that was killed."""
        answered = interrupted = 0
        for worker in workers:
            for answer, good, in_flight in worker.answers:
                if answer.status is None:
                    self.assertTrue(in_flight, f"{type(worker.caller).__name__}: {answer.error}: it was not in flight on what was killed")
                    interrupted += 1
                else:
                    self.assertTrue(good, f"{type(worker.caller).__name__}: {answer.status} {answer.headers} {answer.body!r}")
                    answered += 1
            self.assertGreater(len(worker.answers), 5, type(worker.caller).__name__)
        return answered, interrupted

    def count(self, chain):
        """No chain came to more than its limit, by what the server got."""
        self.assertGreater(len(chain.marks), 2)
        self.assertEqual(chain.exceeded, [])
        got = [row.get("body", "") for row in STAGE.seen("ledger")]
        for mark in chain.marks:
            self.assertLessEqual(sum(f"INV-{mark}" in body for body in got), LIMIT - 1, mark)
        self.assertGreater(chain.whole, 0, "the limit is reached, and not only never exceeded")

    def records(self, workers):
        """Each answered call has its decision and its effect in one of the logs, and all of them are intact."""
        calls = {answer.call for worker in workers for answer, _, _ in worker.answers if answer.status == 200}
        self.assertNotIn(None, calls)
        for kind in ("decision", "effect"):
            of_calls = [row["id"] for row in STAGE.all_records("--kind", kind) if row["id"] in calls]
            self.assertEqual(len(of_calls), len(set(of_calls)), f"a {kind} is in one log")
            self.assertEqual(calls - set(of_calls), set(), f"no {kind} is lost")
        for log in STAGE.replicas:
            STAGE.until(lambda: STAGE.vidimus("audit", "verify", "--ledger", str(log.ledger), check=False).returncode == 0)
        done = STAGE.vidimus("audit", "verify", *STAGE.ledgers())
        self.assertNotIn("NOT INTACT", done.stdout)

    def test_5_a_departed_replica_is_read_and_verified_like_the_others(self):
        """Its log ends with a stop that its last checkpoint covers, and the set of checkpoints tells when it is left out."""
        gone = STAGE.replicas[2]
        STAGE.stop(gone.process)
        own = STAGE.vidimus("audit", "search", "--ledger", str(gone.ledger), "--kind", "all", "--limit", "0", "-o", "json").stdout
        own = sorted((json.loads(line) for line in own.splitlines()), key=lambda row: row["index"])
        if not COPIED:
            self.assertIn("stop", own[-1]["act"], own[-1])
        size = int((gone.ledger / "checkpoint").read_text().splitlines()[1])
        self.assertEqual(size, len(own), "the last checkpoint is of all there is")
        with tempfile.TemporaryDirectory() as there:
            known = pathlib.Path(there) / "set"
            known.write_text(STAGE.vidimus("audit", "checkpoints", *STAGE.ledgers()).stdout)
            STAGE.vidimus("audit", "verify", *STAGE.ledgers(), "--since-set", str(known))
            without = [word for replica in STAGE.replicas[:2] for word in ("--ledger", str(replica.ledger))]
            self.assertEqual(STAGE.vidimus("audit", "verify", *without, "--since-set", str(known), check=False).returncode, 1)
        told = STAGE.vidimus("audit", "logs", *STAGE.ledgers()).stdout
        if not COPIED:
            for number in range(3):
                self.assertIn(f"vidimus.test/replica-{number}/", told)
        # The others go on, and it comes back to the same log.
        session = Session(STAGE, STAGE.token("invoice-bot"))
        self.assertEqual(session.begin().status, 202)
        self.assertTrue(session.is_good(session.step()))
        gone.start()
        STAGE.until(gone.is_ready)
        self.assertTrue(session.is_good(at(gone, LEDGER, call("get_invoice", {"id": "INV-1"}), session.token, session.headers())))


@unittest.skipIf(COPIED, "this binary has no --shared-keys")
class Rotation(unittest.TestCase):
    """Keys follow one another while calls go on; what is dropped is refused."""

    def current(self, purpose):
        rows = [json.loads(line) for line in STAGE.vidimus("keys", "list", str(STAGE.keys), "-o", "json").stdout.splitlines()]
        return [row["file"] for row in rows if row["purpose"] == purpose and row["state"] == "current"]

    def test_6_a_session_goes_on_over_a_rotation_and_ends_where_its_key_is_dropped(self):
        for replica in STAGE.replicas:
            replica.err.write_text("")
        token = STAGE.token("invoice-bot")
        session = Session(STAGE, token)
        self.assertEqual(session.begin().status, 202)
        mark, message = to_runner()
        self.assertEqual(at(STAGE.replicas[0], "/a2a/finance/runner", message, token, [("A2A-Version", "1.0")]).status, 200)
        hop, before = hop_token(mark), (self.current("seal"), self.current("mint"))
        STAGE.vidimus("keys", "rotate", "--out", str(STAGE.keys), "--after", "4s")
        self.assertEqual((self.current("seal"), self.current("mint")), before, "accepted, and not used yet")
        STAGE.until(lambda: "the shared keys changed" in STAGE.replicas[0].err.read_text(), 10)
        STAGE.until(lambda: (self.current("seal"), self.current("mint")) != before, 10)
        time.sleep(2)  # each replica looks once a second
        for replica in STAGE.replicas:
            answer = at(replica, LEDGER, call("get_invoice", {"id": "INV-1"}), token, session.headers())
            self.assertTrue(session.is_good(answer), answer.body)
        newer = Session(STAGE, token)
        self.assertEqual(newer.begin().status, 202)
        message, headers = tool("get_invoice", {"id": "INV-1"})
        self.assertIsNone(at(STAGE.replicas[1], LEDGER, message, hop, headers).code, "a hop's token of the former key")
        # Attack: what was sealed or signed with a key that was dropped.
        for names in before:
            for name in names:
                (STAGE.keys / name).unlink()
        for replica in STAGE.replicas:
            STAGE.until(lambda: at(replica, LEDGER, call("get_invoice", {"id": "INV-1"}), token, session.headers()).code == "session_foreign", 10)
            self.assertEqual(at(replica, LEDGER, message, hop, headers).code, "token_key_unknown")
            self.assertTrue(newer.is_good(at(replica, LEDGER, call("get_invoice", {"id": "INV-1"}), token, newer.headers())))

    def test_7_keys_that_others_may_read_are_not_taken(self):
        session = Session(STAGE, STAGE.token("invoice-bot"))
        secret = next(path for path in STAGE.keys.iterdir() if path.name.startswith("seal."))
        secret.chmod(0o644)
        self.addCleanup(secret.chmod, 0o600)
        STAGE.until(lambda: all("cannot be used" in one.err.read_text() for one in STAGE.replicas), 10)
        # Those that run go on by what they have; none starts by them, and the file and what to do are said.
        self.assertEqual(session.begin().status, 202)
        late = Replica(STAGE, 4)
        late.start()
        self.assertEqual(late.process.wait(20), 2)
        said = late.err.read_text()
        self.assertTrue("--shared-keys" in said and secret.name in said and "0600" in said, said)

    def test_8_a_replica_with_other_keys_takes_nothing(self):
        token = STAGE.token("invoice-bot")
        session = Session(STAGE, token)
        self.assertEqual(session.begin().status, 202)
        foreign = STAGE.root / "other-keys"
        STAGE.vidimus("keys", "generate", "--out", str(foreign))
        # Callers have tokens of the same issuer, so it is the other keys alone that are tried.
        for name in ("ca.pem", "ca-key.pem", "issuer-key.pem"):
            shutil.copy2(STAGE.keys / name, foreign / name)
        other = Replica(STAGE, 3, foreign)
        self.addCleanup(lambda: STAGE.stop(other.process))
        other.start()
        STAGE.until(other.is_ready)
        answer = at(other, LEDGER, call("get_invoice", {"id": "INV-1"}), token, session.headers())
        self.assertEqual(answer.code, "session_foreign")
        # Both ways.
        for one, another in ((STAGE.replicas[0], other), (other, STAGE.replicas[0])):
            mark, message = to_runner()
            self.assertEqual(at(one, "/a2a/finance/runner", message, token, [("A2A-Version", "1.0")]).status, 200)
            message, headers = tool("get_invoice", {"id": "INV-1"})
            self.assertEqual(at(another, LEDGER, message, hop_token(mark), headers).code, "token_key_unknown")


if __name__ == "__main__":
    unittest.main()
