"""The twenty pods of e2e/admission, before Kyverno's own command line with the policies of deploy/admission."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TABLE = HERE.parent / "admission"
POLICY = HERE.parent.parent / "deploy" / "admission" / "kyverno.yaml"
ACTIONS = {"warn": "Warn", "audit": "Audit", "enforce": "Deny"}


def policies() -> str:
    """As `vidimus admission manifests --form kyverno` prints them: one policy for each way of enforcement."""
    template = POLICY.read_text()
    def of(mode: str, action: str) -> str:
        failure = "Fail" if mode == "enforce" else "Ignore"
        lines = (line for line in template.splitlines(True) if mode != "enforce" or not line.rstrip().endswith("# no pod yet"))
        return "".join(lines).replace("MODE", mode).replace("ACTION", action).replace("FAILURE", failure)

    return "\n---\n".join(of(mode, action) for mode, action in ACTIONS.items())


def template(kind: str, pod: dict) -> dict:
    """What makes such pods."""
    spec = {"template": {"metadata": {"labels": {"app": "x"}}, "spec": pod["spec"]}, "selector": {"matchLabels": {"app": "x"}}}
    if kind == "CronJob":
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": spec["template"]}}}
    version = "batch/v1" if kind in ("Job", "CronJob") else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": pod["metadata"], "spec": spec}


class Kyverno(unittest.TestCase):
    def setUp(self) -> None:
        self.cases = json.loads((TABLE / "pods.json").read_text())
        self.assertEqual(len(self.cases), 20)
        self.registrations = (TABLE / "registrations.yaml").read_text()

    def apply(self, labels: dict[str, str], registrations: str, resources: list[dict] | None = None) -> list[dict]:
        """What is found of the pods (or of these resources) in a namespace of these labels."""
        resources = resources or [case["pod"] for case in self.cases]
        indented = "\n".join("      " + line for line in registrations.splitlines() if not line.startswith("#"))
        with tempfile.TemporaryDirectory() as directory:
            at = pathlib.Path(directory)
            (at / "policies.yaml").write_text(policies())
            (at / "pods.yaml").write_text("\n---\n".join(json.dumps(one) for one in resources))
            (at / "context.yaml").write_text(
                "apiVersion: cli.kyverno.io/v1alpha1\nkind: Context\nmetadata: {name: context}\nspec:\n  resources:\n    -\n" + indented
            )
            values = {
                "apiVersion": "cli.kyverno.io/v1alpha1", "kind": "Values", "metadata": {"name": "values"},
                "namespaceSelector": [{"name": "finance", "labels": labels}],
            }
            (at / "values.yaml").write_text(json.dumps(values))
            command = [
                os.environ["VIDIMUS_KYVERNO"], "apply", "policies.yaml", "--resource", "pods.yaml", "--context-file", "context.yaml",
                "--values-file", "values.yaml", "--policy-report", "--output-format", "json", "--remove-color",
            ]
            run = subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=120, check=False)
        self.assertIn(run.returncode, (0, 1), run.stderr)
        begins = run.stdout.find("{")
        return json.loads(run.stdout[begins:])["results"] if begins >= 0 else []

    def test_the_twenty_pods(self) -> None:
        found = self.apply({"vidimus.dev/admission": "enforce"}, self.registrations)
        said = {result["resources"][0]["name"]: result for result in found}
        self.assertEqual(len(found), 20, "each pod, by the one policy of its namespace")
        for case in self.cases:
            with self.subTest(case["about"]):
                result = said[case["pod"]["metadata"]["name"]]
                self.assertEqual(result["policy"], "vidimus-pods-enforce")
                self.assertEqual(result["result"], "fail" if case["refused"] else "pass", result["message"])
                code = result["message"].split(":")[0]
                self.assertEqual(code if case["refused"] else "", case["refused"])

    def test_a_namespace_is_held_to_what_its_label_says(self) -> None:
        for labels, policy in [({"vidimus.dev/admission": "warn"}, {"vidimus-pods-warn"}),
                               ({"vidimus.dev/admission": "audit"}, {"vidimus-pods-audit"}), ({"team": "x"}, set())]:
            with self.subTest(labels):
                found = self.apply(labels, self.registrations)
                self.assertEqual({result["policy"] for result in found}, policy)

    def test_what_makes_pods_is_told_of_and_never_refused(self) -> None:
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"):
            made = [template(kind, case["pod"]) for case in self.cases]
            with self.subTest(kind):
                found = self.apply({"vidimus.dev/admission": "warn"}, self.registrations, made)
                said = {result["resources"][0]["name"]: result for result in found}
                for case in self.cases:
                    result = said[case["pod"]["metadata"]["name"]]
                    self.assertEqual(result["result"] == "pass", not case["refused"], (case["about"], result))
                    self.assertEqual(result["message"].split(":")[0] if case["refused"] else "", case["refused"])
                self.assertEqual(self.apply({"vidimus.dev/admission": "enforce"}, self.registrations, made), [])

    def test_without_what_is_registered_nobody_is_let_in(self) -> None:
        other = self.registrations.replace("vidimus-admission", "something-else")
        found = self.apply({"vidimus.dev/admission": "enforce"}, other)
        passed = [result for result in found if result["result"] == "pass"]
        self.assertEqual(passed, [])


if __name__ == "__main__":
    unittest.main()
