"""A log from the front of which records went, and one of which a key followed another, written here from docs/ledger-format.md: believed by `audit verify` and by the Python of docs/, and
refused by both where more is missing than was pruned, or nothing proves it."""

import base64
import hashlib
import importlib.util
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stage import BINARY

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME, RECORDS, SEGMENT = "example.com/pruned", 700, 100
MINIMUM = 400
TIME = "2026-11-27T12:00:00.000000Z"


class Signer:
    def __init__(self, seed):
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        raw = b"\x01" + self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = hashlib.sha256(NAME.encode() + b"\n" + raw).digest()[:4]
        self.public = f"{NAME}+{self.id.hex()}+{base64.b64encode(raw).decode()}"


KEY, NEXT = Signer(bytes(range(32))), Signer(bytes(range(1, 33)))


def load(name):
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERIFIER = load("verify-ledger")
b64 = lambda raw: base64.b64encode(raw).decode()
sha = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
dumped = lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def crc32c(data):
    sum = 0xFFFFFFFF
    for byte in data:
        sum ^= byte
        for _ in range(8):
            sum = sum >> 1 ^ (0x82F63B78 if sum & 1 else 0)
    return sum ^ 0xFFFFFFFF


def half(count):
    return 1 << (count - 1).bit_length() - 1


def root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha()
    at = half(len(leaves))
    return sha(b"\x01", root(leaves[:at]), root(leaves[at:]))


def inclusion(index, leaves):
    """RFC 6962, 2.1.1, lowest first."""
    if len(leaves) < 2:
        return []
    at = half(len(leaves))
    if index < at:
        return inclusion(index, leaves[:at]) + [root(leaves[at:])]
    return inclusion(index - at, leaves[at:]) + [root(leaves[:at])]


def note(leaves, size, keys=(KEY,)):
    text = f"{NAME}\n{size}\n{b64(root(leaves[:size]))}\n"
    lines = "".join(f"\u2014 {NAME} {b64(key.id + key.private.sign(text.encode()))}\n" for key in keys)
    return f"{text}\n{lines}"


def sealed(sequence, signed):
    seconds = 1795780800  # of TIME
    rest = struct.pack("<QQII16s", sequence, signed, seconds if sequence else 2**32 - 1, seconds if sequence else 0, bytes(16))
    return b"SEAL" + struct.pack("<I", crc32c(rest)) + rest


def segment(first, records):
    head = b"VIDIMUS\x02" + struct.pack("<QI", first, 0)
    empty = struct.pack("<QQII16s", first, 0, 2**32 - 1, 0, bytes(16))
    out = head + struct.pack("<I", crc32c(head)) + b"SEAL" + struct.pack("<I", crc32c(empty)) + empty
    for index, record in enumerate(records, first):
        length, place = struct.pack("<I", len(record)), struct.pack("<QI", index, 0)
        out += length + struct.pack("<I", crc32c(record + length + place)) + place + record
    return out + sealed(first + len(records), 0)


def refusals():
    refusal = lambda index: dumped({"code": "token_expired", "id": f"c-{index}", "kind": "refusal", "message": "m", "outcome": "deny",
                                    "path": "/", "time": TIME, "trace": "", "version": 1})
    return [refusal(index) for index in range(RECORDS)]


def leaf(record):
    return sha(b"\x00", record)


def act_of(what, why):
    return dumped({"act": what, "actor": "User/local#ada", "id": "p", "kind": "act", "time": TIME, "version": 1, "why": why})


def proof(act, leaves, keys=(KEY,)):
    hashes = "".join(b64(one) + "\n" for one in inclusion(RECORDS, leaves))
    return f"{act.decode()}\nc2sp.org/tlog-proof@v1\nindex {RECORDS}\n{hashes}\n{note(leaves, len(leaves), keys)}"


