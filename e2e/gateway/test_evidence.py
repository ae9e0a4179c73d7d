"""Evidence of a real run: believed by `audit verify` and by the Python of docs/, which refuse whatever was changed; reports for frameworks
(`audit evidence`), whose OSCAL is held to the schema of the NIST; and docs/audit.md, pasted.

VIDIMUS_MUTATIONS (100; `make evidence`: 1000) files are bent, one way each.
"""

import base64
import datetime
import hashlib
import html.parser
import importlib.util
import io
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import struct
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

import jsonschema
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from message import call, modern
from stage import BINARY, POLICIES, Stage

ROOT = pathlib.Path(__file__).resolve().parents[2]
MUTATIONS = int(os.environ.get("VIDIMUS_MUTATIONS", "100"))
LEDGER = "/mcp/finance/ledger"


def load(name):
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERIFIER, LEDGER_VERIFIER = load("verify-evidence"), load("verify-ledger")
STAGE = None


def ask(name, arguments, *flags, agent="invoice-bot"):
    message, headers = modern(call(name, arguments))
    return STAGE.post(LEDGER, message, STAGE.token(agent, *flags), headers, raw=True)


def limit(amount):
    STAGE.add("policies", POLICIES.replace("<= 10000 }", f"<= {amount} }}"))


def setUpModule():
    """Calls under two configurations, with people and without, allowed and denied, and a token that is none."""
    global STAGE
    STAGE = Stage("ledger")
    STAGE.serve()
    ask("get_invoice", {"id": "INV-0"})
    STAGE.until(lambda: b"\n0\n" not in (STAGE.data / "ledger/checkpoint").read_bytes())
    shutil.copy(STAGE.data / "ledger/checkpoint", STAGE.root / "saved.checkpoint")
    shutil.copy(STAGE.data / "ledger/keys/checkpoint.vkey", STAGE.root / "checkpoint.vkey")
    for number in range(12):
        ask("get_invoice", {"id": f"INV-{number}"})
        ask("transfer", {"amount": 20_000 + number, "to": "acme \"é\""})
    ask("transfer", {"amount": 9_000, "to": "acme"}, "--user", "grace@example.com")
    STAGE.post(LEDGER, call("get_invoice", {"id": "1"}), "no token")
    ask("get_invoice", {"id": "1"}, agent="stranger")
    limit(100)
    grace = {"amount": 9_000, "to": "acme"}, "--user", "grace@example.com"
    STAGE.until(lambda: b"no_permit" in ask("transfer", *grace)[2])
    for number in range(4):
        ask("get_invoice", {"id": f"INV-{number}"})


def tearDownModule():
    STAGE.close()


def export(out, *flags, check=True):
    path = STAGE.root / out
    STAGE.vidimus("audit", "export", "--data", str(STAGE.data), "--out", str(path), "--by", "ada", "--at", "2026-11-27", *flags, check=check)
    return path


def ledger_of_the_page(segments, signed):
    """What the Python says of the page's log with these segments, by the index of their first record: (signed for, behind), or why not."""
    page = (ROOT / "docs/ledger-format.md").read_text()
    block = lambda kind: page.split(f"```text {kind}\n")[1].split("```")[0]
    notes = block("checkpoints").split("\n\n")
    history = ["\n\n".join(notes[at:at + 2]) + "\n" for at in (0, 2)[:2 if signed else 1]]
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        (root / "segments").mkdir()
        (root / "keys").mkdir()
        (root / "keys/checkpoint.vkey").write_text(block("key"))
        (root / "checkpoints").write_text("".join(note + "\n" for note in history))
        (root / "checkpoint").write_text(history[-1])
        for first, raw in segments.items():
            (root / f"segments/{first:020}.log").write_bytes(raw)
        try:
            return LEDGER_VERIFIER.ledger(str(root))[1:3]
        except ValueError as wrong:
            return str(wrong)


def segment_of_the_page():
    page = (ROOT / "docs/ledger-format.md").read_text()
    return bytes.fromhex(page.split("```text segment\n")[1].split("```")[0].replace("\n", ""))


def key():
    return (STAGE.root / "checkpoint.vkey").read_text().strip()


class Witness:
    """Somebody who cosigns a checkpoint, as real ones do (e2e/tlog has those)."""

    def __init__(self, name):
        self.name, self.private = name, Ed25519PrivateKey.generate()
        raw = b"\x04" + self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        self.key = f"{name}+{self.id.hex()}+{base64.b64encode(raw).decode()}"

    def line(self, note, at=1_700_000_000):
        text = note.split("\n\n")[0] + "\n"
        signature = self.private.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        return f"\u2014 {self.name} {base64.b64encode(self.id + at.to_bytes(8, 'big') + signature).decode()}\n"


WITNESSES = [Witness("witness.example/a"), Witness("witness.example/b")]


def cosigned(raw):
    """The file, as it is where two witnesses cosigned its checkpoint."""
    lines = raw.decode().splitlines()
    head = json.loads(lines[0])
    note = head["evidence"]["checkpoint"]
    head["evidence"]["checkpoint"] += "".join(witness.line(note) for witness in WITNESSES)
    return resealed([VERIFIER.dumped(head), *lines[1:]])


