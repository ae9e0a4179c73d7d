"""Rules and dashboards in deploy/: what promtool says of them, and that they name metrics and labels of docs/metrics.md alone."""

import json
import os
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMTOOL = os.environ["VIDIMUS_PROMTOOL"]
RULES = ROOT / "deploy/prometheus/rules.yaml"
BOARDS = sorted((ROOT / "deploy/grafana").glob("*.json"))
PAGE = (ROOT / "docs/metrics.md").read_text()
# Of a scrape, of a histogram, and of an alert.
OTHERS = {"instance", "le"}


def promtool(*words):
    return subprocess.run([PROMTOOL, *words], capture_output=True, text=True, cwd=ROOT / "e2e/prometheus")


def queries():
    for board in BOARDS:
        for panel in json.loads(board.read_text())["panels"]:
            for target in panel["targets"]:
                yield board.name, target["expr"], target["legendFormat"]


class Rules(unittest.TestCase):
    def test_promtool_takes_the_rules_and_each_alert_says_what_it_should(self):
        for words in (["check", "rules", str(RULES)], ["test", "rules", "rules_test.yaml"]):
            done = promtool(*words)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        alerts = re.findall(r"alert: (\w+)", RULES.read_text())
        tested = (ROOT / "e2e/prometheus/rules_test.yaml").read_text()
        self.assertTrue(alerts and all(f'alertname="{alert}"' in tested for alert in alerts), alerts)

    def test_each_query_of_a_dashboard_parses(self):
        self.assertEqual(len(BOARDS), 2)
        for board, query, _ in queries():
            plain = query.replace("$__rate_interval", "5m").replace("$instance", ".*")
            done = promtool("--experimental", "promql", "format", plain)
            self.assertEqual(done.returncode, 0, (board, query, done.stderr))
        self.assertNotEqual(promtool("--experimental", "promql", "format", "sum(").returncode, 0)

    def test_labels_are_of_the_list(self):
        known = OTHERS | set(re.findall(r"^\| `(\w+)` \| ", PAGE.split("## Labels")[1], re.M))
        texts = [RULES.read_text(), *(query + legend for _, query, legend in queries())]
        for text in texts:
            grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", text) for label in labels.split(",")}
            matched = set(re.findall(r'[{,](\w+)=~?"', text)) | set(re.findall(r"\$labels\.(\w+)", text)) | set(re.findall(r"\{\{(\w+)\}\}", text))
            self.assertLessEqual(grouped | matched, known, text)


if __name__ == "__main__":
    unittest.main()
