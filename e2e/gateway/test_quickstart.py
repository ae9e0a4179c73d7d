"""The quickstart of README.md, as it is pasted: twice on one data directory, and once more after it was removed."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from stage import BINARY, free_port

ROOT = Path(__file__).resolve().parents[2]


def commands() -> str:
    """Every command of the quickstart, in order; what builds the binary is left to the test."""
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## A first policy in five minutes", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^   ```sh\n(.*?)^   ```$", section, re.M | re.S)
    assert len(blocks) >= 5, blocks
    lines = [line[3:] for block in blocks for line in block.splitlines()]
    build = "cargo build --release -p vidimus && export PATH=$PWD/target/release:$PATH"
    assert build in lines, lines
    return "\n".join(line for line in lines if line != build)


class Quickstart(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="vidimus-quickstart-"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        (self.root / "bin").mkdir()
        (self.root / "bin/vidimus").symlink_to(BINARY)
        (self.root / "e2e").symlink_to(ROOT / "e2e")
        shutil.copytree(ROOT / "examples/quickstart", self.root / "examples/quickstart")
        # The ports of the page may be taken here.
        self.script, ports = commands(), {port: str(free_port()) for port in ("8080", "9901", "9000")}
        for written, free in ports.items():
            self.assertIn(f":{written}" if written != "9000" else "--port 9000", self.script)
            self.script = re.sub(rf"(:|--port ){written}\b", rf"\g<1>{free}", self.script)
        for path in (self.root / "examples/quickstart").rglob("*.yaml"):
            path.write_text(path.read_text().replace(":9000", f":{ports['9000']}"))
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("VIDIMUS_")} | {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(self.root / "state"),
            "VIDIMUS_LISTEN": f"127.0.0.1:{ports['8080']}",
            "VIDIMUS_ADMIN": f"127.0.0.1:{ports['9901']}",
        }

    def paste(self) -> tuple[str, str]:
        """What it prints, and what it says besides."""
        ran = subprocess.Popen(
            ["bash"], cwd=self.root, env=self.environment, start_new_session=True, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        try:
            out, err = ran.communicate(self.script, timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(ran.pid, signal.SIGKILL)
            out, err = ran.communicate()
            self.fail(f"it does not end:\n{out}\n{err}")
        return out, err

    def assert_ran(self, out: str, err: str):
        for said in ("3 objects in order", "outcome", "ready", "INV-1", "get_invoice", "urn:vidimus:local", "effect"):
            self.assertIn(said, out, err)
        self.assertNotIn("command not found", err)
        self.assertNotIn("error:", err, out)
        self.assertRegex(err, r"vidimus::access.*outcome=\"allowed\"", "the log has a line for the call")

    def test_it_runs_as_pasted_twice_and_once_more_from_nothing(self):
        for attempt in range(2):
            with self.subTest(attempt=attempt):
                out, err = self.paste()
                self.assert_ran(out, err)
                self.assertRegex(out, r"verdict +intact")
        shutil.rmtree(self.root / "vidimus-data")
        out, err = self.paste()
        self.assert_ran(out, err)
        self.assertNotIn("NOT INTACT", out)
        self.assertRegex(out, r"verdict +whole, but not the log that was verified here before")
        self.assertIn("--accept-new-log", out)


if __name__ == "__main__":
    unittest.main()
