"""What the chart renders, without a cluster."""

import os
import re
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path

import yaml

import manifests
from cluster import CHART, KUBE_VERSION, free_port, helm, rendered, values

DEPLOY = CHART.parents[1]
NAMES = ("minimal", "full", "directory")
BIN = os.environ["VIDIMUS_BIN"]


def of(objects, kind):
    return [one for one in objects if one["kind"] == kind]


def pod(objects):
    return of(objects, "StatefulSet")[0]["spec"]["template"]["spec"]


class Render(unittest.TestCase):
    def test_it_lints(self):
        for name in NAMES:
            helm("lint", "--strict", "--kube-version", KUBE_VERSION, CHART, *values(name))

    def test_what_is_not_known_or_would_not_work_is_refused_and_says_what_to_write(self):
        for flags, says in [
            ("replica=2", "replica"),
            ("mode=files", "mode"),
            ("user=0", "user"),
            ("ledger.size=lots", "size"),
            ("image.digest=sha256:abc", "digest"),
            ("gateway.publicUrl=gateway.example", "publicUrl"),
            ("serviceAccountTokens.issuer=http://issuer.example", "issuer"),
            ("sinks[0]=kafka://broker:9092", "sinks"),
            ("replicas=2", "standing.existingSecret"),
            ("mode=directory", "objects"),
            ("objects.a\\.yaml=x", "kubectl apply"),
            ("archive.place=s3://bucket/a", "ledger.keepRecords"),
            ("clickhouse.enabled=true", "clickhouse.url"),
            ("preStopSeconds=40", "terminationGracePeriodSeconds"),
            ("approvalWebhook.existingSecret=chat", "secrets"),
            ("admission.enabled=true,replicas=2,standing.existingSecret=a", "keysSecret"),
            ("replicas=2,standing.existingSecret=a", "sharedKeys.existingSecret"),
            ("replicas=2,standing.existingSecret=a,sharedKeys.existingSecret=b", "gateway.publicUrl"),
            ("extAuthz.enabled=true", "dataPlanes"),
            ("serviceAccount.create=false", "serviceAccount.name"),
            ("jobs.enabled=true,mode=directory,existingObjects=a", "mode: cluster"),
        ]:
            with self.subTest(flags):
                ran = helm("template", CHART, "--kube-version", KUBE_VERSION, "--set", flags, check=False)
                self.assertNotEqual(ran.returncode, 0, flags)
                self.assertIn(says, ran.stderr)

    def test_every_value_is_in_the_schema_and_every_switch_is_tried(self):
        text = (CHART / "values.yaml").read_text()
        known, tried = yaml.safe_load(text), yaml.safe_load((CHART / "ci" / "full-values.yaml").read_text())
        of_directory = {"mode", "objects", "existingObjects", "nameOverride", "fullnameOverride", "crds", "resources", "user", "podDisruptionBudget"}
        # Jobs take rights that nothing else does, and have a test of their own; so has a registry that is apart (test_separate).
        self.assertEqual(set(known) - set(tried), of_directory | {"jobs", "registry"})

    def test_nothing_has_more_rights_on_a_node_than_it_needs(self):
        for name in NAMES:
            objects = rendered(name)
            self.assertEqual([one["kind"] for one in objects if one["kind"] in ("Deployment", "DaemonSet", "Job", "Pod")], [])
            spec = pod(objects)
            for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
                self.assertNotIn(forbidden, spec)
            self.assertFalse([volume for volume in spec["volumes"] if "hostPath" in volume])
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertEqual(spec["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch")
            self.assertEqual(len(spec["containers"]), 1)
            self.assertNotIn("initContainers", spec)
            container = spec["containers"][0]
            self.assertEqual(container["securityContext"], {
                "allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})
            self.assertEqual({probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")},
                             {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"})
            self.assertIn("memory", container["resources"]["limits"])
            # The 10 s that running calls have (docs/admin.md, Stopping), after load balancers have noticed.
            self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], container["lifecycle"]["preStop"]["sleep"]["seconds"] + 20)
            self.assertEqual(len(spec["topologySpreadConstraints"]), 2)
            for volume in spec["volumes"]:
                if "secret" in volume or any("secret" in source for source in volume.get("projected", {}).get("sources", [])):
                    mode = volume.get("secret", volume.get("projected"))["defaultMode"]
                    self.assertEqual(mode, 0o440, "as the gateway takes a key that is mounted")

    def test_only_who_reads_the_cluster_has_a_token_and_rights(self):
        kinds = ["vidimus.dev"], ["agents", "mcpservers", "llmproviders", "serviceidentities", "policies"]
        for name in NAMES:
            objects = rendered(name)
            self.assertFalse(of(objects, "ServiceAccount")[0]["automountServiceAccountToken"])
            self.assertEqual(pod(objects)["automountServiceAccountToken"], name != "directory")
            rules = [rule for kind in ("ClusterRole", "Role") for role in of(objects, kind) for rule in role["rules"]]
            if name == "directory":
                self.assertEqual((rules, of(objects, "Lease"), of(objects, "ClusterRoleBinding"), of(objects, "RoleBinding")), ([], [], [], []))
                continue
            self.assertEqual(rules, [
                {"apiGroups": kinds[0], "resources": kinds[1], "verbs": ["get", "list", "watch"]},
                {"apiGroups": kinds[0], "resources": [f"{kind}/status" for kind in kinds[1]], "verbs": ["patch"]},
                # With `pods.enabled`, and in some namespaces alone.
                *([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}] if name == "full" else []),
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["vidimus-statuses"], "verbs": ["get", "update"]},
            ])
            self.assertEqual([lease["metadata"]["name"] for lease in of(objects, "Lease")], ["vidimus-statuses"])

    def test_jobs_take_the_roles_of_deploy_for_the_account_of_the_release(self):
        def plain(one):
            one["metadata"] = {"name": one["metadata"]["name"]}
            return one

        kinds = "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
        found = rendered("minimal", "--set", "jobs.enabled=true")
        found = [plain(one) for kind in kinds for one in of(found, kind) if one["metadata"]["name"].startswith("vidimus-job")]
        text = (DEPLOY / "rbac" / "jobs.yaml").read_text()
        account = next(one for one in found if one["kind"] == "ClusterRoleBinding")["subjects"][0]
        text = text.replace("name: vidimus-registry", f"name: {account['name']}").replace("namespace: vidimus-system", f"namespace: {account['namespace']}")
        text = text.replace("vidimus-system:vidimus-registry", f"{account['namespace']}:{account['name']}")
        wanted = list(yaml.safe_load_all(text))
        self.assertEqual(found, sorted(wanted, key=lambda one: kinds.index(one["kind"])))

    def test_minimal_is_registry_and_gateway(self):
        minimal = {one["kind"] for one in rendered("minimal")}
        self.assertEqual(minimal, {
            "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Lease", "NetworkPolicy", "PodDisruptionBudget", "Role", "RoleBinding",
            "Service", "ServiceAccount", "StatefulSet"})
        self.assertEqual(minimal - {one["kind"] for one in rendered("full")}, set())
        more = {one["kind"] for one in rendered("full")} - minimal
        self.assertEqual(more, {"ConfigMap", "PrometheusRule", "ServiceMonitor"})

    def test_nobody_reaches_the_admin_address_but_who_is_named(self):
        def who(name):
            policy = of(rendered(name), "NetworkPolicy")[0]["spec"]
            self.assertEqual(policy["policyTypes"], ["Ingress", "Egress"])
            return [rule["from"] for rule in policy["ingress"] if {"protocol": "TCP", "port": "admin"} in rule["ports"]]

        self.assertEqual(who("minimal"), [])
        names = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in who("full")[0]]
        self.assertEqual(names, ["ops", "monitoring"])

    def test_the_admission_address_is_reached_by_who_is_named(self):
        policy = of(rendered("full"), "NetworkPolicy")[0]["spec"]
        found = [rule.get("from") for rule in policy["ingress"] if {"protocol": "TCP", "port": "admission"} in rule["ports"]]
        self.assertEqual(found, [[{"ipBlock": {"cidr": "10.0.0.2/32"}}]])

    def test_crds_rules_and_dashboards_are_those_of_deploy(self):
        objects = rendered("full")
        crds = {one["metadata"]["name"]: one for one in of(objects, "CustomResourceDefinition")}
        written = {one["metadata"]["name"]: one for one in (yaml.safe_load(path.read_text()) for path in (DEPLOY / "crds").glob("*.yaml"))}
        self.assertEqual({name: crd["spec"] for name, crd in crds.items()}, {name: crd["spec"] for name, crd in written.items()})
        self.assertTrue(all(crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for crd in crds.values()))
        rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
        self.assertEqual(of(objects, "PrometheusRule")[0]["spec"], rules)
        dashboards = next(one["data"] for one in of(objects, "ConfigMap") if one["metadata"]["name"].endswith("-dashboards"))
        self.assertEqual(dashboards, {path.name: path.read_text() for path in (DEPLOY / "grafana").glob("*.json")})
        self.assertEqual(of(rendered("minimal", "--set", "crds.install=false"), "CustomResourceDefinition"), [])

    def test_what_is_rendered_twice_is_the_same(self):
        for name in NAMES:
            self.assertEqual(rendered(name), rendered(name), "no key and no time is made by the chart")

    def test_what_the_binary_installs_is_the_minimal_rendering(self):
        self.assertEqual(manifests.PLACE.read_text(), manifests.text(), "make manifests")
        said = subprocess.run([BIN, "install", "--dry-run"], capture_output=True, text=True, check=True).stdout
        self.assertEqual(said.strip(), manifests.text().strip())

    def test_each_flag_is_one_of_the_binary(self):
        known = set(re.findall(r"(--[a-z][a-z-]*)", subprocess.run([BIN, "serve", "--help"], capture_output=True, text=True, check=True).stdout))
        for name in NAMES:
            args = pod(rendered(name))["containers"][0]["args"]
            self.assertEqual(args[0], "serve")
            self.assertEqual({arg.split("=")[0] for arg in args[1:]} - known, set(), name)

    def test_where_the_webhook_has_its_keys_is_known_to_whoever_prints_them_in_the_pod(self):
        container = pod(rendered("full"))["containers"][0]
        (place,) = [one["value"] for one in container["env"] if one["name"] == "VIDIMUS_ADMISSION_KEYS"]
        self.assertIn(place, [mount["mountPath"] for mount in container["volumeMounts"]])
        self.assertNotIn("VIDIMUS_ADMISSION_KEYS", [one["name"] for one in pod(rendered("minimal"))["containers"][0]["env"]])
        # A Secret is mounted to be read alone.
        with tempfile.TemporaryDirectory() as at:
            command = [BIN, "admission", "ca", "--data", f"{at}/data"]
            made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            keys = f"{at}/data/admission"
            alone = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" "$0" && "$@"', keys]
            if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
                self.skipTest("nothing can be mounted here")
            read = subprocess.run([*alone, BIN, "admission", "ca", "--data", f"{at}/other", "--admission-keys", keys],
                                  capture_output=True, text=True, check=False)
            self.assertEqual((read.returncode, read.stdout), (0, made), read.stderr)

    def test_the_binary_serves_by_the_command_line_of_the_chart(self):
        objects = rendered("directory")
        files = next(one["data"] for one in of(objects, "ConfigMap"))
        with tempfile.TemporaryDirectory() as at:
            at = Path(at)
            (at / "objects").mkdir()
            for name, text in files.items():
                (at / "objects" / name).write_text(text)
            admin = free_port()
            swap = {"/etc/vidimus/objects": str(at / "objects"), "/var/lib/vidimus": str(at / "data"),
                    "0.0.0.0:9901": f"127.0.0.1:{admin}", "0.0.0.0:8443": f"127.0.0.1:{free_port()}"}
            args = pod(objects)["containers"][0]["args"]
            for before, after in swap.items():
                args = [arg.replace(before, after) for arg in args]
            args.append(f"--listen=127.0.0.1:{free_port()}")
            with open(at / "log", "w") as log:
                gateway = subprocess.Popen([BIN, *args], stderr=log)
            try:
                deadline = time.monotonic() + 60
                while True:
                    try:
                        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz") as answer:
                            self.assertEqual(answer.status, 200)
                            break
                    except OSError:
                        self.assertLess(time.monotonic(), deadline, (at / "log").read_text())
                        time.sleep(0.1)
                gateway.send_signal(signal.SIGTERM)
                self.assertEqual(gateway.wait(30), 0)
            finally:
                gateway.kill()
                gateway.wait()


if __name__ == "__main__":
    unittest.main()