def files(to, records, public):
    """Segments, tiles and the key of a log; its leaves."""
    leaves = [leaf(record) for record in records]
    for name in ("keys", "segments", "tile/0"):
        (to / name).mkdir(parents=True)
    (to / "keys/checkpoint.vkey").write_text(f"{public}\n")
    for first in range(0, RECORDS, SEGMENT):
        last = first + SEGMENT if first + SEGMENT < RECORDS else len(records)
        (to / f"segments/{first:020}.log").write_bytes(segment(first, records[first:last]))
    for number in range(len(leaves) // 256):
        (to / f"tile/0/{number:03}").write_bytes(b"".join(leaves[256 * number:256 * number + 256]))
    return leaves


def written(to, act=None):
    """A log of RECORDS records and the act that pruned those before MINIMUM, which are still there."""
    records = refusals()
    went = root([leaf(record) for record in records[:MINIMUM]]).hex()
    prune = {"before": TIME, "from": 0, "minimum": MINIMUM, "root": went}
    act = act_of({"prune": {**prune, **(act or {})}}, "policy 4.2")
    leaves = files(to, records + [act], KEY.public)
    sizes = [0, 5, 256, 300, MINIMUM, 600, len(leaves)]
    (to / "checkpoints").write_text("".join(note(leaves, size) + "\n" for size in sizes))
    (to / "checkpoint").write_text(note(leaves, len(leaves)))
    (to / "pruned").write_text(proof(act, leaves))


def rotated(to, signed_by=(NEXT, KEY)):
    """A log whose key was followed; all but the last checkpoint are signed by the former one."""
    act = act_of({"rotateKey": {"from": KEY.public, "to": NEXT.public}}, "yearly")
    leaves = files(to, refusals() + [act], NEXT.public)
    sizes = [0, 5, 600, len(leaves)]
    (to / "checkpoints").write_text("".join(note(leaves, size) + "\n" for size in sizes))
    (to / "checkpoint").write_text(note(leaves, len(leaves), (NEXT, KEY)))
    (to / "keys/succession").mkdir()
    (to / f"keys/succession/{len(leaves):020}").write_text(proof(act, leaves, signed_by))


def pruned(to):
    """As `written`, without the segments that went."""
    written(to)
    remove(to, 0, 100, 200, 300)


def remove(to, *firsts):
    for first in firsts:
        (to / f"segments/{first:020}.log").unlink()


class Believed(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.log = pathlib.Path(self.place.name) / "log"

    def tearDown(self):
        self.place.cleanup()

    def said(self, log=None):
        """Whether the Python believes it, and whether `audit verify` does; both say the same."""
        log = log or self.log
        try:
            VERIFIER.ledger(str(log))
            by_python = True
        except ValueError as wrong:
            by_python, self.why = False, str(wrong)
        done = subprocess.run([BINARY, "audit", "verify", "--forget", "--ledger", str(log)], capture_output=True, text=True)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.out = done.stdout
        self.assertEqual(by_python, done.returncode == 0, f"{done.stdout}\n{getattr(self, 'why', '')}")
        return by_python


class Pruned(Believed):
    def setUp(self):
        super().setUp()
        written(self.log)

    def test_what_was_pruned_is_said_and_the_rest_is_proven(self):
        self.assertTrue(self.said(), "a process that was killed may leave segments that went")
        remove(self.log, 0, 100, 200, 300)
        self.assertTrue(self.said())
        self.assertIn("records 0 to 399 were pruned", self.out)
        key, signed, behind, tree = VERIFIER.ledger(str(self.log))
        self.assertEqual((signed, behind, tree.gone[0]), (RECORDS + 1, 0, MINIMUM))

    def test_a_report_says_what_it_did_not_look_at(self):
        remove(self.log, 0, 100, 200, 300)
        window = "--from", "2020-01-01", "--to", "2099-01-01"
        done = subprocess.run([BINARY, "audit", "evidence", "--ledger", str(self.log), "--framework", "soc2", *window],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 3, done.stderr)
        for told in (done.stdout, done.stderr):
            self.assertIn("records 0 to 399 were pruned", told)

    def test_a_call_that_is_exported_may_be_among_what_was_pruned(self):
        remove(self.log, 0, 100, 200, 300)
        for call, is_there in (("c-399", False), ("c-400", True)):
            out = pathlib.Path(self.place.name) / f"{call}.jsonl"
            done = subprocess.run([BINARY, "audit", "export", "--ledger", str(self.log), "--call", call, "--out", str(out)],
                                  capture_output=True, text=True)
            self.assertEqual((done.returncode, out.exists()), (0, True) if is_there else (2, False), done.stderr)
            self.assertEqual("records 0 to 399 were pruned" not in done.stderr, is_there, done.stderr)

    def test_what_is_missing_otherwise_is_missing(self):
        remove(self.log, 0, 100, 200, 300)
        bend = lambda name, old, new: lambda to: (to / name).write_bytes((to / name).read_bytes().replace(old, new, 1))
        flip = lambda name: lambda to: (to / name).write_bytes(b"\xff" + (to / name).read_bytes()[1:])
        for way, harm in {
            "more than went": lambda to: remove(to, 400),
            "no proof": lambda to: (to / "pruned").unlink(),
            "another minimum": bend("pruned", b'"minimum":400', b'"minimum":500'),
            "another person": bend("pruned", b"local#ada", b"local#eve"),
            "another index": bend("pruned", b"\nindex 700\n", b"\nindex 699\n"),
            "a hash of what went": flip("tile/0/000"),
            "a hash of the last that went": flip("tile/0/001"),
            "an old checkpoint": bend("checkpoints", b"\n300\n", b"\n301\n"),
        }.items():
            with self.subTest(way), tempfile.TemporaryDirectory() as place:
                bent = pathlib.Path(place) / "log"
                shutil.copytree(self.log, bent)
                harm(bent)
                self.assertFalse(self.said(bent))

    def test_tiles_of_another_past_are_found_below_those_that_the_root_is_of(self):
        """With 65,536 records the root is of a tile of level 1; that of fewer is of the tiles below it, which may be of another past."""
        size = 66_048
        true, other = ([leaf(b"%s %d" % (of, n)) for n in range(size)] for of in (b"true", b"other"))
        for level in (0, 1):
            (self.log / f"tile/{level}").mkdir(exist_ok=True)
        tile = lambda leaves, number: b"".join(leaves[256 * number:256 * number + 256])
        for number in range(size // 256):
            (self.log / f"tile/0/{number:03}").write_bytes(tile(true, number))
        roots = [root(true[256 * number:256 * number + 256]) for number in range(256)]
        (self.log / "tile/1/000").write_bytes(b"".join(roots))
        VERIFIER.Stored(str(self.log), size).fits()
        for number in range(7):
            (self.log / f"tile/0/{number:03}").write_bytes(tile(other, number))
        stored = VERIFIER.Stored(str(self.log), size)
        self.assertEqual(stored.root(), root(true), "it shows nothing")
        self.assertEqual(VERIFIER.Stored(str(self.log), 1_700).root(), root(other[:1_700]))
        with self.assertRaises(ValueError):
            stored.fits()

    def test_an_act_that_says_something_else_of_what_went_proves_nothing(self):
        for number, act in enumerate(({"root": "00" * 32}, {"minimum": 300}, {"minimum": 650}, {"minimum": 0})):
            with self.subTest(act), tempfile.TemporaryDirectory() as place:
                log = pathlib.Path(place) / "log"
                written(log, act)
                remove(log, 0, 100, 200, 300)
                self.assertFalse(self.said(log))
        # What another gateway did is no act of this log.
        act = self.log / "pruned"
        act.write_text(act.read_text().replace('"kind":"act"', '"kind":"act","shared":{}', 1))
        self.assertFalse(self.said())


class Rotated(Believed):
    def test_a_key_that_follows_is_believed_by_who_knows_either(self):
        rotated(self.log)
        self.assertTrue(self.said())
        key, signed, _, _ = VERIFIER.ledger(str(self.log), VERIFIER.Key(KEY.public))
        self.assertEqual((key.text, signed), (NEXT.public, RECORDS + 1))
        # As it is handed on.
        keys = VERIFIER.Key(f"{NEXT.public}\n{KEY.public} until {RECORDS + 1}")
        self.assertEqual(VERIFIER.checkpoint(note([sha()] * 5, 5), keys)[0], 5)
        with self.assertRaises(ValueError):
            VERIFIER.checkpoint(note([sha()] * (RECORDS + 2), RECORDS + 2), keys)

    def test_without_the_record_it_follows_nothing(self):
        rotated(self.log)
        (self.log / f"keys/succession/{RECORDS + 1:020}").unlink()
        self.assertFalse(self.said(), "nobody knows who signed the history")

    def test_both_keys_have_to_sign_for_it(self):
        for by in ((NEXT,), (KEY,)):
            with self.subTest(len(by)), tempfile.TemporaryDirectory() as place:
                log = pathlib.Path(place) / "log"
                rotated(log, by)
                self.assertFalse(self.said(log))


def zeroed(path, begin, end):
    raw = path.read_bytes()
    path.write_bytes(raw[:begin] + bytes(end - begin) + raw[end:])


def newest_entry(to):
    """Where in `checkpoints` the entry of the newest checkpoint begins and ends, and the first border of a sector in between."""
    end = (to / "checkpoints").stat().st_size
    begin = end - len((to / "checkpoint").read_bytes()) - 1
    return begin, end, min(end, begin // 512 * 512 + 512)


class Agreement(unittest.TestCase):
    """The exit status of `audit verify` and of docs/verify-ledger.py is the same, whatever is in a directory: 0 intact, 1 not, 2 not checked."""

    OF_A_LOG = {
        "as it is": (0, lambda to: None),
        "no checkpoint": (1, lambda to: (to / "checkpoint").unlink()),
        "no history": (1, lambda to: (to / "checkpoints").unlink()),
        "an empty history": (1, lambda to: (to / "checkpoints").write_bytes(b"")),
        "no key": (1, lambda to: (to / "keys/checkpoint.vkey").unlink()),
        "a key that ends with CRLF": (1, lambda to: (to / "keys/checkpoint.vkey").write_bytes(f"{KEY.public}\r\n".encode())),
        "a key that does not end": (1, lambda to: (to / "keys/checkpoint.vkey").write_text(KEY.public)),
        "a blank before the key": (1, lambda to: (to / "keys/checkpoint.vkey").write_text(f" {KEY.public}\n")),
        "two keys": (1, lambda to: (to / "keys/checkpoint.vkey").write_text(f"{KEY.public}\n{NEXT.public}\n")),
        "no segments": (2, lambda to: shutil.rmtree(to / "segments")),
        "a write of a segment that did not finish": (0, lambda to: (to / f"segments/{RECORDS:020}.log.tmp").write_bytes(b"half")),
        "a write of a checkpoint that did not finish": (0, lambda to: (to / "checkpoint.tmp").write_bytes(b"half")),
        "what is no segment": (0, lambda to: (to / "segments/notes.log").write_text("x")),
        "a segment's name without zeros": (1, lambda to: (to / f"segments/{RECORDS - SEGMENT:020}.log").rename(to / "segments/600.log")),
        "zeros behind the history": (0, lambda to: zeroed(to / "checkpoints", newest_entry(to)[1], newest_entry(to)[1] + 700)),
        "half of the newest entry": (0, lambda to: (to / "checkpoints").write_bytes((to / "checkpoints").read_bytes()[:-60])),
        "a sector of the newest entry lost": (0, lambda to: zeroed(to / "checkpoints", newest_entry(to)[0], newest_entry(to)[2])),
        "a byte of the newest entry zero": (1, lambda to: zeroed(to / "checkpoints", newest_entry(to)[0] + 3, newest_entry(to)[0] + 4)),
        "something behind the history": (1, lambda to: (to / "checkpoints").write_bytes((to / "checkpoints").read_bytes() + b"x")),
    }

    OF_WHAT_IS_LEFT = {
        "as it is": (0, lambda to: None),
        "no tile of what went": (1, lambda to: (to / "tile/0/000").unlink()),
        "no tile of the last that went": (1, lambda to: (to / "tile/0/001").unlink()),
        "no tiles": (1, lambda to: shutil.rmtree(to / "tile")),
        "half a tile": (1, lambda to: (to / "tile/0/000").write_bytes(bytes(4096))),
    }

    STEP = f"keys/succession/{RECORDS + 1:020}"
    OF_KEYS = {
        "as it is": (0, lambda to, step: None),
        "not finished": (1, lambda to, step: (to / step).rename(to / f"{step}.tmp")),
        "a copy that was not finished": (0, lambda to, step: shutil.copy(to / step, to / f"{step}.tmp")),
        "under another number": (1, lambda to, step: (to / step).rename(to / f"keys/succession/{RECORDS:020}")),
        "under no number": (1, lambda to, step: (to / step).rename(to / "keys/succession/first")),
        "beside another file": (0, lambda to, step: (to / "keys/succession/notes").write_text("x")),
    }

    def agree(self, make, cases, *more):
        for what, (status, harm) in cases.items():
            with self.subTest(what), tempfile.TemporaryDirectory() as place:
                log = pathlib.Path(place) / "log"
                make(log)
                harm(log, *more)
                ours = [BINARY, "audit", "verify", "--forget", "--ledger", str(log)], [sys.executable, str(ROOT / "docs/verify-ledger.py"), str(log)]
                ran = [subprocess.run(command, capture_output=True, text=True) for command in ours]
                self.assertEqual([one.returncode for one in ran], [status, status], ran)

    def test_of_a_log(self):
        self.agree(written, self.OF_A_LOG)

    def test_of_a_log_that_was_pruned(self):
        self.agree(pruned, self.OF_WHAT_IS_LEFT)

    def test_of_keys_that_followed(self):
        self.agree(rotated, self.OF_KEYS, self.STEP)


if __name__ == "__main__":
    unittest.main()
