"""Pages of a real Chromium, with the official MCP clients in them, from another origin than the gateway's."""

import json
import os
import pathlib
import subprocess
import unittest

from stage import Stage, free_port

LEDGER = "/mcp/finance/ledger"
SETUP = pathlib.Path(__file__).parents[1] / "chromium" / "setup.sh"


class Browsers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # One that is missing is installed, or fails the run.
        chromium = subprocess.run([SETUP], check=True, stdout=subprocess.PIPE, text=True).stdout
        os.environ["CHROMIUM"] = chromium.split()[-1]
        cls.port = free_port()
        cls.stage = Stage("ledger", flags=("--allow-origin", f"http://127.0.0.1:{cls.port}"))
        cls.stage.serve()
        cls.steps = cls.stage.client("browser", LEDGER, cls.stage.token("invoice-bot"), "--port", str(cls.port))

    @classmethod
    def tearDownClass(cls):
        cls.stage.close()

    def test_a_page_of_an_allowed_origin_uses_both_eras(self):
        for era, session in (("2025", True), ("2026", False)):
            step = self.steps[era]
            self.assertTrue(step["ok"], step)
            self.assertIn("get_invoice", step["result"]["tools"])
            self.assertNotIn("delete_invoice", step["result"]["tools"], "listings are filtered for a page as for others")
            self.assertEqual(step["result"]["session"], session)
            self.assertIn("INV-1", json.dumps(step["result"]["result"]))

    def test_it_reads_errors_the_challenge_and_the_metadata(self):
        refused = self.steps["refused"]["result"]
        self.assertEqual((refused["status"], refused["headers"]["vidimus-code"]), (401, "credential_missing"))
        self.assertIn("vidimus-call", refused["headers"])
        metadata = self.steps["metadata"]
        self.assertTrue(metadata["ok"], metadata)
        self.assertEqual(json.loads(metadata["result"]["body"])["resource"], self.stage.url + LEDGER)

    def test_a_page_of_another_origin_reads_nothing_and_its_call_goes_nowhere(self):
        self.assertFalse(self.steps["foreign"]["ok"], self.steps["foreign"])
        seen = self.stage.seen("ledger")
        self.assertLessEqual({row["method"] for row in seen}, {"POST", "GET", "DELETE"}, "no preflight goes on")
        self.assertFalse([row for row in seen if '"ping"' in row["body"]], "what is refused is a ping, and nothing else is")
        codes = {row["code"] for row in self.stage.records("--kind", "refusal")}
        self.assertIn("origin_refused", codes)


if __name__ == "__main__":
    unittest.main()
