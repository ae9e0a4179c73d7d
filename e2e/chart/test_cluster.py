"""The chart applied to, installed into, upgraded and rolled back in a real API server. There is no kubelet, so no pod runs."""

import copy
import shutil
import tempfile
import unittest
from pathlib import Path

import yaml

from cluster import CHART, TOOLS, Cluster, helm, rendered, values

NAMESPACE = "vidimus-system"
KINDS = ("agents", "mcpservers", "llmproviders", "serviceidentities", "policies")


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)
        # Whatever does not fit the strictest standard for pods is warned of, and refused where it is a pod.
        labels = {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("warn", "enforce")}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
        assert cls.cluster.apply(space)[0] == 201
        for name in ("finance", "platform"):
            assert cls.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})[0] == 201
        for path in (TOOLS / "crds").glob("*.yaml"):
            crd = yaml.safe_load(path.read_text())
            assert cls.cluster.apply(crd)[0] == 201, path
            name, version = crd["spec"]["names"]["plural"], crd["spec"]["versions"][0]["name"]
            cls.cluster.wait(f"{name} served", lambda: cls.cluster.ask("GET", f"/apis/{crd['spec']['group']}/{version}/{name}")[0] == 200)

    def helm(self, *words, check=True):
        return helm(*words, "-n", NAMESPACE, kubeconfig=self.cluster.kubeconfig, check=check)

    def test_1_everything_that_is_rendered_is_taken_by_a_server_side_apply(self):
        for name in ("minimal", "full", "directory"):
            for one in rendered(name):
                status, answer, warnings = self.cluster.apply(one, dry=True)
                with self.subTest(f"{name}: {one['kind']} {one['metadata']['name']}"):
                    self.assertIn(status, (200, 201), answer)
                    self.assertEqual(warnings, [])

    def test_2_its_pods_fit_the_strictest_standard(self):
        for name in ("minimal", "full", "directory"):
            objects = rendered(name)
            account = next(one for one in objects if one["kind"] == "ServiceAccount")
            self.assertIn(self.cluster.apply(account)[0], (200, 201))
            priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "gateway"}, "value": 1000}
            self.assertIn(self.cluster.apply(priority)[0], (200, 201))
            spec = copy.deepcopy(next(one for one in objects if one["kind"] == "StatefulSet")["spec"]["template"]["spec"])
            spec["volumes"].append({"name": "ledger", "persistentVolumeClaim": {"claimName": "ledger-vidimus-0"}})
            if "priorityClassName" in spec:
                spec["priorityClassName"] = "gateway"
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "vidimus-0", "namespace": NAMESPACE}, "spec": spec}
            status, answer, warnings = self.cluster.apply(pod, dry=True)
            self.assertEqual((status, warnings), (201, []), answer)
            # The test can fail: what it may not have is refused.
            pod["spec"]["containers"][0]["securityContext"]["privileged"] = True
            self.assertIn(self.cluster.apply(pod, dry=True)[0], (403, 422))
            self.cluster.ask("DELETE", self.cluster.path(account))

    def can(self, verb, group, resource, name="", namespace=NAMESPACE, subresource=""):
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:vidimus", "groups": ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"],
            "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "name": name, "namespace": namespace, "subresource": subresource}}}
        status, answer, _ = self.cluster.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        self.assertEqual(status, 201, answer)
        return answer["status"]["allowed"]

    def test_3_installed_upgraded_rolled_back_and_gone(self):
        with tempfile.TemporaryDirectory() as at:
            # The version before: one column fewer, another image.
            before = Path(at) / "vidimus"
            shutil.copytree(CHART, before)
            now_chart = Path(at) / "now" / "vidimus"
            shutil.copytree(CHART, now_chart)
            for chart in (before, now_chart):
                # The API server that is built here says version 0.0.0.
                text = (chart / "Chart.yaml").read_text()
                (chart / "Chart.yaml").write_text("".join(line for line in text.splitlines(True) if not line.startswith("kubeVersion:")))
            path = before / "files" / "crds" / "agents.vidimus.dev.yaml"
            crd = yaml.safe_load(path.read_text())
            columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
            crd["spec"]["versions"][0]["additionalPrinterColumns"] = columns[:-1]
            path.write_text(yaml.safe_dump(crd))
            self.helm("install", "vidimus", before, "--set", "image.tag=0.0.9")

            def now():
                agents = self.cluster.ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/agents.vidimus.dev")[1]
                workload = self.cluster.ask("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/vidimus")[1]
                image = workload["spec"]["template"]["spec"]["containers"][0]["image"] if "spec" in workload else None
                return len(agents["spec"]["versions"][0]["additionalPrinterColumns"]), image

            repository = "ghcr.io/vidimus/vidimus"
            self.assertEqual(now(), (len(columns) - 1, f"{repository}:0.0.9"))
            self.rights()
            self.held()
            agent = {"apiVersion": "vidimus.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "bot", "namespace": NAMESPACE}, "spec": {
                "owner": "ada.l@example.com", "team": "t", "purpose": "p", "riskLevel": "low",
                "identities": [{"oidc": {"issuer": "urn:vidimus:local", "subject": "bot"}}]}}
            self.cluster.wait("records taken", lambda: self.cluster.apply(agent)[0] in (200, 201))

            self.helm("upgrade", "vidimus", now_chart, "--set", "image.tag=0.1.0")
            self.assertEqual(now(), (len(columns), f"{repository}:0.1.0"), "an upgrade of the chart upgrades the CRDs")
            self.held()
            self.helm("upgrade", "vidimus", now_chart, *values("full"), "--set", "ledger.storageClass=")
            self.assertEqual(now()[1].split("@")[0], repository)
            self.assertEqual([self.can("list", "vidimus.dev", "agents", namespace=name) for name in ("finance", "platform", "any")], [True, True, False])
            self.helm("rollback", "vidimus", "2")
            self.assertEqual(now(), (len(columns), f"{repository}:0.1.0"))
            services = self.cluster.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/services")[1]["items"]
            self.assertEqual({one["metadata"]["name"] for one in services}, {"vidimus", "vidimus-admin"}, "what a switch brought is gone with it")
            self.helm("rollback", "vidimus", "1")
            self.assertEqual(now(), (len(columns) - 1, f"{repository}:0.0.9"))
            self.assertEqual(self.cluster.ask("GET", self.cluster.path(agent))[0], 200, "no record went")
            # A claim's template cannot be changed, and that is said.
            ran = self.helm("upgrade", "vidimus", before, "--set", "ledger.size=30Gi,image.tag=0.0.9", check=False)
            self.assertIn("updates to statefulset spec for fields other than", ran.stderr)

            self.helm("uninstall", "vidimus")
            self.assertEqual(now(), (len(columns) - 1, None), "the CRDs stay")
            self.assertEqual(self.cluster.ask("GET", self.cluster.path(agent))[0], 200, "and every record")
            self.assertFalse(self.can("get", "vidimus.dev", "agents"))
            # And they are taken up by the next release.
            self.helm("install", "vidimus", now_chart)
            self.assertEqual(now()[0], len(columns))
            self.helm("uninstall", "vidimus")

    def held(self):
        """Somebody holds the Lease; an upgrade must not take it away."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/vidimus-statuses"
        status, lease, _ = self.cluster.ask("GET", path)
        self.assertEqual(status, 200)
        self.assertIn(lease["spec"].get("holderIdentity"), (None, "vidimus-0"))
        if not lease["spec"]:
            lease["spec"] = {"holderIdentity": "vidimus-0", "leaseDurationSeconds": 15}
            self.assertEqual(self.cluster.ask("PUT", path, lease)[0], 200)
        else:
            self.assertEqual(lease["spec"]["holderIdentity"], "vidimus-0")

    def rights(self):
        """All that it may do."""
        for kind in KINDS:
            for verb, may in [("get", True), ("list", True), ("watch", True), ("create", False), ("update", False), ("patch", False), ("delete", False)]:
                self.assertEqual(self.can(verb, "vidimus.dev", kind, namespace="any"), may, f"{verb} {kind}")
            for verb, may in [("patch", True), ("update", False), ("get", False)]:
                self.assertEqual(self.can(verb, "vidimus.dev", kind, namespace="any", subresource="status"), may, f"{verb} {kind}/status")
        lease = ("coordination.k8s.io", "leases")
        for verb, name, namespace, may in [
            ("get", "vidimus-statuses", NAMESPACE, True), ("update", "vidimus-statuses", NAMESPACE, True), ("create", "", NAMESPACE, False),
            ("delete", "vidimus-statuses", NAMESPACE, False), ("get", "other", NAMESPACE, False), ("update", "vidimus-statuses", "kube-system", False),
        ]:
            self.assertEqual(self.can(verb, *lease, name, namespace), may, f"{verb} lease {name} in {namespace}")
        for group, resource in [("", "secrets"), ("", "configmaps"), ("", "pods"), ("", "serviceaccounts"), ("", "namespaces"), ("apps", "statefulsets"),
                                ("rbac.authorization.k8s.io", "clusterroles"), ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
                                ("apiextensions.k8s.io", "customresourcedefinitions")]:
            for verb in ("get", "list", "watch", "create", "update", "patch", "delete"):
                self.assertFalse(self.can(verb, group, resource), f"{verb} {resource}")


if __name__ == "__main__":
    unittest.main()
