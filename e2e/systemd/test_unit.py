"""The unit for a plain machine: well-formed, hardened, and no narrower than the binary needs."""

import configparser
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path

from stage import free_port

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
BIN, ANALYZE, STRACE = (os.environ[name] for name in ("VIDIMUS_BIN", "VIDIMUS_ANALYZE", "VIDIMUS_STRACE"))
AGENT = """apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a}
spec: {owner: ada.l@example.com, team: t, purpose: p, riskLevel: low, identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}]}
"""


def variables(text):
    """The variables of an environment file, also those that are commented out."""
    return dict(re.findall(r"^#?(VIDIMUS_\w+)=(.*)$", text, re.MULTILINE))


class Unit(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.at = Path(directory.name)
        # It is installed elsewhere here than where it says.
        self.unit = self.at / "vidimus.service"
        text = (UNITS / "vidimus.service").read_text()
        self.unit.write_text(text.replace("/usr/bin/vidimus", BIN).replace("User=vidimus", "User=daemon").replace("Group=vidimus", "Group=daemon"))
        self.service = configparser.RawConfigParser(strict=False, interpolation=None)
        self.service.optionxform = str
        self.service.read_string(text)

    def test_it_is_well_formed(self):
        ran = subprocess.run([ANALYZE, "verify", "--man=no", "--recursive-errors=no", self.unit], capture_output=True, text=True)
        said = [line for line in ran.stderr.splitlines() if "vidimus.service" in line]
        self.assertEqual((ran.returncode, said), (0, []), ran.stderr)
        # The test can fail.
        self.unit.write_text(self.unit.read_text().replace("PrivateTmp=yes", "PrivateTemp=yes"))
        ran = subprocess.run([ANALYZE, "verify", "--man=no", "--recursive-errors=no", self.unit], capture_output=True, text=True)
        self.assertIn("PrivateTemp", ran.stderr)

    def test_it_is_hardened(self):
        # 0 is nothing exposed, 100 all. What is left is the network, and files that it reads.
        ran = subprocess.run([ANALYZE, "security", "--offline=true", "--threshold=20", self.unit], capture_output=True, text=True)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)

    def test_a_stop_has_the_time_that_it_takes(self):
        # 10 s of running calls, 1 s to take the end, and the ledger (docs/admin.md, Stopping).
        self.assertGreaterEqual(int(self.service["Service"]["TimeoutStopSec"]), 30)

    def test_every_variable_is_one_of_the_binary(self):
        help_text = subprocess.run([BIN, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        known = set(re.findall(r"\[env: (VIDIMUS_\w+)", help_text))
        self.assertEqual(set(variables((UNITS / "vidimus.env").read_text())) - known, set())

    def test_the_binary_serves_by_the_file_and_asks_nothing_of_the_kernel_that_the_unit_refuses(self):
        given = dict(re.findall(r"^(VIDIMUS_\w+)=(.*)$", (UNITS / "vidimus.env").read_text(), re.MULTILINE))
        admin = free_port()
        given.update(VIDIMUS_DISK_RESERVE="0", VIDIMUS_RESOURCES=str(self.at / "resources"), VIDIMUS_DATA=str(self.at / "data"),
                     VIDIMUS_LISTEN=f"127.0.0.1:{free_port()}", VIDIMUS_ADMIN=f"127.0.0.1:{admin}", VIDIMUS_TLS_LISTEN=f"127.0.0.1:{free_port()}")
        (self.at / "resources").mkdir()
        (self.at / "resources" / "a.yaml").write_text(AGENT)
        trace = self.at / "trace"
        with open(self.at / "log", "w") as log:
            gateway = subprocess.Popen([STRACE, "-f", "-qq", "-o", trace, BIN, "serve"], stdout=log, stderr=log, env={"PATH": os.environ["PATH"], **given})
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz") as answer:
                        self.assertEqual(answer.status, 200)
                        break
                except OSError:
                    self.assertLess(time.monotonic(), deadline, (self.at / "log").read_text())
                    time.sleep(0.2)
            doctor = subprocess.run([BIN, "doctor"], capture_output=True, text=True, env={"PATH": os.environ["PATH"], **given})
            self.assertEqual(doctor.returncode, 0, doctor.stdout + doctor.stderr)
            os.kill(self.traced(trace), signal.SIGTERM)
            self.assertEqual(gateway.wait(60), 0, (self.at / "log").read_text()[-2000:])
        finally:
            if gateway.poll() is None:
                # What strace traces goes on without it.
                os.kill(self.traced(trace), signal.SIGKILL)
                gateway.wait(60)
        text = trace.read_text()
        used = set(re.findall(r"^\d+\s+(\w+)\(", text, re.MULTILINE)) - {"execve"}
        self.assertEqual(used - self.allowed(), set())
        families = set(re.findall(r"\bsocket\((AF_\w+)", text))
        self.assertEqual(families - set(self.service["Service"]["RestrictAddressFamilies"].split()), set())
        # MemoryDenyWriteExecute=
        self.assertEqual(re.findall(r".*PROT_WRITE\|PROT_EXEC.*|.*\bmprotect\(.*PROT_EXEC.*", text), [])

    @staticmethod
    def traced(trace):
        return int(trace.read_text().split()[0])

    def allowed(self):
        """The system calls that the unit lets pass."""
        groups = {}
        said = subprocess.run([ANALYZE, "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True).stdout
        for line in said.splitlines():
            if line.startswith("@"):
                group = groups.setdefault(line.strip(), [])
            elif line.startswith("    ") and not line.strip().startswith("#"):
                group.append(line.strip())

        def of(name):
            calls = set()
            for one in groups[name]:
                calls |= of(one) if one.startswith("@") else {one}
            return calls

        allowed = of("@default")
        text = (UNITS / "vidimus.service").read_text()
        for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE):
            for name in line.removeprefix("~").split():
                allowed = allowed - of(name) if line.startswith("~") else allowed | of(name)
        return allowed


if __name__ == "__main__":
    unittest.main()
