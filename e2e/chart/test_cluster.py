"""The chart applied to, installed into, upgraded and rolled back in a real API server. There is no kubelet, so no pod runs."""

import base64
import copy
import datetime
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster import CHART, TOOLS, Cluster, helm, rendered, values

NAMESPACE = "vidimus-system"
KINDS = ("agents", "mcpservers", "llmproviders", "serviceidentities", "policies")
# Whose rights are asked about: the installation's, those that a release of some namespaces follows, and another.
SPACES = (NAMESPACE, "finance", "platform", "any")
REPORTS = (("wgpolicyk8s.io", "policyreports"), ("openreports.io", "reports"))
# What gives rights.
GIVING = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Lease")


def yaml_documents(path):
    return [one for one in yaml.safe_load_all((CHART.parents[2] / path).read_text()) if one]


def installable(at):
    """A copy of the chart for the API server that is built here, which says that it is version 0.0.0."""
    shutil.copytree(CHART, at)
    text = (at / "Chart.yaml").read_text()
    (at / "Chart.yaml").write_text("".join(line for line in text.splitlines(True) if not line.startswith("kubeVersion:")))
    return at


def authority(days):
    """A CA that is over in so many days, as a `caBundle`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "admission")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - datetime.timedelta(days=9)).not_valid_after(now + datetime.timedelta(days=days)).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


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
        for name in ("minimal", "full", "directory", "separate"):
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

    def can(self, verb, group, resource, name="", namespace=NAMESPACE, subresource="", account="vidimus"):
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:{account}", "groups": ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"],
            "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "name": name, "namespace": namespace, "subresource": subresource}}}
        status, answer, _ = self.cluster.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        self.assertEqual(status, 201, answer)
        return answer["status"]["allowed"]

    def test_3_installed_upgraded_rolled_back_and_gone(self):
        with tempfile.TemporaryDirectory() as at:
            # The version before: one column fewer, another image.
            before, now_chart = installable(Path(at) / "vidimus"), installable(Path(at) / "now" / "vidimus")
            path = before / "files" / "crds" / "agents.vidimus.dev.yaml"
            crd = yaml.safe_load(path.read_text())
            columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
            crd["spec"]["versions"][0]["additionalPrinterColumns"] = columns[:-1]
            path.write_text(yaml.safe_dump(crd))
            notes = self.helm("install", "other", now_chart, "--dry-run", "--set", "admission.enabled=true")
            self.assertIn(f"--namespace {NAMESPACE} --service other-vidimus-admission:443 | kubectl apply", notes)
            self.assertIn("RBAC alone decides", self.helm("install", "other", now_chart, "--dry-run"))
            # Who calls from outside is of no namespace.
            outside = "service.type=LoadBalancer,networkPolicy.callers[1].ipBlock.cidr=203.0.113.0/24,networkPolicy.callers[0].namespaceSelector.matchLabels.a=b"
            for flags, is_told in [("service.type=LoadBalancer", True), (outside, False), ("service.type=ClusterIP", False)]:
                notes = self.helm("install", "other", now_chart, "--dry-run", "--set", flags)
                self.assertEqual("networkPolicy.callers names no address" in notes, is_told, flags)
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
            self.assertFalse(self.can("list", "vidimus.dev", "agents"))
            # And they are taken up by the next release.
            self.helm("install", "vidimus", now_chart)
            self.assertEqual(now()[0], len(columns))
            self.helm("uninstall", "vidimus")
            self.cluster.ask("DELETE", self.cluster.path(agent))

    def vidimus(self, *words):
        """Status, and the JSON that it prints."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.cluster.at)}
        ran = subprocess.run([os.environ["VIDIMUS_BIN"], *words, "-o", "json", "--kubeconfig", self.cluster.kubeconfig],
                             capture_output=True, text=True, env=env, timeout=120)
        return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr

    def found(self):
        """The codes that the doctor finds in the cluster, and whether it says what to do."""
        code, answer, said = self.vidimus("doctor", "--cluster")
        self.assertEqual(len(answer), 1, said)
        findings = answer[0]["findings"]
        self.assertTrue(all(one["what"] and one["why"] and one["fix"] for one in findings), findings)
        self.assertEqual(code, int(any(one["severity"] == "fault" for one in findings)), findings)
        return {one["code"] for one in findings}

    def test_4_installed_by_the_binary_and_what_is_wrong_then_is_found(self):
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "vidimus-vidimus-system"}}
        self.assertTrue({"cluster_workload_down", "cluster_lease_unheld", "cluster_rights_missing"} <= self.found(), "nothing is installed")
        for words, outcome in [(["--dry-run", "--server"], "would_apply"), (["--apply"], "applied"), (["--apply"], "applied")]:
            code, done, said = self.vidimus("install", *words)
            self.assertEqual((code, {one["outcome"] for one in done}), (0, {outcome}), (done, said))
            self.assertEqual(len(done), len(yaml_documents("deploy/install/minimal.yaml")))
        # There is no kubelet, so no pod runs, and nobody holds the Lease. The API server asks nobody.
        always = {"cluster_workload_down", "cluster_lease_unheld"}
        self.assertEqual(self.found(), always)
        # Nobody is asked, and without the default rule whoever may write one object of a namespace reaches all of them.
        rule = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": f"vidimus-{NAMESPACE}-reach"}}
        _, binding, _ = self.cluster.ask("GET", self.cluster.path(rule))
        self.cluster.ask("DELETE", self.cluster.path(rule))
        self.assertEqual(self.found(), always | {"cluster_registrars_open"})
        binding["metadata"] = {key: binding["metadata"][key] for key in ("name", "labels")}
        self.assertEqual(self.cluster.apply(binding)[0], 201)
        self.assertEqual(self.found(), always)

        path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/vidimus-statuses"
        _, lease, _ = self.cluster.ask("GET", path)
        # For longer than the test takes: nobody renews it.
        now = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease["spec"] = {"holderIdentity": "vidimus-0", "leaseDurationSeconds": 15, "renewTime": now}
        self.assertEqual(self.cluster.ask("PUT", path, lease)[0], 200)
        always = {"cluster_workload_down"}
        self.assertEqual(self.found(), always)

        agent = {"apiVersion": "vidimus.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "bot", "namespace": NAMESPACE}, "spec": {
            "owner": "ada.l@example.com", "team": "t", "purpose": "p", "riskLevel": "low",
            "identities": [{"oidc": {"issuer": "urn:vidimus:local", "subject": "bot"}}]}}
        self.cluster.wait("records taken", lambda: self.cluster.apply(agent)[0] in (200, 201))
        self.assertEqual(self.found(), always | {"cluster_record_unseen"})
        where = self.cluster.path(agent)
        for status, programmed, codes in [("False", None, {"cluster_record_refused"}), ("True", "PartlyRefused", {"cluster_record_partly"}),
                                          ("True", "Closed", {"cluster_record_partly"}), ("True", "WindowOver", {"cluster_policy_over"}), ("True", None, set())]:
            _, there, _ = self.cluster.ask("GET", where)
            said = {"observedGeneration": there["metadata"]["generation"], "lastTransitionTime": "2026-11-28T12:00:00Z", "message": "spec.owner: nobody"}
            there["status"] = {"conditions": [
                {"type": "Accepted", "status": status, "reason": "Malformed", **said},
                {"type": "Programmed", "status": "False" if programmed else "True", "reason": programmed or "Programmed", **said}]}
            code, answer, _ = self.cluster.ask("PUT", f"{where}/status", there)
            self.assertEqual(code, 200, answer)
            self.assertEqual(self.found(), always | codes)
        self.cluster.ask("DELETE", where)

        # Several replicas, each for itself; then as the chart has them.
        where = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/vidimus"
        _, workload, _ = self.cluster.ask("GET", where)
        before = copy.deepcopy(workload["spec"])
        workload["spec"]["replicas"] = 2
        container = workload["spec"]["template"]["spec"]["containers"][0]
        for args, env, codes in [
            ([], [], {"cluster_keys_unshared", "cluster_store_unshared"}),
            (["--shared-keys=/etc/vidimus/shared-keys"], [], {"cluster_store_unshared"}),
            ([], [{"name": "VIDIMUS_STANDING", "value": "redis://redis"}], set()),
        ]:
            container["args"] = container["args"] + args
            container["env"] = container["env"] + env
            status, answer, _ = self.cluster.ask("PUT", where, workload)
            self.assertEqual(status, 200, answer)
            workload["metadata"]["resourceVersion"] = answer["metadata"]["resourceVersion"]
            self.assertEqual(self.found(), always | codes)
        workload["spec"] = before
        self.assertEqual(self.cluster.ask("PUT", where, workload)[0], 200)

        _, binding, _ = self.cluster.ask("GET", self.cluster.path(role))
        self.cluster.ask("DELETE", self.cluster.path(role))
        self.assertEqual(self.found(), always | {"cluster_rights_missing"})
        wide = {**role, "metadata": {"name": "wide"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": binding["subjects"]}
        self.assertEqual(self.cluster.apply(wide)[0], 201)
        self.assertEqual(self.found(), always | {"cluster_rights_wide"})
        self.cluster.ask("DELETE", self.cluster.path(wide))

        definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/policies.vidimus.dev"
        _, crd, _ = self.cluster.ask("GET", definition)
        older = copy.deepcopy(crd)
        spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        del spec["properties"]["plan"]
        self.assertEqual(self.cluster.ask("PUT", definition, older)[0], 200)
        self.assertEqual(self.found(), always | {"cluster_crd_old", "cluster_rights_missing"})
        self.cluster.ask("DELETE", definition)
        self.cluster.wait("the definition gone", lambda: self.cluster.ask("GET", definition)[0] == 404)
        self.assertEqual(self.found(), always | {"cluster_crd_missing", "cluster_rights_missing"})
        # The API server asks somebody who is not there, and then by a CA that is over.
        for days, codes in [(1, {"cluster_webhook_deaf"}), (-1, {"cluster_webhook_deaf", "cluster_webhook_ca"})]:
            webhook = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "vidimus"}, "webhooks": [{
                "name": "records.admission.vidimus.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
                "clientConfig": {"service": {"namespace": NAMESPACE, "name": "vidimus-admission", "path": "/x"}, "caBundle": authority(days)},
                "rules": [{"apiGroups": ["nobody.example"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["nothings"]}]}]}
            self.assertIn(self.cluster.apply(webhook)[0], (200, 201))
            self.assertEqual(self.found(), always | codes | {"cluster_crd_missing", "cluster_rights_missing"})
        # And one command mends all of it.
        self.assertEqual(self.vidimus("install", "--apply")[0], 0)
        self.cluster.wait("the definition back", lambda: self.cluster.ask("GET", "/apis/vidimus.dev/v1alpha1/policies")[0] == 200)
        self.cluster.ask("DELETE", self.cluster.path(rule))
        self.assertIn("cluster_registrars_open", self.found(), "it is asked, and no policy says who may")
        policy = {"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "registrars", "namespace": NAMESPACE}, "spec": {
            "description": "Who registers.", "scope": "Cluster", "cedar": 'permit (principal, action == Action::"registerObject", resource);'}}
        self.cluster.wait("policies taken", lambda: self.cluster.apply(policy)[0] in (200, 201))
        self.assertNotIn("cluster_registrars_open", self.found())
        self.cluster.ask("DELETE", self.cluster.path(policy))
        self.cluster.ask("DELETE", self.cluster.path(webhook))
        self.assertEqual(self.vidimus("install", "--apply")[0], 0)
        self.assertNotIn("cluster_registrars_open", self.found())
        self.assertEqual(self.found(), always)
        # Whoever has Helm later takes it over.
        with tempfile.TemporaryDirectory() as at:
            chart = installable(Path(at) / "vidimus")
            self.assertIn("meta.helm.sh", self.helm("upgrade", "--install", "vidimus", chart, check=False).stderr)
            self.helm("upgrade", "--install", "--take-ownership", "vidimus", chart)
            self.helm("uninstall", "vidimus")

    def test_5_a_cluster_that_is_not_there_is_said(self):
        gone = self.cluster.at / "gone"
        gone.write_text(self.cluster.kubeconfig.read_text().replace(self.cluster.url, "https://127.0.0.1:1"))
        ran = subprocess.run([os.environ["VIDIMUS_BIN"], "doctor", "--cluster", "--kubeconfig", gone, "-o", "json"], capture_output=True, text=True, timeout=120)
        self.assertEqual((ran.returncode, [one["code"] for one in json.loads(ran.stdout)["findings"]]), (1, ["cluster_unreachable"]), ran.stderr)
        ran = subprocess.run([os.environ["VIDIMUS_BIN"], "install", "--apply", "--kubeconfig", gone], capture_output=True, text=True, timeout=120)
        self.assertEqual(ran.returncode, 2, ran.stdout)

    def test_6_the_api_server_is_told_by_the_secret_that_the_gateway_has_its_keys_from(self):
        with tempfile.TemporaryDirectory() as at:
            chart = installable(Path(at) / "vidimus")
            switches = "admission.enabled=true,admission.keysSecret=admission-keys,admission.webhook.enabled=true"
            words = ["install", "vidimus", chart, "--set", switches]
            self.assertIn("there is no Secret", self.helm(*words, check=False).stderr)
            subprocess.run([os.environ["VIDIMUS_BIN"], "admission", "ca", "--data", f"{at}/data"], capture_output=True, check=True)
            printed = subprocess.run([os.environ["VIDIMUS_BIN"], "admission", "manifests", "--data", f"{at}/data", "--namespace", NAMESPACE],
                                     capture_output=True, text=True, check=True).stdout
            files = {one.name: base64.b64encode(one.read_bytes()).decode() for one in (Path(at) / "data" / "admission").iterdir()}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "admission-keys", "namespace": NAMESPACE}, "data": files}
            self.assertEqual(self.cluster.apply(secret)[0], 201)
            self.helm(*words)
            path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/vidimus"
            found = self.cluster.ask("GET", path)[1]["webhooks"]
            wanted = yaml.safe_load(printed)["webhooks"]
            for key in ("name", "clientConfig", "failurePolicy", "rules"):
                self.assertEqual([one[key] for one in found], [one[key] for one in wanted], key)
            self.helm("uninstall", "vidimus")
            self.assertEqual(self.cluster.ask("GET", path)[0], 404, "nobody is asked who is not there any more")
            self.cluster.ask("DELETE", self.cluster.path(secret))

    def test_7_a_good_installation_has_no_fault_but_that_no_pod_runs_here(self):
        agent = {"apiVersion": "vidimus.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "bot", "namespace": NAMESPACE}, "spec": {
            "owner": "ada.l@example.com", "team": "t", "purpose": "p", "riskLevel": "low",
            "identities": [{"oidc": {"issuer": "urn:vidimus:local", "subject": "bot"}}]}}
        no_pod = {"cluster_workload_down", "cluster_lease_unheld"}
        for name, wanted in [
            # The Service that the API server asks has no pod, and nobody writes the CA.
            ("full", no_pod | {"cluster_webhook_deaf", "cluster_webhook_ca"}),
            ("separate", no_pod | {"cluster_registry_down"}),
            ("directory", {"cluster_workload_down"}),
        ]:
            with self.subTest(name):
                objects = rendered(name)
                crds = [one for one in objects if one["kind"] == "CustomResourceDefinition"]
                for one in crds:
                    self.assertIn(self.cluster.apply(one)[0], (200, 201))
                # Of a namespace that is not followed, where some are named: nobody says what became of it, and nobody is to.
                self.cluster.wait("records taken", lambda: self.cluster.apply(agent)[0] in (200, 201))
                others = [one for one in objects if one["kind"] != "CustomResourceDefinition"]
                for one in others:
                    self.assertIn(self.cluster.apply(one)[0], (200, 201), one)
                self.cluster.wait("rights", lambda: "cluster_rights_missing" not in self.found())
                self.assertEqual(self.found(), wanted)
                for one in reversed(others):
                    self.cluster.ask("DELETE", self.cluster.path(one))
                self.cluster.ask("DELETE", self.cluster.path(agent))

    def test_8_policies_that_look_up_what_nobody_writes_are_found(self):
        policy = yaml_documents("deploy/admission/validating-admission-policy.yaml")[0]
        there = next(one for one in yaml_documents("deploy/rbac/admission.yaml") if one["kind"] == "ConfigMap")
        codes = {"cluster_registrations_missing", "cluster_registrations_old", "cluster_registrations_undated"}
        self.assertEqual(self.found() & codes, set(), "nothing looks it up")
        self.assertEqual(self.cluster.apply(policy)[0], 201)
        self.assertEqual(self.found() & codes, {"cluster_registrations_missing"})
        now = datetime.datetime.now(datetime.timezone.utc)
        for written, code in [(None, {"cluster_registrations_undated"}), (now - datetime.timedelta(minutes=9), {"cluster_registrations_old"}), (now, set())]:
            there["metadata"]["annotations"] = {"vidimus.dev/written": written.strftime("%Y-%m-%dT%H:%M:%SZ")} if written else {}
            self.assertIn(self.cluster.apply(there)[0], (200, 201))
            self.assertEqual(self.found() & codes, code)
        for one in (policy, there):
            self.cluster.ask("DELETE", self.cluster.path(one))

    def test_9_each_account_of_the_switches_may_what_is_its_own_and_nothing_else(self):
        follows = {(verb, "vidimus.dev", kind, "", space) for verb in ("list", "watch") for kind in KINDS for space in ("finance", "platform")}
        says = {("patch", "vidimus.dev", f"{kind}/status", "", space) for kind in KINDS for space in ("finance", "platform")}
        looks = {(verb, "", "pods", "", space) for verb in ("list", "watch") for space in ("finance", "platform")}
        leads = {(verb, "coordination.k8s.io", "leases", "vidimus-statuses", NAMESPACE) for verb in ("get", "update")}
        # Of the whole cluster, and held to the namespaces of calls by a policy (e2e/kube, TestJobsRoles).
        runs = {(verb, "", "namespaces", "", "") for verb in ("create", "delete", "list")}
        runs |= {("bind", "rbac.authorization.k8s.io", "clusterroles", "vidimus-job", "")}
        runs |= {("create", "rbac.authorization.k8s.io", "rolebindings", "", space) for space in SPACES}
        reads = {("list", "vidimus.dev", kind, "", space) for kind in KINDS for space in SPACES}
        scans = reads | {("list", "", "pods", "", space) for space in SPACES}
        scans |= {(verb, *of, "", space) for verb in ("list", "create", "patch", "delete") for of in REPORTS for space in SPACES}
        writes = reads | {("update", "", "configmaps", "vidimus-admission", NAMESPACE)}
        again = {"vidimus-scan": scans, "vidimus-registrations": writes}
        for name, flags, accounts in [
            ("full", (), {"vidimus": follows | says | looks | leads, **again}),
            ("full", ("--set", "jobs.enabled=true"), {"vidimus": follows | says | looks | leads | runs, **again}),
            ("separate", (), {"vidimus": follows | says | looks | leads, "vidimus-gateway": set()}),
        ]:
            objects = [one for one in rendered(name, *flags) if one["kind"] in GIVING]
            for one in objects:
                self.assertIn(self.cluster.apply(one)[0], (200, 201), one)
            self.assertEqual({one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}, set(accounts))
            for account, may in accounts.items():
                with self.subTest(f"{name} {flags}: {account}"):
                    for what in may:
                        self.cluster.wait(what, lambda what=what: self.asked(account, *what))
                    found = {what for what in self.questions() if self.asked(account, *what)}
                    self.assertEqual(found, may)
            for one in reversed(objects):
                self.cluster.ask("DELETE", self.cluster.path(one))

    @staticmethod
    def questions():
        """Each verb on what an account of the chart has, or could be thought to have."""
        places = [("vidimus.dev", f"{kind}{of}", "", space) for kind in KINDS for of in ("", "/status") for space in SPACES]
        places += [("coordination.k8s.io", "leases", lease, space) for lease in ("", "vidimus-statuses", "other") for space in (NAMESPACE, "finance")]
        for group, resource in [("", "secrets"), ("", "configmaps"), ("", "pods"), ("", "pods/log"), ("", "pods/exec"), ("", "serviceaccounts"),
                                ("", "serviceaccounts/token"), ("", "services"), ("apps", "statefulsets"), ("batch", "jobs"),
                                ("networking.k8s.io", "networkpolicies"), ("rbac.authorization.k8s.io", "roles"),
                                ("rbac.authorization.k8s.io", "rolebindings")]:
            places += [(group, resource, "", space) for space in SPACES]
        places += [(*of, "", space) for of in REPORTS for space in SPACES]
        places += [("", "configmaps", "vidimus-admission", space) for space in SPACES]
        places += [("", "namespaces", "", ""), ("", "nodes", "", ""), ("", "users", "", ""), ("", "groups", "", ""),
                   ("rbac.authorization.k8s.io", "clusterroles", "", ""), ("rbac.authorization.k8s.io", "clusterroles", "vidimus-job", ""),
                   ("rbac.authorization.k8s.io", "clusterroles", "cluster-admin", ""), ("rbac.authorization.k8s.io", "clusterrolebindings", "", ""),
                   ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "", ""),
                   ("admissionregistration.k8s.io", "validatingadmissionpolicies", "", ""),
                   ("apiextensions.k8s.io", "customresourcedefinitions", "", ""), ("certificates.k8s.io", "certificatesigningrequests", "", "")]
        verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "bind", "escalate", "impersonate", "reach")
        return [(verb, *place) for verb in verbs for place in places]

    def asked(self, account, verb, group, resource, name, space):
        resource, _, subresource = resource.partition("/")
        return self.can(verb, group, resource, name, space, subresource, account)

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
            for verb, may in [("get", False), ("list", True), ("watch", True), ("create", False), ("update", False), ("patch", False), ("delete", False)]:
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
