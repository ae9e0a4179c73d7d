"""Disks, clocks and processes that fail under the real binary: the gate closes or the next start goes on, nothing that was acknowledged is
lost, and `audit fsck` says what it found.

Power losses are not among these: `crates/ledger/tests/it/crash` replays thousands of them (`make crash`), with the pages that were not synced.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from stage import BINARY, Stage, free_port

STRACE, FAKETIME = os.environ["VIDIMUS_STRACE"], os.environ["VIDIMUS_FAKETIME"]
FIRST = "segments/00000000000000000000.log"
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_invoice", "arguments": {"id": "7"}, "_meta": META}}
HEADERS = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "get_invoice")]
# A process is killed before each of these that it makes: what changes a file or a name, or waits for the disk. strace counts each call by itself,
# in each thread; `?` is for those that a machine does not have.
# Every so many steps of a kind one is tried; with 1 (`make kills`) each.
EVERY = int(os.environ.get("VIDIMUS_FAULTS_EVERY", "4"))
STEPS = ("?mkdir", "?mkdirat", "?rename", "?renameat", "renameat2", "?link", "linkat", "?unlink", "unlinkat", "ftruncate", "fsync", "fdatasync", "syncfs")


def traced(into, *inject, path=None, calls=None):
    """strace as the tracer of what is started, whose process id stays that of the command."""
    named = ["-P", str(path)] if path else []
    calls = calls or ",".join(one.split(":")[0] for one in inject)
    faults = [word for one in inject for word in ("-e", f"inject={one}")]
    return [STRACE, "-D", "-f", "-qq", "-o", str(into), *named, "-e", f"trace={calls}", *faults]


class Faulty(unittest.TestCase):
    def setUp(self):
        self.stage = Stage("ledger")
        self.addCleanup(self.stage.close)
        self.ledger = self.stage.data / "ledger"
        self.allowed = 0

    def serve(self, *under, **environment):
        self.stage.under, self.stage.environment = under, environment
        self.stage.serve()

    def stop(self, how=signal.SIGTERM):
        self.stage.gateway.send_signal(how)
        self.stage.gateway.wait(30)

    def call(self, env=None):
        """The code of one call, None where it passed."""
        token = subprocess.run([BINARY, "identity", "token", "--data", self.stage.data, "--subject", "invoice-bot"], check=True,
                               capture_output=True, text=True, env={**os.environ, **(env or {})}).stdout.strip()
        _, headers, _ = self.stage.post("/mcp/finance/ledger", CALL, token, HEADERS, raw=True)
        code = headers.get("Vidimus-Code")
        self.allowed += code is None
        return code

    def ready(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.stage.admin}/readyz").status == 200
        except urllib.error.HTTPError as error:
            self.assertEqual(error.code, 503)
            return False

    def fsck(self, status, *under):
        done = subprocess.run([*under, BINARY, "audit", "fsck", "--data", str(self.stage.data), "-o", "json"], capture_output=True, text=True)
        self.assertEqual(done.returncode, status, f"{done.stdout}{done.stderr}")
        return json.loads(done.stdout or "{}").get("faults", []) if status < 2 else done.stderr

    def seen(self):
        """How many calls the upstream saw."""
        return len([one for one in self.stage.seen("ledger") if '"tools/call"' in one["body"]])

    def passed(self):
        """How many calls are on record as allowed."""
        return len([one for one in self.stage.records("--kind", "decision") if one["outcome"] == "allow"])

    def refused(self):
        """What a start says that is refused."""
        with self.assertRaises(RuntimeError) as refused:
            self.serve()
        self.assertEqual(self.stage.gateway.wait(30), 2)
        return str(refused.exception)

    def goes_on(self):
        """A start after the fault: all that passed is on record, and more passes."""
        self.serve()
        self.assertIsNone(self.call())
        self.stop()
        self.assertGreaterEqual(self.passed(), self.allowed, "nothing that was acknowledged is lost")
        self.assertEqual([one for one in self.fsck(0) if one["means"] == "mended"], [])
        self.assertEqual(self.stage.vidimus("audit", "verify", "--forget", "--data", str(self.stage.data), check=False).returncode, 0)


class Disks(Faulty):
    def setUp(self):
        super().setUp()
        self.serve()
        self.assertIsNone(self.call())
        self.stop()

    def test_a_record_that_cannot_be_written_or_synced_closes_the_gate_before_the_upstream_sees_the_call(self):
        self.stage.flags = ("--durability", "sync")
        # A thread is counted by itself: that which syncs has begun when it fails, and so has the one that starts the gateway.
        # What is written first is the start, and that a checkpoint was issued of it.
        for fault in ("write:error=ENOSPC:when=3+", "write:error=EIO:when=3+", "write:error=EDQUOT:when=3+", "fdatasync:error=EIO:when=3+", "fdatasync:error=ENOSPC:when=3+"):
            with self.subTest(fault):
                self.serve(*traced(self.stage.root / "trace", fault, path=self.ledger / FIRST))
                self.stage.until(lambda: self.call() == "ledger_closed")
                self.assertFalse(self.ready())
                seen = self.seen()
                self.assertEqual(self.call(), "ledger_closed", "it stays closed")
                self.assertEqual(self.seen(), seen)
                self.assertIn("INJECTED", (self.stage.root / "trace").read_text())
                self.stop()
                self.fsck(0)
                self.goes_on()
                self.assertGreaterEqual(self.passed(), self.seen(), "nothing passes that is not on record")

    def test_a_checkpoint_that_cannot_be_kept_closes_the_gate(self):
        for fault, path in (
            ("write:error=ENOSPC", "checkpoint.tmp"), ("fdatasync:error=EIO", "checkpoint.tmp"), ("rename:error=EIO", "checkpoint.tmp"),
            ("write:error=ENOSPC", "checkpoints"), ("fdatasync:error=EIO", "checkpoints"),
        ):
            # The first checkpoint may be that of the start alone.
            fault += ":when=2+"
            with self.subTest(fault, path=path):
                self.serve(*traced(self.stage.root / "trace", fault, path=self.ledger / path))
                self.assertIsNone(self.call(), "no call waits for a checkpoint")
                self.stage.until(lambda: self.call() and not self.ready())
                self.assertEqual(self.call(), "ledger_closed")
                self.assertIn("INJECTED", (self.stage.root / "trace").read_text())
                self.stop()
                self.fsck(0)
                self.goes_on()

    def test_what_cannot_be_read_is_not_taken_for_what_is_not_there(self):
        under = traced(self.stage.root / "trace", "read:error=EIO", path=self.ledger / FIRST)
        self.assertIn(FIRST, self.fsck(2, *under))
        with self.assertRaises(RuntimeError) as refused:
            self.serve(*under)
        self.assertIn(FIRST, str(refused.exception))
        self.goes_on()

    def test_a_torn_tail_is_cut_off_behind_what_is_signed_and_is_damage_before_it(self):
        path = self.ledger / FIRST
        signed = path.stat().st_size
        whole = self.stage.root / "whole"
        shutil.copytree(self.stage.data, whole)
        for _ in range(10):
            self.serve()
            self.assertIsNone(self.call())
            self.stop(signal.SIGKILL)
            if (self.ledger / "checkpoint").read_bytes() == (whole / "ledger/checkpoint").read_bytes():
                break
            # The next checkpoint came before the kill, and is of all there is.
            shutil.rmtree(self.stage.data)
            shutil.copytree(whole, self.stage.data)
        torn = path.read_bytes()
        for cut in (1, 47, 48 + 30, 48 + 200):
            with self.subTest(cut):
                path.write_bytes(torn[:-cut])
                [fault] = [one for one in self.fsck(0) if one["file"].endswith(FIRST)]
                self.assertEqual(fault["means"], "mended", fault)
                self.assertGreaterEqual(fault["offset"], signed, fault)
                copy = self.stage.root / f"copy-{cut}"
                shutil.copytree(self.stage.data, copy)
                self.allowed = 1  # the call before: of the last one, this took what the disk had
                self.goes_on()
                shutil.rmtree(self.stage.data)
                copy.rename(self.stage.data)
        shutil.rmtree(self.stage.data)
        whole.rename(self.stage.data)
        path.write_bytes(path.read_bytes()[:signed // 2])
        worst, *_ = self.fsck(1)
        self.assertIn(worst["means"], ("lost", "altered"), worst)
        self.refused()

    def test_bit_rot_is_named_by_file_and_byte_and_nothing_is_written_behind_it(self):
        for name, at in ((FIRST, 200), ("checkpoint", 60), ("checkpoints", 60)):
            with self.subTest(name):
                path = self.ledger / name
                whole = path.read_bytes()
                path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
                found = [one for one in self.fsck(1) if one["file"].endswith(name)]
                self.assertEqual({one["means"] for one in found}, {"altered"}, found)
                self.assertTrue([one for one in found if one["offset"] is not None], found)
                self.assertTrue(found[0]["next"])
                if name != "checkpoints":  # of which a start reads the end
                    self.refused()
                path.write_bytes(whole)
        self.goes_on()


class Clocks(Faulty):
    def test_a_clock_that_goes_back_loses_nothing_and_is_told(self):
        moved = self.stage.root / "clock"
        moved.write_text("+0")
        faked = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(moved), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.serve(**faked)
        self.assertIsNone(self.call(faked))
        moved.write_text("-1h")
        self.assertIsNone(self.call(faked), "a credential of then is good then")
        self.assertTrue(self.ready())
        self.stop()
        [fault] = [one for one in self.fsck(0) if "clock" in one["what"]]
        self.assertEqual(fault["means"], "noted", fault)
        self.assertGreater(fault["record"], 0)
        self.goes_on()


class Processes(Faulty):
    def test_of_two_on_one_directory_the_second_does_not_start_and_the_first_goes_on(self):
        self.serve()
        self.assertIsNone(self.call())
        second = subprocess.run(
            [BINARY, "serve", "--resources", str(self.stage.resources), "--data", str(self.stage.data), "--secrets", str(self.stage.secrets),
             "--listen", f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{free_port()}"], capture_output=True, text=True, timeout=60)
        self.assertEqual(second.returncode, 2)
        self.assertIn("in use by another process", second.stderr)
        self.fsck(0)
        self.assertIsNone(self.call())
        self.stop()
        self.goes_on()

    def at_each_step(self, ends):
        """Runs what is killed before its first, second, … call of each kind, until it is not: `ends` says whether it was killed."""
        killed = 0
        for call in STEPS:
            for number in range(1, 200, EVERY):
                with self.subTest(call=call, number=number):
                    if not ends(traced(self.stage.root / "trace", f"{call}:signal=KILL:when={number}")):
                        break
                    killed += 1
        self.assertGreater(killed, 10 // EVERY, "it takes some steps")

    def test_a_first_start_that_is_killed_at_any_step_is_made_good_by_the_next(self):
        def ends(under):
            shutil.rmtree(self.stage.data, ignore_errors=True)
            self.allowed = 0
            try:
                self.serve(*under)
            except RuntimeError:
                self.assertEqual(self.stage.gateway.wait(30), -signal.SIGKILL)
            else:
                self.stop(signal.SIGKILL)
                return False
            if self.ledger.exists():
                self.fsck(0)
            self.goes_on()
            return True

        self.at_each_step(ends)

    def test_a_key_that_is_followed_by_a_process_that_is_killed_at_any_step_leaves_a_ledger_that_goes_on(self):
        self.serve()
        self.assertIsNone(self.call())
        self.stop()
        whole = self.stage.root / "whole"
        shutil.copytree(self.stage.data, whole)
        rotate = [BINARY, "audit", "rotate-key", "--data", str(self.stage.data), "--why", "yearly"]

        def ends(under):
            shutil.rmtree(self.stage.data)
            shutil.copytree(whole, self.stage.data)
            done = subprocess.run([*under, *rotate], capture_output=True, text=True)
            if done.returncode == 0:
                return False
            self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
            self.fsck(0)
            # Where it had followed already, both keys sign, and no third one follows unless that is ended.
            again = subprocess.run(rotate, capture_output=True, text=True)
            if again.returncode == 2 and "--end-overlap" in again.stderr:
                again = subprocess.run([*rotate, "--end-overlap"], capture_output=True, text=True)
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertEqual([one for one in self.fsck(0) if one["means"] == "mended"], [])
            return True

        self.at_each_step(ends)
        self.goes_on()


if __name__ == "__main__":
    unittest.main()