def by_rust(paths, *demands):
    """What `audit verify` says of each file, by one process."""
    done = STAGE.vidimus("audit", "verify", "-o", "json", "--key", key(), *demands, *map(str, paths), check=False)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    whole = all(one["records"] and not one["missing"] for one in said)
    status = 1 if not all(one["proven"] for one in said) else 0 if whole else 3
    assert (len(said), done.returncode) == (len(paths), status), done
    assert [one["file"] for one in said] == [str(path) for path in paths], done
    return said


def by_python(raw, witnesses=()):
    """Why the Python does not believe a file; None where it does."""
    try:
        keys = [VERIFIER.Key(witness.key, VERIFIER.WITNESS) for witness in witnesses]
        VERIFIER.Evidence(io.BytesIO(raw), VERIFIER.Key(key()), (), keys)
    except VERIFIER.Wrong as wrong:
        return str(wrong)
    return None


def resealed(lines):
    """The file of these lines with an end that fits them: by somebody who knows the format."""
    text = "".join(line + "\n" for line in lines[:-1]).encode()
    end = {"end": {"records": sum(line.startswith('{"record":') for line in lines), "sha256": hashlib.sha256(text).hexdigest()}}
    return text + VERIFIER.dumped(end).encode() + b"\n"


def forged(lines, old, new):
    """A policy's text is another one, with the digests of texts and lists in the file made right, all but that in the records."""
    begin = next(at for at, line in enumerate(lines) if line.startswith('{"object":'))
    texts = [new if text == old else text for text in lines[begin:] if text.startswith('{"apiVersion"')]
    name = lambda text: hashlib.sha256(text.encode()).hexdigest()
    renamed, rest = {name(old): name(new)}, [json.loads(line) for line in lines[begin:-1] if not line.startswith(('{"apiVersion"', '{"object"'))]
    lists = {}
    for one in (line["list"] for line in rest if "list" in line):
        objects = [renamed.get(text[:64], text[:64]) + text[64:] for text in one["objects"]]
        renamed[one["sha256"]] = name("".join(text + "\n" for text in objects))
        lists[renamed[one["sha256"]]] = objects
    out = lines[:begin]
    for text in sorted(texts, key=name):
        out += [VERIFIER.dumped({"object": {"sha256": name(text)}}), text]
    out += [VERIFIER.dumped({"list": {"objects": lists[one], "sha256": one}}) for one in sorted(lists)]
    for line in (line for line in rest if "configuration" in line):
        line["configuration"]["lists"] = [renamed[one] for one in line["configuration"]["lists"]]
        out.append(VERIFIER.dumped(line))
    return out + [""]


def another_key(head):
    """The head, as the log of the same name of somebody else would have it, who signed the same checkpoint."""
    private = Ed25519PrivateKey.generate()
    public = b"\x01" + private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    text, name = head["checkpoint"].split("\n\n")[0] + "\n", head["checkpoint"].split("\n")[0]
    number = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    head["key"] = f"{name}+{number.hex()}+{base64.b64encode(public).decode()}"
    head["checkpoint"] = f"{text}\n\u2014 {name} {base64.b64encode(number + private.sign(text.encode())).decode()}\n"


