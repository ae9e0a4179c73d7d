"""What a gateway says at /metrics, by the parser that Prometheus scrapes with, and by promtool."""

import json
import os
import pathlib
import re
import subprocess
import unittest
import urllib.request

from load import Load
from stage import Stage

PROMTOOL, EXPOSITION = os.environ["VIDIMUS_PROMTOOL"], os.environ["VIDIMUS_EXPOSITION"]
PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/metrics.md").read_text()
# As Prometheus 3 asks.
ACCEPT = ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
          "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1")


class Exposition(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = Stage("ledger")
        cls.addClassCleanup(cls.stage.close)
        cls.stage.serve()
        load = Load(cls.stage)
        cls.addClassCleanup(load.end)
        load.more(5)
        load.end()

    def page(self, accept):
        request = urllib.request.Request(f"http://127.0.0.1:{self.stage.admin}/metrics", headers={"Accept": accept} if accept else {})
        with urllib.request.urlopen(request) as answer:
            return answer.headers["Content-Type"], answer.read()

    def read(self, accept):
        kind, text = self.page(accept)
        done = subprocess.run([EXPOSITION, kind], input=text, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return kind, json.loads(done.stdout)

    def test_prometheus_reads_all_of_both_formats(self):
        kind, metrics = self.read(ACCEPT)
        self.assertTrue(kind.startswith("application/openmetrics-text"), kind)
        self.assertTrue(metrics["exemplars"], "the trace of a call")
        kind, plain = self.read(None)
        self.assertTrue(kind.startswith("text/plain"), kind)
        self.assertEqual(plain["exemplars"], {})
        # A counter's family is named without `_total` in the one, and with it in the other.
        listed = dict(re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|", PAGE, re.M))
        self.assertEqual({name: kind for name, kind in plain["types"].items() if name in listed}, plain["types"])
        for name, kind in plain["types"].items():
            self.assertEqual((kind, metrics["types"][name.removesuffix("_total") if kind == "counter" else name]), (listed[name], kind), name)
        self.assertEqual(set(plain["series"]), set(metrics["series"]))
        self.assertEqual(plain["series"]["vidimus_ledger_open"], "1")

    def test_promtool_reads_what_curl_gets(self):
        _, text = self.page("*/*")
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True)
        # 3 is of names that it would have otherwise; what it cannot read is 1.
        self.assertIn(done.returncode, (0, 3), done.stderr.decode())
        self.assertNotIn("error while linting", done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
