"""The registry as a workload of its own: what the chart renders, without a cluster."""

import json
import os
import re
import subprocess
import unittest

import yaml
from cluster import CHART, KUBE_VERSION, helm, rendered, values

BIN = os.environ["VIDIMUS_BIN"]


def of(objects, kind, name):
    (found,) = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


class Separate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.objects = rendered("separate")
        cls.gateway = of(cls.objects, "StatefulSet", "vidimus")["spec"]["template"]
        cls.registry = of(cls.objects, "Deployment", "vidimus-registry")["spec"]["template"]

    def test_it_lints(self):
        helm("lint", "--strict", "--kube-version", KUBE_VERSION, CHART, *values("separate"))

    def test_the_gateway_has_no_token_and_no_right(self):
        self.assertFalse(self.gateway["spec"]["automountServiceAccountToken"])
        account = self.gateway["spec"]["serviceAccountName"]
        self.assertFalse(of(self.objects, "ServiceAccount", account)["automountServiceAccountToken"])
        bound = [one for one in self.objects if one["kind"] in ("RoleBinding", "ClusterRoleBinding")]
        subjects = {subject["name"] for one in bound for subject in one["subjects"]}
        self.assertEqual(subjects, {self.registry["spec"]["serviceAccountName"]})
        self.assertNotIn(account, subjects)
        self.assertTrue(self.registry["spec"]["automountServiceAccountToken"])
        text = str(self.gateway)
        self.assertNotIn("--cluster", text)
        self.assertNotIn("serviceAccountToken", str(self.gateway["spec"]["volumes"]))

    def test_the_gateway_calls_the_registry_and_not_the_api_server(self):
        policy = of(self.objects, "NetworkPolicy", "vidimus")["spec"]
        named = [rule for rule in policy["egress"] if "to" not in rule]
        self.assertEqual([{port["port"] for port in rule["ports"]} for rule in named], [{53}], "names, and no port of an API server")
        blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule.get("to", []) if "ipBlock" in to]
        (all_of_4,) = [block for block in blocks if block["cidr"] == "0.0.0.0/0"]
        self.assertEqual(set(all_of_4["except"]), {"169.254.0.0/16", "10.0.0.2/32"})
        (all_of_6,) = [block for block in blocks if block["cidr"] == "::/0"]
        self.assertNotIn("10.0.0.2/32", all_of_6["except"])
        (to_registry,) = [rule for rule in policy["egress"] if {"protocol": "TCP", "port": "registry"} in rule.get("ports", [])]
        labels = to_registry["to"][0]["podSelector"]["matchLabels"]
        self.assertLessEqual(labels.items(), self.registry["metadata"]["labels"].items())

    def test_no_network_of_upstreams_has_the_api_server(self):
        def rendered_with(upstreams, api_server):
            said = {"networkPolicy": {"upstreams": [{"ipBlock": one} for one in upstreams]}, "registry": {"apiServer": api_server}}
            sets = [word for key, value in said.items() for name, of in value.items() for word in ("--set-json", f"{key}.{name}={json.dumps(of)}")]
            return helm("template", "vidimus", CHART, "--kube-version", KUBE_VERSION, *values("separate"), *sets, check=False)

        def excepted(cidr, api_server, *but):
            ran = rendered_with([{"cidr": cidr, **({"except": list(but)} if but else {})}], api_server)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            policy = of([one for one in yaml.safe_load_all(ran.stdout) if one], "NetworkPolicy", "vidimus")["spec"]
            (block,) = [to["ipBlock"] for rule in policy["egress"] for to in rule.get("to", []) if "ipBlock" in to]
            return block.get("except", [])

        both = ["10.0.0.2/32", "fd00:10::2/128"]
        for cidr, left_out in [
            ("0.0.0.0/0", both[:1]),
            ("10.0.0.0/8", both[:1]),
            ("10.0.0.0/30", both[:1]),
            ("10.0.0.2/31", both[:1]),
            ("10.0.0.4/30", []),
            ("192.168.0.0/16", []),
            ("::/0", both[1:]),
            ("fd00::/8", both[1:]),
            ("FD00:10:0:0:0:0:0:0/64", both[1:]),
            ("fd00:10::/127", []),
            ("fd00:100::/32", []),
            ("a00::/8", []),
        ]:
            with self.subTest(cidr):
                self.assertEqual(excepted(cidr, both), left_out)
        self.assertEqual(excepted("10.0.0.0/8", both, "10.9.0.0/16"), ["10.9.0.0/16", "10.0.0.2/32"])
        # Of what is nothing but the API server's there is nothing to leave out.
        for cidr, api_server in [("10.0.0.2/32", "10.0.0.2/32"), ("10.0.0.0/24", "10.0.0.0/24"), ("10.0.0.7/32", "10.0.0.0/16"), ("fd00:10:0::2/128", "fd00:10::/64")]:
            with self.subTest(cidr):
                ran = rendered_with([{"cidr": cidr}], [api_server])
                self.assertNotEqual(ran.returncode, 0)
                self.assertIn(f"networkPolicy.upstreams: {cidr} is of the API server", ran.stderr)

    def test_the_registry_is_reached_by_the_gateway_and_is_none_of_its_pods(self):
        policy = of(self.objects, "NetworkPolicy", "vidimus-registry")["spec"]
        (rule,) = policy["ingress"]
        self.assertLessEqual(rule["from"][0]["podSelector"]["matchLabels"].items(), self.gateway["metadata"]["labels"].items())
        for service in [one for one in self.objects if one["kind"] == "Service"]:
            is_of_registry = service["metadata"]["name"] == "vidimus-registry"
            matched = service["spec"]["selector"].items() <= self.registry["metadata"]["labels"].items()
            self.assertEqual(matched, is_of_registry, service["metadata"]["name"])

    def test_nothing_has_more_rights_on_a_node_than_it_needs(self):
        spec = self.registry["spec"]
        self.assertTrue(spec["securityContext"]["runAsNonRoot"])
        self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertEqual(spec["containers"][0]["securityContext"], {
            "allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})
        self.assertEqual(spec["volumes"][0]["secret"]["defaultMode"], 0o440)

    def test_each_flag_is_one_of_the_binary_and_both_are_told_the_same(self):
        told = []
        for command, template in (("serve", self.gateway), ("registry", self.registry)):
            said = subprocess.run([BIN, command, "--help"], capture_output=True, text=True, check=True).stdout
            args = template["spec"]["containers"][0]["args"]
            self.assertEqual(args[0], command)
            self.assertEqual({arg.split("=")[0] for arg in args[1:]} - set(re.findall(r"(--[a-z][a-z-]*)", said)), set())
            told.append([arg for arg in args if arg.startswith(("--namespace", "--pods"))])
        self.assertEqual(told[0], told[1])

    def test_what_would_not_work_is_refused_and_says_what_to_write(self):
        for flags, says in [
            ("mode=directory,existingObjects=a", "mode: cluster"),
            ("registry.id=", "registry.id"),
            ("registry.gatewaySecret=", "gatewaySecret"),
            ("registry.id=registry", "registry"),
            ("registry.apiServer[0]=api.example", "apiServer"),
            ("registry.apiServer=null", "registry.apiServer"),
            ("jobs.enabled=true", "jobs.enabled"),
            ("admission.enabled=true", "admission.enabled"),
            ("serviceAccountTokens.issuer=https://kubernetes.default.svc.cluster.local", "serviceAccountTokens.issuer"),
        ]:
            with self.subTest(flags):
                ran = helm("template", CHART, "--kube-version", KUBE_VERSION, *values("separate"), "--set", flags, check=False)
                self.assertNotEqual(ran.returncode, 0, flags)
                self.assertIn(says, ran.stderr)


if __name__ == "__main__":
    unittest.main()