class Bend:
    """Ways to bend a file, each said by its name. All but those of `raw` make its end right again."""

    def __init__(self, dice, raw):
        self.dice, self.raw, self.lines = dice, raw, raw.decode().splitlines()

    def at(self, begins):
        return self.dice.choice([at for at, line in enumerate(self.lines) if line.startswith(begins)])

    def change(self, begins, change):
        """A control line of this kind, changed as JSON."""
        at = self.at(f'{{"{begins}":')
        value = json.loads(self.lines[at])
        change(value[begins])
        self.lines[at] = VERIFIER.dumped(value)
        return resealed(self.lines)

    def raw_byte(self):
        at = self.dice.randrange(len(self.raw))
        return self.raw[:at] + bytes([self.raw[at] ^ self.dice.randrange(1, 256)]) + self.raw[at + 1:]

    def raw_cut(self):
        return self.raw[:self.dice.randrange(len(self.raw))]

    def raw_line_gone(self):
        del self.lines[self.dice.randrange(len(self.lines))]
        return "".join(line + "\n" for line in self.lines).encode()

    def raw_record_gone(self):
        at = self.at('{"record":')
        return "".join(line + "\n" for line in self.lines[:at] + self.lines[at + 2:]).encode()

    def record_byte(self):
        at = self.at('{"record":') + 1
        place = self.dice.randrange(len(self.lines[at]))
        other = self.dice.choice("abcxyz0189 {}\",:")
        line = self.lines[at][:place] + other + self.lines[at][place + 1:]
        self.lines[at] = line if line != self.lines[at] else line + "}"
        return resealed(self.lines)

    def record_outcome(self):
        at = next(at for at, line in enumerate(self.lines) if '"outcome":"deny"' in line)
        self.lines[at] = self.lines[at].replace('"outcome":"deny"', '"outcome":"allow"')
        return resealed(self.lines)

    def record_twice(self):
        at = self.at('{"record":')
        return resealed(self.lines[:at] + self.lines[at:at + 2] + self.lines[at:])

    def record_elsewhere(self):
        one, other = self.at('{"record":'), self.at('{"record":')
        while one == other:
            other = self.at('{"record":')
        self.lines[one + 1], self.lines[other + 1] = self.lines[other + 1], self.lines[one + 1]
        return resealed(self.lines)

    def order(self):
        one, other = self.at('{"record":'), self.at('{"record":')
        while one == other:
            other = self.at('{"record":')
        self.lines[one:one + 2], self.lines[other:other + 2] = self.lines[other:other + 2], self.lines[one:one + 2]
        return resealed(self.lines)

    def index(self):
        return self.change("record", lambda it: it.update(index=it["index"] + self.dice.choice([-1, 1, 256])))

    def proof_hash(self):
        def change(it):
            path = it["proof"]
            if not path or self.dice.random() < 0.2:
                it["shared"] += self.dice.choice([-1, 1])
                return
            at = self.dice.randrange(len(path))
            raw = bytearray(base64.b64decode(path[at]))
            raw[self.dice.randrange(32)] ^= 1
            path[at] = base64.b64encode(raw).decode()
        return self.change("record", change)

    def checkpoint_size(self):
        def change(it):
            lines = it["checkpoint"].split("\n")
            lines[1] = str(int(lines[1]) + self.dice.choice([-1, 1]))
            it["checkpoint"] = "\n".join(lines)
        return self.change("evidence", change)

    def checkpoint_byte(self):
        def change(it):
            note = it["checkpoint"]
            at = self.dice.randrange(len(note))
            it["checkpoint"] = note[:at] + ("A" if note[at] != "A" else "B") + note[at + 1:]
        return self.change("evidence", change)

    def key(self):
        return self.change("evidence", another_key)

    def witness(self, change):
        """The line of one witness, changed: it has the rest of the note, and which witness it is."""
        def change_note(it):
            note, which = it["checkpoint"], self.dice.randrange(2)
            lines = note.splitlines(keepends=True)
            place = len(lines) - 2 + which
            lines[place] = change(lines[place], note, WITNESSES[which], WITNESSES[1 - which])
            it["checkpoint"] = "".join(lines)
        return self.change("evidence", change_note)

    def witness_byte(self):
        def change(line, *_):
            at = self.dice.randrange(2, len(line) - 1)
            return line[:at] + ("A" if line[at] != "A" else "B") + line[at + 1:]
        return self.witness(change)

    def witness_gone(self):
        return self.witness(lambda *_: "")

    def witness_twice(self):
        return self.witness(lambda _, note, __, other: other.line(note))

    def witness_renamed(self):
        return self.witness(lambda line, _, own, other: line.replace(own.name, other.name))

    def witness_time(self):
        def change(line, note, own, _):
            at = self.dice.choice([0, 1 << 63, 1_700_000_001])
            if at != 1_700_000_001:
                return own.line(note, at)
            raw = base64.b64decode(line.split(" ")[2])
            return f"\u2014 {own.name} {base64.b64encode(raw[:4] + at.to_bytes(8, 'big') + raw[12:]).decode()}\n"
        return self.witness(change)

    def witness_of_another_checkpoint(self):
        def change(_, note, own, __):
            lines = note.split("\n")
            lines[1] = str(int(lines[1]) + self.dice.choice([-1, 1]))
            return own.line("\n".join(lines))
        return self.witness(change)

    def witness_by_another_key(self):
        return self.witness(lambda _, note, own, __: Witness(own.name).line(note))

    def older_checkpoint(self):
        def change(it):
            at = self.dice.randrange(len(it["checkpoint"]))
            it["checkpoint"] = it["checkpoint"][:at] + "\u00e9" + it["checkpoint"][at + 1:]
        return self.change("since", change)

    def consistency(self):
        def change(it):
            it["proof"] = it["proof"][1:] if self.dice.random() < 0.5 else it["proof"][::-1] + it["proof"][:1]
        return self.change("since", change)

    def policy_text(self):
        at = self.at('{"object":') + 1
        self.lines[at] = self.lines[at].replace('"spec":', '"Spec":')
        return resealed(self.lines)

    def policy_forged(self):
        texts = [line for line in self.lines if line.startswith('{"apiVersion"') and '"name":"small-transfers"' in line]
        old = self.dice.choice(texts)
        return resealed(forged(self.lines, old, re.sub(r"<= \d+", f"<= {self.dice.randrange(10**6, 10**7)}", old)))

    def quarantine(self):
        def change(it):
            at = self.dice.randrange(len(it["objects"]))
            it["objects"][at] = it["objects"][at][:64] + ("" if it["objects"][at][64:] else " quarantined")
        return self.change("list", change)

    def configuration_gone(self):
        del self.lines[self.at('{"configuration":')]
        return resealed(self.lines)

    def configuration_other(self):
        def change(it):
            it["snapshot"] = "sha256:" + hashlib.sha256(self.dice.randbytes(8)).hexdigest()
        return self.change("configuration", change)

    def configuration_closed(self):
        return self.change("configuration", lambda it: it["beside"].update(closed=True))

    def member(self):
        kind = self.dice.choice(["evidence", "record", "object", "list", "configuration"])
        return self.change(kind, lambda it: it.update(more=1))

    def number(self):
        """What readers of JSON read as different numbers, or write differently, and what not all read at all."""
        odd = self.dice.choice(["1.0", "1.5", "1e-07", "1e-7", "1e+21", "-0.0", str(1 << 53), str(1 << 64), "[" * 100 + "]" * 100])
        self.lines[0] = self.lines[0].replace('"asked":{', f'"asked":{{"a":{odd},', 1)
        return resealed(self.lines)

    def white_space(self):
        at = self.at("{")
        while not re.match(r'\{"(evidence|record|object|list|configuration)":', self.lines[at]):
            at = self.at("{")
        self.lines[at] = self.lines[at].replace(":", ": ", 1)
        return resealed(self.lines)

    WAYS = [name for name in dir() if not name.startswith("_") and name not in ("at", "change", "witness")]


