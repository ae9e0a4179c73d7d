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
AGAIN = ("vidimus-scan", "vidimus-registrations")
SCALED = "autoscaling.enabled=true,standing.existingSecret=a,sharedKeys.existingSecret=b,gateway.publicUrl=https://a.example"
ASKED = "admission.enabled=true,admission.keysSecret=a,admission.webhook.enabled=true"
XDS = ("extAuthz.enabled=true,extAuthz.dataPlanes[0]=spiffe://a/edge,tls.existingSecret=svid,xds.enabled=true,"
       "xds.gateways[0]=edge/agents,xds.extAuthzId=spiffe://a/b")


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
            ("gateway.log=verbose", "log"),
            ("mode=files", "mode"),
            ("user=0", "user"),
            ("service.sessionAffinity=Cookie", "sessionAffinity"),
            ("ledger.size=lots", "size"),
            ("image.digest=sha256:abc", "digest"),
            ("gateway.publicUrl=gateway.example", "publicUrl"),
            ("serviceAccountTokens.issuer=http://issuer.example", "issuer"),
            ("sinks[0]=kafka://broker:9092", "sinks"),
            ("replicas=2", "standing.existingSecret"),
            ("standing.password=true", "standing.existingSecret"),
            ("standing.existingSecret=a,standing.ca=ca.crt", "ca"),
            ("autoscaling.enabled=true", "standing.existingSecret"),
            ("autoscaling.enabled=true,standing.existingSecret=a", "sharedKeys.existingSecret"),
            (f"{SCALED},autoscaling.hpa.minReplicas=7", "maxReplicas"),
            (f"{SCALED},resources.requests=null", "resources.requests.cpu"),
            (f"{SCALED},autoscaling.hpa.target=7", "target"),
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
            ("registrations.validatingAdmissionPolicy=true", "registrations.enabled"),
            ("service.externalTrafficPolicy=Local", "service.type"),
            ("httpRoute.enabled=true", "httpRoute.parentRefs"),
            ("httpRoute.enabled=true,httpRoute.parentRefs[0].name=public", "plainHttp.enabled"),
            ("httpRoute.enabled=true,httpRoute.parentRefs[0].name=public,plainHttp.enabled=true", "gateway.publicUrl"),
            ("httpRoute.hostnames[0]=https://agents.example", "hostnames"),
            ("service.type=NodePort,service.externalTrafficPolicy=local", "externalTrafficPolicy"),
            ("admission.webhook.enabled=true", "admission.keysSecret"),
            ("admission.enabled=true,admission.keysSecret=a,admission.webhook.enabled=true", "there is no Secret default/a"),
            (f"{ASKED},admission.webhook.key={'0' * 64}", "networkPolicy.apiServer"),
            (f"{ASKED},admission.webhook.key={'0' * 64},admission.clientCaSecret=b", "admission.webhook.caBundle"),
            (f"{ASKED},admission.webhook.key=abc", "key"),
            (f"{ASKED},admission.webhook.failurePolicy.records=Warn", "records"),
            (f"{ASKED},admission.webhook.caBundle=x", "caBundle"),
            (XDS.replace("extAuthz.enabled=true,", ""), "extAuthz.enabled"),
            (XDS.replace("xds.gateways[0]=edge/agents,", ""), "xds.gateways"),
            (XDS.replace("edge/agents", "agents"), "gateways"),
            (f"{XDS},serviceAccountTokens.issuer=", "serviceAccountTokens.issuer"),
            (XDS.replace("tls.existingSecret=svid,", ""), "xds.extAuthzId"),
            (XDS.replace("xds.extAuthzId=spiffe://a/b", "xds.port=15010"), "xds.extAuthzId"),
            ("scan.enabled=true,mode=directory,existingObjects=a", "scan.enabled"),
            ("scan.enabled=true,scan.schedule=often", "schedule"),
            ("scan.enabled=true,scan.schedule=every hour on the hour", "schedule"),
            ("scan.enabled=true,scan.schedule=61 * * * *", "schedule"),
            ("registrations.enabled=true,registrations.schedule=* 24 * * *", "schedule"),
            ("registrations.enabled=true,mode=directory,existingObjects=a", "registrations.enabled"),
            ("serviceAccount.create=false", "serviceAccount.name"),
            ("jobs.enabled=true,mode=directory,existingObjects=a", "mode: cluster"),
        ]:
            with self.subTest(flags):
                ran = helm("template", CHART, "--kube-version", KUBE_VERSION, "--set", flags, check=False)
                self.assertNotEqual(ran.returncode, 0, flags)
                self.assertIn(says, ran.stderr)

    def test_what_would_render_and_fail_in_the_cluster_is_refused_before(self):
        audience = "gateway.extraArgs[0]=--audience=a"
        for flags, says in [
            ("labels.app\\.kubernetes\\.io/name=other", "labels"),
            ("labels.app\\.kubernetes\\.io/instance=other", "labels"),
            ("labels.vidimus\\.dev/service=admin", "labels"),
            ("labels.team=two words", "team"),
            ("metrics.serviceMonitor.labels.app\\.kubernetes\\.io/name=other", "labels"),
            ("labels.team=a,metrics.dashboards.labels.team=b", "metrics.dashboards.labels"),
            ("annotations.kubectl\\.kubernetes\\.io/default-container=x", "annotations"),
            ("annotations.a b=x", "annotations"),
            ("nodeSelector.disk=a b", "disk"),
            ("fullnameOverride=a.b", "fullnameOverride"),
            ("fullnameOverride=1st", "fullnameOverride"),
            ("nameOverride=a.", "nameOverride"),
            ("image.repository=registry.example/Vidimus X", "repository"),
            ("extAuthz.enabled=true,extAuthz.dataPlanes[0]=spiffe://a/b,extAuthz.port=9901", "is that of admin"),
            ("extAuthz.enabled=true,extAuthz.dataPlanes[0]=spiffe://a/b,extAuthz.port=8443,service.port=443", "is that of tls"),
            ("extAuthz.enabled=true,extAuthz.dataPlanes[0]=spiffe://a/b,extAuthz.port=8443", "is that of service.port"),
            ("extAuthz.enabled=true,extAuthz.dataPlanes[0]=spiffe://a/b,service.port=9191", "is that of service.port"),
            ("extAuthz.enabled=true,extAuthz.dataPlanes[0]=spiffe://a/b,admission.enabled=true,extAuthz.port=9443", "is that of admission"),
            ("extAuthz.enabled=true,extAuthz.dataPlanes[0]=spiffe://a/b,plainHttp.enabled=true,extAuthz.port=8080", "is that of service.plainPort"),
            (f"{XDS},xds.port=9191", "is that of extAuthz.port"),
            ("plainHttp.enabled=true,service.port=8080", "is that of service.port"),
            ("mode=directory,existingObjects=a,pods.enabled=true", "pods.enabled"),
            ("mode=directory,existingObjects=a,namespaces[0]=a", "namespaces"),
            ("namespaces[0]=a,namespaces[1]=a", "namespaces"),
            ("secrets[0]=a,secrets[1]=a", "secrets"),
            ("witnessQuorum=1", "witnessQuorum"),
            ("serviceAccountTokens.issuer=,serviceAccountTokens.discoveryBinding=true", "discoveryBinding"),
            ("gateway.extraArgs[0]=--data=/other", "the chart gives --data"),
            ("gateway.extraArgs[0]=--tls-listen=0.0.0.0:1", "the chart gives --tls-listen"),
            ("gateway.extraArgs[0]=--body-time=1s,gateway.extraArgs[1]=--body-time=2s", "--body-time"),
            ("gateway.extraEnv[0].name=POD_NAME,gateway.extraEnv[0].value=x", "POD_NAME"),
            ("gateway.extraEnv[0].name=A,gateway.extraEnv[0].vlaue=x", "vlaue"),
            ("gateway.maxBody=", "maxBody"),
            ("traces.enabled=true,traces.retention=", "retention"),
            ("networkPolicy.callers[0].namespaceSelectors.matchLabels.a=b", "namespaceSelectors"),
            ("networkPolicy.apiServer[0].ipBlock.cidr=10.0.0.2", "cidr"),
            ("networkPolicy.apiServer[0].ipBlock.cidr=10.0.0.2/32,networkPolicy.apiServer[0].podSelector.matchLabels.a=b", "apiServer"),
            ("podDisruptionBudget.maxUnavailable=200%", "maxUnavailable"),
            ("resources.limits.memory=lots", "memory"),
            ("resources.memory=1Gi", "memory"),
            ("tolerations[0].operator=Equals", "operator"),
            (",".join(f"trustBundles[{n}].trustDomain=a.example,trustBundles[{n}].configMap=a,trustBundles[{n}].key=b" for n in (0, 1)), "trustBundles"),
        ]:
            with self.subTest(flags):
                ran = helm("template", CHART, "--kube-version", KUBE_VERSION, "--set", flags, check=False)
                self.assertNotEqual(ran.returncode, 0, flags)
                self.assertIn(says, ran.stderr)
        # What is no switch, though it looks like one.
        for value in ("tls.existingSecret", "standing.existingSecret", "sharedKeys.existingSecret", "serviceAccount.name", "secrets[0]", "priorityClassName"):
            for word in ("true", "false", "null"):
                with self.subTest(f"{value}={word}"):
                    ran = helm("template", CHART, "--kube-version", KUBE_VERSION, "--set-string", f"{value}={word}", check=False)
                    self.assertIn(value.split("[")[0].split(".")[-1], ran.stderr)
                    self.assertNotEqual(ran.returncode, 0)
        self.assertIn("--audience=a", pod(rendered("minimal", "--set", audience))["containers"][0]["args"], "what may be given several times is")

    def test_a_name_that_looks_like_a_number_is_a_name(self):
        names = "tls.existingSecret=1e3,sharedKeys.existingSecret=123,gateway.publicUrl=https://a.example,secrets[0]=0x1f,archive.existingSecret=7"
        spec = pod(rendered("minimal", "--set-string", f"{names},serviceAccount.name=5,ledger.storageClass=8,priorityClassName=9"))
        volumes = {one["name"]: one for one in spec["volumes"]}
        self.assertEqual([volumes["tls"]["secret"]["secretName"], volumes["shared-keys"]["secret"]["secretName"]], ["1e3", "123"])
        self.assertEqual(volumes["secrets"]["projected"]["sources"][0]["secret"]["name"], "0x1f")
        self.assertEqual((spec["serviceAccountName"], spec["priorityClassName"], spec["containers"][0]["envFrom"][0]["secretRef"]["name"]), ("5", "9", "7"))

    def test_every_value_is_in_the_schema_and_every_switch_is_tried(self):
        text = (CHART / "values.yaml").read_text()
        known, tried = yaml.safe_load(text), yaml.safe_load((CHART / "ci" / "full-values.yaml").read_text())
        of_directory = {"mode", "objects", "existingObjects", "nameOverride", "fullnameOverride", "crds", "resources", "user", "podDisruptionBudget"}
        # Jobs take rights that nothing else does, and have a test of their own; so has a registry that is apart (test_separate), the rule that is on, and
        # the route, whose kind no API server of these tests has.
        self.assertEqual(set(known) - set(tried), of_directory | {"jobs", "reach", "registry", "httpRoute"})

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
            # What runs again and again has accounts of its own, held to the roles of deploy/rbac below.
            roles = [role for kind in ("ClusterRole", "Role") for role in of(objects, kind) if not role["metadata"]["name"].startswith(AGAIN)]
            rules = [rule for role in roles for rule in role["rules"]]
            if name == "directory":
                self.assertEqual((rules, of(objects, "Lease"), of(objects, "ClusterRoleBinding"), of(objects, "RoleBinding")), ([], [], [], []))
                continue
            self.assertEqual(rules, [
                {"apiGroups": kinds[0], "resources": kinds[1], "verbs": ["list", "watch"]},
                {"apiGroups": kinds[0], "resources": [f"{kind}/status" for kind in kinds[1]], "verbs": ["patch"]},
                # With `pods.enabled`, and in some namespaces alone.
                *([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}] if name == "full" else []),
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["vidimus-statuses"], "verbs": ["get", "update"]},
            ])
            self.assertEqual([lease["metadata"]["name"] for lease in of(objects, "Lease")], ["vidimus-statuses"])

    def test_what_scales_is_not_undone_by_an_upgrade(self):
        for flags, hpas in [(SCALED, 1), (f"{SCALED},autoscaling.hpa.enabled=false", 0)]:
            objects = rendered("minimal", "--set", flags)
            workload = of(objects, "StatefulSet")[0]
            self.assertNotIn("replicas", workload["spec"])
            found = of(objects, "HorizontalPodAutoscaler")
            self.assertEqual(len(found), hpas)
            for hpa in found:
                self.assertEqual(hpa["spec"]["scaleTargetRef"], {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": workload["metadata"]["name"]})
                self.assertEqual((hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]), (2, 6))
        self.assertEqual(of(rendered("minimal"), "StatefulSet")[0]["spec"]["replicas"], 1)

    def test_a_client_is_kept_at_one_replica_where_it_is_to_be(self):
        for name, expected in [("minimal", None), ("full", "ClientIP")]:
            services = {one["metadata"]["name"]: one["spec"] for one in of(rendered(name), "Service")}
            self.assertEqual(services["vidimus"].get("sessionAffinity"), expected)
            self.assertNotIn("sessionAffinity", services["vidimus-admin"])

    def test_an_issuer_is_believed_by_the_clusters_ca_where_it_is_the_api_server(self):
        eks = "https://oidc.eks.eu-west-1.amazonaws.com/id/A"
        for flags, by_cluster in [
            ("gateway.log=info", True),
            (f"serviceAccountTokens.issuer={eks}", False),
            (f"serviceAccountTokens.issuer={eks},serviceAccountTokens.discoveryBinding=true", True),
            ("serviceAccountTokens.issuer=", False),
        ]:
            with self.subTest(flags):
                objects = rendered("minimal", "--set", flags)
                spec = pod(objects)
                self.assertEqual([arg for arg in spec["containers"][0]["args"] if arg.startswith("--issuer-ca=")] != [], by_cluster)
                self.assertEqual("cluster-ca" in [volume["name"] for volume in spec["volumes"]], by_cluster)
                self.assertEqual([one for one in of(objects, "ClusterRoleBinding") if "discovery" in one["metadata"]["name"]] != [], "Binding" in flags)

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

    def test_what_runs_again_and_again_has_the_roles_of_deploy_and_a_pod_that_may_nothing_else(self):
        objects = rendered("full")
        for name, of_deploy, args in [
            ("vidimus-scan", "reports", ["admission", "scan", "--cluster", "--write"]),
            ("vidimus-registrations", "admission", ["admission", "manifests", "--form=registrations", "--namespace=vidimus-system", "--cluster", "--write"]),
        ]:
            wanted = list(yaml.safe_load_all((DEPLOY / "rbac" / f"{of_deploy}.yaml").read_text()))
            for kind in ("ClusterRole", "Role"):
                found = [one["rules"] for one in of(objects, kind) if one["metadata"]["name"].removesuffix("-vidimus-system") == name]
                self.assertEqual(found, [one["rules"] for one in of(wanted, kind)], f"{name}: {kind}")
            bound = [one["subjects"] for kind in ("ClusterRoleBinding", "RoleBinding") for one in of(objects, kind) if one["roleRef"]["name"].startswith(name)]
            self.assertEqual(bound, [[{"kind": "ServiceAccount", "name": name, "namespace": "vidimus-system"}]] * len(bound))
            (again,) = [one["spec"] for one in of(objects, "CronJob") if one["metadata"]["name"] == name]
            self.assertEqual(again["concurrencyPolicy"], "Forbid")
            spec = again["jobTemplate"]["spec"]["template"]["spec"]
            self.assertEqual((spec["serviceAccountName"], spec["securityContext"]["runAsNonRoot"]), (name, True))
            (container,) = spec["containers"]
            self.assertEqual(container["args"], [*args, "--follow=finance", "--follow=platform"])
            # They are flags of the command, as it is.
            ran = subprocess.run([BIN, *container["args"], "--kubeconfig", "/nowhere"], capture_output=True, text=True, timeout=60)
            self.assertNotIn("unexpected argument", ran.stderr)
        self.assertIn("ConfigMap", {one["kind"] for one in objects if one["metadata"]["name"] == "vidimus-admission"})
        self.assertEqual(of(rendered("minimal"), "CronJob"), [])
        # Its controller adds eleven characters for each Job: the API server takes 52.
        long = rendered("full", "--set", f"fullnameOverride={'v' * 50}")
        self.assertEqual([name for name in (one["metadata"]["name"] for one in of(long, "CronJob")) if len(name) > 52], [])

    def test_pods_are_held_to_what_the_binary_prints_where_it_is_turned_on(self):
        for namespace in ("vidimus-system", "agents"):
            flags = "registrations.enabled=true,registrations.validatingAdmissionPolicy=true"
            objects = rendered("minimal", "--set", flags, "-n", namespace)
            found = [one for one in objects if one["metadata"]["name"].startswith("vidimus-pods")]
            said = subprocess.run([BIN, "admission", "manifests", "--form", "vap", "--namespace", namespace], capture_output=True, text=True, check=True).stdout
            wanted = {one["metadata"]["name"]: one["spec"] for one in yaml.safe_load_all(said) if one}
            self.assertEqual({one["metadata"]["name"]: one["spec"] for one in found}, wanted)
            self.assertEqual(len(wanted), 4)
        # By its names: another's is nobody's to take.
        self.assertEqual([one for one in rendered("full") if one["metadata"]["name"].startswith("vidimus-pods")], [])

    def test_a_gateway_leads_callers_to_the_port_of_the_service(self):
        flags = ("plainHttp.enabled=true,gateway.publicUrl=https://agents.example,service.plainPort=8088,httpRoute.enabled=true,"
                 "httpRoute.parentRefs[0].name=public,httpRoute.parentRefs[0].namespace=ingress,httpRoute.hostnames[0]=agents.example")
        objects = rendered("minimal", "--set", flags)
        (route,) = of(objects, "HTTPRoute")
        self.assertEqual(route["spec"], {
            "parentRefs": [{"name": "public", "namespace": "ingress"}], "hostnames": ["agents.example"],
            "rules": [{"backendRefs": [{"name": "vidimus", "port": 8088}], "timeouts": {"request": "0s"}}]})
        service = next(one for one in of(objects, "Service") if one["metadata"]["name"] == "vidimus")
        self.assertIn(8088, [port["port"] for port in service["spec"]["ports"]])
        without = of(rendered("minimal", "--set", f"{flags},httpRoute.timeouts=null"), "HTTPRoute")
        self.assertNotIn("timeouts", without[0]["spec"]["rules"][0])

    def test_what_reaches_beyond_a_namespace_is_held_as_by_deploy_unless_it_is_turned_off(self):
        wanted = list(yaml.safe_load_all((DEPLOY / "admission" / "reach.yaml").read_text()))
        for name in ("minimal", "full", "separate"):
            found = [one for one in rendered(name) if one["metadata"]["name"].endswith("-reach")]
            self.assertEqual([one["kind"] for one in found], [one["kind"] for one in wanted], name)
            self.assertEqual(found[0]["spec"], wanted[0]["spec"])
            self.assertEqual(found[1]["spec"], {**wanted[1]["spec"], "policyName": found[0]["metadata"]["name"]})
            self.assertEqual(found[1]["metadata"]["labels"]["vidimus.dev/rule"], "reach", "by which the doctor finds it")
        for flags in ("reach.enabled=false", "mode=directory,existingObjects=a"):
            self.assertEqual([one for one in rendered("minimal", "--set", flags) if one["metadata"]["name"].endswith("-reach")], [])

    def test_minimal_is_registry_and_gateway(self):
        minimal = {one["kind"] for one in rendered("minimal")}
        self.assertEqual(minimal, {
            "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Lease", "NetworkPolicy", "PodDisruptionBudget", "Role", "RoleBinding",
            "Service", "ServiceAccount", "StatefulSet", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"})
        self.assertEqual(minimal - {one["kind"] for one in rendered("full")}, set())
        more = {one["kind"] for one in rendered("full")} - minimal
        self.assertEqual(more, {"ConfigMap", "CronJob", "HorizontalPodAutoscaler", "PrometheusRule", "ServiceMonitor", "ValidatingWebhookConfiguration"})

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

    def test_what_has_the_api_server_ask_is_what_the_gateway_prints(self):
        with tempfile.TemporaryDirectory() as at:
            subprocess.run([BIN, "admission", "ca", "--data", f"{at}/data"], capture_output=True, check=True)
            printed = subprocess.run([BIN, "admission", "manifests", "--data", f"{at}/data", "--namespace", "vidimus-system"],
                                     capture_output=True, text=True, check=True).stdout
            wanted = yaml.safe_load(printed)["webhooks"]
            key, ca = (Path(at) / "data" / "admission" / "path").read_bytes().hex(), Path(at) / "data" / "admission" / "ca.pem"
            flags = ["--set", f"{ASKED},admission.clientCaSecret=b,admission.webhook.key={key}", "--set-file", f"admission.webhook.caBundle={ca}"]
            found = of(rendered("minimal", *flags), "ValidatingWebhookConfiguration")[0]
            self.assertEqual((found["metadata"]["name"], found["webhooks"]), ("vidimus", wanted))
            # Who says so decides what becomes of everything while nobody answers, and in which namespaces.
            flags += ["--set", "admission.webhook.failurePolicy.enforce=Ignore,admission.webhook.namespaceSelector.matchLabels.tenant=a"]
            found = of(rendered("minimal", *flags), "ValidatingWebhookConfiguration")[0]["webhooks"]
            self.assertEqual([one["failurePolicy"] for one in found], ["Fail", "Ignore", "Ignore", "Ignore"])
            self.assertEqual({one["namespaceSelector"]["matchLabels"]["tenant"] for one in found}, {"a"})
            self.assertEqual(found[3]["namespaceSelector"]["matchLabels"]["vidimus.dev/admission"], "enforce")
            self.assertIn("vidimus-system", found[3]["namespaceSelector"]["matchExpressions"][0]["values"])
        by_cert_manager = of(rendered("full"), "ValidatingWebhookConfiguration")[0]
        self.assertEqual(by_cert_manager["metadata"]["annotations"], {"cert-manager.io/inject-ca-from-secret": "vidimus-system/admission-keys"})
        self.assertFalse([one for one in by_cert_manager["webhooks"] if "caBundle" in one["clientConfig"]])

    def test_gateways_reach_their_routes_and_ask_by_tls_alone(self):
        objects = rendered("minimal", "--set", XDS)
        args = pod(objects)["containers"][0]["args"]
        host = "vidimus.vidimus-system.svc"
        for arg in ("--xds=0.0.0.0:15010", f"--xds-name={host}", "--xds-gateway=edge/agents", f"--xds-ext-authz={host}:9191",
                    "--xds-ext-authz-id=spiffe://a/b", "--ext-authz-data-plane=spiffe://a/edge", "--tls-cert=/etc/vidimus/tls/tls.crt"):
            self.assertIn(arg, args)
        service = next(one for one in of(objects, "Service") if one["metadata"]["name"] == "vidimus")
        self.assertIn({"name": "xds", "port": 15010, "targetPort": "xds"}, service["spec"]["ports"])
        policy = of(objects, "NetworkPolicy")[0]["spec"]
        self.assertIn({"protocol": "TCP", "port": "xds"}, policy["ingress"][0]["ports"])

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