FRAMEWORKS = ["soc2", "hipaa", "gdpr", "pci-dss", "dora", "eu-ai-act"]


def report(framework, out, *flags, window=("--from", "1d"), check=True):
    """A report of the run; by whom and when is said, so that the same question makes the same bytes."""
    path = STAGE.root / out
    made = "--by", "ada", "--at", "2026-11-28"
    STAGE.vidimus("audit", "evidence", "--data", str(STAGE.data), "--framework", framework, "--out", str(path), *made, *window, *flags, check=check)
    return path


class Page(html.parser.HTMLParser):
    """What of a page is markup, and what is text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = set(), set(), [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


class Report(unittest.TestCase):
    def test_oscal_is_what_its_schema_says_and_each_sample_in_it_is_proven(self):
        schema = json.loads((ROOT / "e2e/gateway/oscal-assessment-results.schema.json").read_text())
        validator = jsonschema.Draft7Validator(schema)
        self.assertFalse(validator.is_valid({"assessment-results": {}}), "it says what is wrong")
        place = STAGE.root / "samples"
        place.mkdir()
        for framework in FRAMEWORKS:
            flags = "--format", "oscal", "--samples", "5", "--key", key()
            document = json.loads(report(framework, f"{framework}.json", *flags).read_text())
            self.assertEqual([error.message for error in validator.iter_errors(document)], [], framework)
            resources = document["assessment-results"]["back-matter"]["resources"]
            files = {one["base64"]["filename"]: base64.b64decode(one["base64"]["value"]) for one in resources if "base64" in one}
            records = [name for name in files if name.endswith(".json")]
            self.assertGreater(len(records), 5, framework)
            for name in records[:6]:
                record, proof = place / name, place / name.replace(".json", ".tlog-proof")
                record.write_bytes(files[name])
                proof.write_bytes(files[proof.name])
                STAGE.vidimus("audit", "prove", "--record", str(record), "--proof", str(proof), "--key", key())
        # Who asks for witnesses has to be shown that they cosigned.
        prove = lambda *demands: STAGE.vidimus("audit", "prove", "--record", str(record), "--proof", str(proof), "--key", key(),
                                               "-o", "json", *demands, check=False)
        first, second = (("--witness", witness.key) for witness in WITNESSES)
        done = prove(*first)
        self.assertEqual((done.returncode, json.loads(done.stdout)["proven"]), (1, False), done)
        note = proof.read_text().split("\n\n", 1)[1]
        proof.write_text(proof.read_text() + WITNESSES[0].line(note))
        for demands, status in ((first, 0), ((*first, *second), 1), ((*first, *second, "--quorum", "1"), 0), ((*first, "--quorum", "2"), 2)):
            done = prove(*demands)
            self.assertEqual(done.returncode, status, done)
            if status == 0:
                self.assertEqual([one["witness"] for one in json.loads(done.stdout)["cosigned"]], [WITNESSES[0].name])

    def test_the_queries_find_what_was_counted_and_the_same_question_makes_the_same(self):
        now = datetime.datetime.now(datetime.UTC)
        window = "--from", (now - datetime.timedelta(days=1)).isoformat(), "--to", now.isoformat()
        for framework in FRAMEWORKS:
            question = "--data", str(STAGE.data), "--framework", framework, *window, "--by", "ada", "--at", "2026-11-28"
            said = json.loads(STAGE.vidimus("audit", "evidence", *question, "-o", "json").stdout)
            self.assertTrue(said["sound"] and said["log"]["records"] == said["log"]["proven"] > 0, said["log"])
            for name, kind in said["evidence"].items():
                # What stands behind a pipe narrows it, and takes another program.
                words = kind["query"].split(" | ")[0].split()
                self.assertEqual(words[0], "vidimus")
                found = STAGE.vidimus(*words[1:], "--data", str(STAGE.data)).stdout.splitlines()
                indexes = {json.loads(line)["index"] for line in found}
                (self.assertGreaterEqual if "|" in kind["query"] else self.assertEqual)(len(found), kind["count"], (framework, name))
                self.assertLessEqual(set(kind["samples"]), indexes, (framework, name))
            for form in ("html", "oscal", "ocsf"):
                one, other = (report(framework, out, "--format", form, window=window).read_bytes() for out in ("one", "other"))
                self.assertEqual(one, other, (framework, form))
        denied = len(STAGE.records("--kind", "decision", "--outcome", "deny"))
        self.assertGreater(denied, 10)

    def test_what_an_agent_calls_its_tool_is_text_on_the_page_and_in_every_form(self):
        before = datetime.datetime.now(datetime.UTC).isoformat()
        hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
        ask(hostile, {})
        window = "--from", before
        page = Page(report("pci-dss", "hostile.html", "--samples", "20", window=window).read_text())
        self.assertEqual(page.open, [])
        ours = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "table", "tr", "th", "td", "pre", "code", "strong",
                "section", "div", "ul", "li", "br", "a"}
        self.assertLessEqual(page.tags, ours)
        self.assertFalse(page.attributes & {"src", "onerror", "onload", "onclick"}, page.attributes)
        self.assertIn(hostile, "".join(page.text))
        events = [json.loads(line) for line in report("pci-dss", "hostile.ocsf", "--format", "ocsf", window=window).read_text().splitlines()]
        self.assertTrue(any(hostile in json.dumps(event["resources"]) for event in events if event["class_uid"] == 6003), events)
        self.assertEqual(sum(event["class_uid"] == 2003 for event in events), 16)


class Taken(unittest.TestCase):
    """Evidence over the admin address: the file of `audit export`, for whom policies permit it, and on record before it goes."""

    def post(self, body, *who):
        token = STAGE.vidimus("identity", "operator", "--data", str(STAGE.data), *who).stdout.strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{STAGE.admin}/ledger/export", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.headers, refused.read()

    def acts(self):
        return [act for act in STAGE.records("--kind", "act") if "export" in act["act"]]

    def test_what_is_given_is_believed_by_both_and_who_took_it_is_on_record(self):
        saved = (STAGE.root / "saved.checkpoint").read_text()
        asked = {"search": {"principal": "finance/invoice-bot", "kind": "all", "until": "2099-01-01T00:00:00Z"}}
        for number, question in enumerate([asked, {"search": {}}, {"show": {"id": STAGE.records("--outcome", "allow")[0]["id"]}}]):
            status, headers, raw = self.post({"asked": question, "since_checkpoints": [saved], "why": f"audit {number}"})
            self.assertEqual((status, headers["Content-Type"], headers["Cache-Control"]), (200, "application/jsonl", "private, no-store"), raw)
            self.assertIsNone(by_python(raw), question)
            path = STAGE.root / f"taken-{number}.jsonl"
            path.write_bytes(raw)
            said = by_rust([path])[0]
            self.assertTrue(said["proven"] and said["records"] > 0 and said["continues"][0] > 0 and not said["missing"], said)
            head = json.loads(raw.split(b"\n", 1)[0])["evidence"]
            self.assertEqual(head["exported"]["by"], "User/urn:vidimus:local#admin")
            act = next(act for act in self.acts() if act["id"] == headers["vidimus-act"])
            self.assertEqual((act["actor"], act["why"], act["act"]["export"]["cosigned"]), (head["exported"]["by"], f"audit {number}", False))
            self.assertEqual(json.loads(act["act"]["export"]["asked"]), head["asked"])
        # The same records as of the command.
        of = lambda raw: [line for line in raw.split(b"\n") if b'"principal":"Agent/finance/invoice-bot"' in line]
        command = export("of-the-command.jsonl", "--principal", "finance/invoice-bot", "--kind", "all").read_bytes()
        self.assertEqual(of((STAGE.root / "taken-0.jsonl").read_bytes()), of(command))

    def test_who_may_not_and_what_cannot_be_get_nothing_and_nothing_is_on_record_as_given(self):
        before, everything = len(self.acts()), {"search": {}}
        stranger = re.sub(r"\n([0-9]+)\n", lambda size: f"\n{int(size[1]) + 1}\n", (STAGE.root / "saved.checkpoint").read_text(), count=1)
        for body, who, status, code in [
            ({"asked": everything, "why": "x"}, ("--name", "eve"), 403, "no_permit"),
            ({"asked": everything, "why": " "}, (), 400, "message_invalid"),
            ({"asked": everything}, (), 400, "message_invalid"),
            ({"asked": {"search": {"tool": "x"}}, "why": "x"}, (), 400, "message_invalid"),
            ({"asked": {"search": {"text": "x" * 20_000}}, "why": "x"}, (), 400, "message_invalid"),
            ({"asked": everything, "since_checkpoints": [stranger], "why": "x"}, (), 400, "message_invalid"),
            ({"asked": everything, "cosigned": True, "why": "x"}, (), 409, "act_unfit"),
        ]:
            got, _, raw = self.post(body, *who)
            self.assertEqual(got, status, (body, raw[:300]))
            self.assertEqual((got, json.loads(raw)["vidimus"]["code"]), (status, code), (body, raw))
        self.assertEqual(len(self.acts()), before)


class Evidence(unittest.TestCase):
    def test_a_good_export_is_believed_by_both_and_the_same_question_makes_the_same(self):
        questions = [[], ["--outcome", "deny"], ["--kind", "decision"], ["--kind", "effect"], ["--principal", "finance/invoice-bot"],
                     ["--user", "grace@example.com"], ["--principal", "nobody"], ["--since", "1h"], ["--code", "no_permit"],
                     ["--call", STAGE.records("--user", "grace@example.com", "--outcome", "allow")[0]["id"]]]
        files = []
        for number, question in enumerate(questions):
            flags = [*question, "--since-checkpoint", str(STAGE.root / "saved.checkpoint")]
            files.append(export(f"good-{number}.jsonl", *flags))
            self.assertIsNone(by_python(files[-1].read_bytes()), question)
            if number % 3 == 0:
                again = export("again.jsonl", *flags)
                if not question or question[0] != "--since":
                    self.assertEqual(again.read_bytes(), files[-1].read_bytes(), question)
        said = by_rust(files)
        self.assertEqual([one["proven"] for one in said], [True] * len(files), said)
        self.assertTrue(said[0]["gapless"] and said[0]["first"] == 0 and said[0]["configurations"] == 2, said[0])
        self.assertEqual(said[0]["records"], said[0]["size"])
        self.assertTrue(said[0]["continues"][0] > 0 and not said[0]["missing"], said[0])
        self.assertEqual(said[-1]["records"], 2, said[-1])

    def test_what_was_changed_is_refused_by_both(self):
        dice, here = random.Random(13), STAGE.root / "bent"
        here.mkdir()
        flags = ["--since-checkpoint", str(STAGE.root / "saved.checkpoint")]
        goods = [export("all.jsonl", *flags).read_bytes(), export("denied.jsonl", "--kind", "decision", *flags).read_bytes()]
        goods = [cosigned(good) for good in goods]
        demands = [flag for witness in WITNESSES for flag in ("--witness", witness.key)]
        for number, good in enumerate(goods):
            path = here / f"good-{number}.jsonl"
            path.write_bytes(good)
            self.assertTrue(by_rust([path], *demands)[0]["proven"] and by_python(good, WITNESSES) is None)
        bent = []
        for number in range(MUTATIONS):
            way, good = Bend.WAYS[number % len(Bend.WAYS)], goods[number % 2]
            raw = getattr(Bend(dice, good), way)()
            self.assertNotEqual(raw, good, way)
            path = here / f"{number:04}-{way}.jsonl"
            path.write_bytes(raw)
            self.assertIsNotNone(by_python(raw, WITNESSES), f"{path.name} was believed by the Python")
            bent.append(path)
        for begin in range(0, len(bent), 250):
            for path, said in zip(bent[begin:begin + 250], by_rust(bent[begin:begin + 250], *demands)):
                self.assertFalse(said["proven"], f"{path.name} was believed by vidimus")
                self.assertTrue(said["findings"][0]["what"] and said["findings"][0]["line"] > 0)

    def test_the_python_reads_the_ledger_and_finds_what_was_changed_in_it(self):
        copy = STAGE.root / "copy"
        size = lambda: int((STAGE.data / "ledger/checkpoint").read_text().split("\n")[1])
        STAGE.until(lambda: size() == len(STAGE.records("--kind", "all")))
        shutil.copytree(STAGE.data / "ledger", copy)
        _, signed, behind, _ = LEDGER_VERIFIER.ledger(str(copy), LEDGER_VERIFIER.Key(key()))
        self.assertEqual((signed, behind), (size(), 0))
        dice, segment = random.Random(7), next((copy / "segments").iterdir())
        good, refused = segment.read_bytes(), 0
        for _ in range(60):
            at = dice.randrange(72, len(good))
            segment.write_bytes(good[:at] + bytes([good[at] ^ 1 << dice.randrange(8)]) + good[at + 1:])
            try:
                LEDGER_VERIFIER.ledger(str(copy))
            except ValueError:
                refused += 1
        # Of a frame's checksum, what was not on disk, and a seal's tag and times it says nothing: they are not what is signed.
        self.assertGreater(refused, 45)
        segment.write_bytes(good)
        newest = (copy / "checkpoint").read_text()
        (copy / "cosigned").write_text(newest + WITNESSES[0].line(newest))
        for name in ("checkpoint", "checkpoints", "cosigned", "keys/checkpoint.vkey"):
            raw = (copy / name).read_bytes()
            (copy / name).write_bytes(raw[:10] + b"A" + raw[11:])
            with self.assertRaises(ValueError, msg=name):
                LEDGER_VERIFIER.ledger(str(copy))
            (copy / name).write_bytes(raw)
        LEDGER_VERIFIER.ledger(str(copy))

    def test_a_log_that_was_put_back_is_told_by_what_witnesses_cosigned_of_it_by_both(self):
        page = (ROOT / "docs/ledger-format.md").read_text()
        block = lambda kind: page.split(f"```text {kind}\n")[1].split("```")[0]
        old, newest = (note + "\n" for note in re.findall(r"(example\.com/log\n.*?\n\n.*?)\n\n", block("checkpoints"), re.S))
        with tempfile.TemporaryDirectory() as data:
            ledger = pathlib.Path(data) / "ledger"
            for name, raw in (
                ("segments/00000000000000000000.log", segment_of_the_page()[:72]), ("keys/checkpoint.vkey", block("key").encode()),
                ("checkpoint", old.encode()), ("checkpoints", f"{old}\n".encode()),
            ):
                (ledger / name).parent.mkdir(parents=True, exist_ok=True)
                (ledger / name).write_bytes(raw)
            def said():
                by_us = STAGE.vidimus("audit", "verify", "--data", data, "--forget", check=False)
                by_it = [sys.executable, str(ROOT / "docs/verify-ledger.py"), str(ledger)]
                return by_us.returncode, subprocess.run(by_it, capture_output=True, text=True).returncode
            self.assertEqual(said(), (0, 0))
            (ledger / "cosigned").write_text(old + WITNESSES[0].line(old))
            self.assertEqual(said(), (0, 0))
            (ledger / "cosigned").write_text(newest + WITNESSES[0].line(newest))
            self.assertEqual(said(), (1, 1))
            (ledger / "cosigned").write_text("no checkpoint\n")
            self.assertEqual(said(), (1, 1))

    def test_witnesses_who_cannot_be_are_told_before_anything_is_verified_by_both(self):
        path = STAGE.root / "cosigned.jsonl"
        odd = Witness("witness.example/\u00ad\u202e")
        raw = export("to-cosign.jsonl").read_bytes().decode().splitlines()
        head = json.loads(raw[0])
        head["evidence"]["checkpoint"] += odd.line(head["evidence"]["checkpoint"])
        path.write_bytes(resealed([VERIFIER.dumped(head), *raw[1:]]))
        for demand, status, says in (
            (["--witness", odd.key], 0, "proven"),
            (["--witness", odd.key, "--quorum", "1"], 0, "proven"),
            (["--witness", odd.key, "--witness", odd.key, "--quorum", "2"], 2, "--quorum 2"),
            (["--witness", odd.key, "--quorum", "0"], 2, "--quorum 0"),
            (["--witness", key()], 2, "key"),
            (["--key", "a+b+c"], 2, "--key"),
        ):
            by_us = STAGE.vidimus("audit", "verify", str(path), *demand, check=False)
            by_it = [sys.executable, str(ROOT / "docs/verify-evidence.py"), str(path), *demand]
            by_it = subprocess.run(by_it, capture_output=True, text=True)
            for by in (by_us, by_it):
                self.assertEqual(by.returncode, status, (demand, by))
                self.assertIn(says, by.stdout + by.stderr)
                self.assertNotIn("\u202e", by.stdout + by.stderr)

    def test_what_a_crash_leaves_behind_the_last_seal_is_no_damage(self):
        raw = segment_of_the_page()
        self.assertEqual(ledger_of_the_page({0: raw}, signed=True), (3, 0))
        # Cut anywhere, or with zeros where it was not on disk.
        for cut in range(72, len(raw)):
            for rest in (b"", bytes(len(raw) - cut)):
                said = ledger_of_the_page({0: raw[:cut] + rest}, signed=False)
                self.assertIsInstance(said, tuple, (cut, rest, said))
        # What a segment gets its name with is not among it, nor is what was signed for.
        for cut in (0, 23, 24, 71):
            self.assertIsInstance(ledger_of_the_page({0: raw[:cut]}, signed=False), str, cut)
        for cut in range(72, len(raw)):
            self.assertIsInstance(ledger_of_the_page({0: raw[:cut]}, signed=True), str, cut)

    def test_a_segment_without_seals_behind_one_that_has_is_no_part_of_the_log(self):
        older = b"VIDIMUS\x01" + struct.pack("<QI", 3, 0) + bytes(4) + struct.pack("<IIQI", 2, 0, 3, 0) + b"{}"
        self.assertIn("has no seals", ledger_of_the_page({0: segment_of_the_page(), 3: older}, signed=True))

    def test_a_configuration_that_is_said_to_be_missing_is_not_passed_over_in_silence(self):
        raw = export("left-out.jsonl").read_bytes().decode().split("\n")[:-1]
        at = next(at for at, line in enumerate(raw) if line.startswith('{"configuration"'))
        snapshot = json.loads(raw[at])["configuration"]["snapshot"]
        kept = [json.loads(line)["configuration"] for line in raw if line.startswith('{"configuration"')]
        kept = {name for one in kept if one["snapshot"] != snapshot for name in one["lists"]}
        lists = {one["sha256"]: one["objects"] for one in (json.loads(line)["list"] for line in raw if line.startswith('{"list"'))}
        texts = {text[:64] for name in kept for text in lists[name]}
        begin, lines = next(n for n, line in enumerate(raw) if line.startswith('{"object"')), []
        lines += raw[:begin]
        for number, line in enumerate(raw[begin:-1], begin):
            of = {} if line.startswith('{"apiVersion"') else json.loads(line)
            if "object" in of and of["object"]["sha256"] in texts:
                lines += raw[number:number + 2]
            elif "list" in of and of["list"]["sha256"] in kept or "configuration" in of and number != at:
                lines.append(line)
            elif number == at:
                lines.append(VERIFIER.dumped({"configuration": {"missing": "it is not kept any more", "snapshot": snapshot}}))
        path = STAGE.root / "left-out-since.jsonl"
        path.write_bytes(resealed([*lines, raw[-1]]))
        by_us = STAGE.vidimus("audit", "verify", "--key", key(), str(path), check=False)
        self.assertEqual((by_us.returncode, "but for 1 configuration" in by_us.stdout), (3, True), by_us)
        by_it = subprocess.run([sys.executable, str(ROOT / "docs/verify-evidence.py"), str(path), "--key", key()], capture_output=True, text=True)
        self.assertEqual((by_it.returncode, "but for 1 configuration" in by_it.stdout), (3, True), by_it)

    def test_the_example_of_the_page_is_believed(self):
        page = (ROOT / "docs/ledger-format.md").read_text()
        block = lambda kind: page.split(f"```text {kind}\n")[1].split("```")[0]
        it = VERIFIER.Evidence(io.BytesIO(block("evidence").encode()), VERIFIER.Key(block("key")))
        self.assertEqual((it.records, it.newer[0], [size for size, _ in it.older]), (2, 3, [0]))

    def test_what_cannot_be_checked_is_said_in_one_line(self):
        """Without `cryptography`, without the other file, and of what is no ledger: what to do, and no traceback."""
        place = STAGE.root / "unchecked"
        (place / "none").mkdir(parents=True)
        (place / "none/cryptography.py").write_text("raise ImportError(\"No module named 'cryptography'\")\n")
        shutil.copy(ROOT / "docs/verify-ledger.py", place)
        ledger, evidence, alone = ROOT / "docs/verify-ledger.py", ROOT / "docs/verify-evidence.py", place / "verify-ledger.py"
        for script, of, environment, says in (
            (ledger, STAGE.data / "ledger", {"PYTHONPATH": str(place / "none")}, "pip install 'cryptography"),
            (evidence, place / "any", {"PYTHONPATH": str(place / "none")}, "pip install 'cryptography"),
            (alone, STAGE.data / "ledger", {}, "verify-evidence.py is missing"),
            (ledger, place, {}, f"{place} is no ledger"),
            (ledger, STAGE.data, {}, "give DATA/ledger"),
            (ledger, place / "nowhere", {}, "is no ledger"),
            (ledger, alone, {}, "is no ledger"),
        ):
            with self.subTest(script=script.name, of=of):
                ran = subprocess.run([sys.executable, str(script), str(of)], env=environment, capture_output=True, text=True)
                self.assertEqual((ran.returncode, ran.stdout), (2, ""), ran)
                self.assertIn(says, ran.stderr)
                self.assertEqual(len(ran.stderr.splitlines()), 1, ran.stderr)

    def test_the_verifier_is_as_small_as_promised(self):
        text = (ROOT / "docs/verify-evidence.py").read_text()
        self.assertLessEqual(len(text.splitlines()), 200)
        imported = re.findall(r"^import (.*)$", text, re.M) + re.findall(r"^(?:try: )?from (\S+) import", text, re.M)
        modules = {name.split(".")[0] for names in imported for name in names.split(", ")}
        self.assertEqual(modules - sys.stdlib_module_names, {"cryptography"})

    def test_the_walk_of_the_page(self):
        script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/audit.md").read_text(), re.M | re.S))
        place = STAGE.root / "walk"
        place.mkdir()
        (place / "data").symlink_to(STAGE.data)
        for name in ("saved.checkpoint", "checkpoint.vkey"):
            shutil.copy(STAGE.root / name, place)
        shutil.copy(ROOT / "docs/verify-evidence.py", place)
        (place / "bin").mkdir()
        (place / "bin/vidimus").symlink_to(BINARY)
        (place / "bin/python3").symlink_to(sys.executable)
        environment = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", "HOME": str(place)}
        ran = subprocess.run(["bash", "-e"], input=script, cwd=place, env=environment, capture_output=True, text=True, timeout=120)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        for says in ("Agent/finance/invoice-bot", "#grace@example.com", "finance/small-transfers", "context.numbers", "<= 10000",
                     "verdict        proven", "all of the log from the one to the other", "by A. Auditor", "\nproven\n",
                     "NOT PROVEN: line", "refused, as it should be", "SOC 2: 10 controls"):
            self.assertIn(says, ran.stdout)
        self.assertNotIn("the key is the file's own", ran.stdout)
        self.assertIn("records of the window are proven", (place / "soc2.html").read_text())
        # On a machine that has neither Vidimus nor the log.
        bare = STAGE.root / "bare"
        bare.mkdir()
        for name in ("everything.jsonl", "checkpoint.vkey", "verify-evidence.py"):
            shutil.copy(place / name, bare)
        command = [sys.executable, "-I", "verify-evidence.py", "everything.jsonl", "--key", key()]
        ran = subprocess.run(command, cwd=bare, env={"PATH": ""}, capture_output=True, text=True)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""), ran)


if __name__ == "__main__":
    unittest.main()
