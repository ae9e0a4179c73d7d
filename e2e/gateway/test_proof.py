"""`vidimus policy diff --prove` with the real solver cvc5: what is proven is so, and what is not so, or not known, is not proven.

The solver is PyPI's, by docs/cvc5-smtlib.py; VIDIMUS_PAIRS (16) random pairs of sets are held to the enumeration.
"""

import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

import cvc5  # noqa: F401 (a machine without it fails here)

from stage import BINARY

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAIRS = int(os.environ.get("VIDIMUS_PAIRS", "16"))

OBJECTS = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a}
spec:
  owner: ada.l@example.com
  team: t
  purpose: p
  riskLevel: low
  groups: [g]
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}]
  endpoint: {url: "http://127.0.0.1:1/"}
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: odd, namespace: a}
spec:
  owner: ada.l@example.com
  team: u
  purpose: p
  riskLevel: high
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: odd}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: bank, namespace: a}
spec: {owner: ada.l@example.com, team: t, riskLevel: low, endpoint: {url: "http://127.0.0.1:1/mcp"}, toolSets: {looks: [look]}}
"""

LOOK = 'permit (principal == Agent::"a/bot", action == Action::"invokeTool", resource == Tool::"a/bank/look")'
TOOLS = 'permit (principal, action == Action::"invokeTool", resource)'
AGENT = ("Agent", "invokeTool", "Tool")


def environment():
    return os.environ | {
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "VIDIMUS_CVC5": str(ROOT / "docs/cvc5-smtlib.py"),
    }


def run(*words):
    return subprocess.run([BINARY, *map(str, words)], env=environment(), text=True, capture_output=True, timeout=300)


class TwoSets(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="vidimus-proof-"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)

    def world(self, name, cedar, policy="p", objects=OBJECTS):
        directory = self.root / name
        directory.mkdir(exist_ok=True)
        lines = "\n".join(f"    {line}" for line in cedar.splitlines())
        head = f"kind: Policy\nmetadata: {{name: {policy}, namespace: a}}\nspec:\n  description: d\n  scope: Cluster\n  cedar: |\n"
        (directory / "all.yaml").write_text(f"{objects}---\napiVersion: vidimus.dev/v1alpha1\n{head}{lines}\n")
        return directory

    def diff(self, old, new, *flags):
        """The answer, and with it the exit code as `code`."""
        done = run("policy", "diff", old, new, "-o", "json", *flags)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(done.stdout) | {"code": done.returncode}

    def proven(self, old, new, *flags, **more):
        answer = self.diff(self.world("old", old), self.world("new", new, **more), "--prove", *flags)
        types = {(one["principal"], one["action"], one["resource"]): one for one in answer["proof"]["types"]}
        return answer, types

    def decided(self, world, found, *flags):
        words = ("--principal", found["principal"], "--resource", found["resource"])
        done = run("policy", "explain", "--resources", self.root / world, *words, "-o", "json", *flags)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(done.stdout)["outcome"]

    def assert_is(self, one, outcome, by="proven"):
        self.assertEqual((one["outcome"], one["by"]), (outcome, by), one)


class Proofs(TwoSets):
    def test_a_policy_that_is_renamed_is_the_same(self):
        cedar = f'{LOOK} when {{ context.delegation_depth <= 3 }};'
        answer, types = self.proven(cedar, cedar, policy="renamed")
        self.assertEqual({(one["outcome"], one["by"]) for one in types.values()}, {("equivalent", "same-policies")})
        self.assertEqual(answer["code"], 0)
        # Enumeration alone does not know it.
        self.assertEqual(self.diff(self.root / "old", self.root / "new")["code"], 1)

    def test_what_is_written_otherwise_is_proven_to_be_the_same(self):
        answer, types = self.proven(
            f'{TOOLS} when {{ context.delegation_depth <= 3 && principal.risk < 3 }};',
            f'{TOOLS} unless {{ context.delegation_depth > 3 || !(principal.risk < 3) }};',
        )
        self.assert_is(types[AGENT], "equivalent")
        self.assert_is(types["Service", "invokeTool", "Tool"], "equivalent")
        self.assert_is(types["Agent", "connectServer", "MCPServer"], "equivalent")
        self.assert_is(types["Agent", "callModel", "Model"], "equivalent", "same-policies")
        self.assertEqual((answer["code"], answer["changed"]), (0, []))
        self.assertGreater(answer["proof"]["settled"], 0)
        self.assertEqual(self.diff(self.root / "old", self.root / "new")["code"], 1)

    def test_a_condition_that_is_widened_is_more_permissive_by_a_call_that_explain_confirms(self):
        of = lambda depth: f'{LOOK} when {{ context.delegation_depth <= {depth} }};'
        answer, types = self.proven(of(3), of(5))
        self.assert_is(types[AGENT], "more-permissive")
        [found] = types[AGENT]["counterexamples"]
        self.assertEqual((found["principal"], found["resource"]), ("Agent/a/bot", "Tool/a/bank/look"))
        self.assertEqual((found["old"]["outcome"], found["new"]), ("deny", {"outcome": "allow", "policies": ["a/p"]}))
        depth = found["facts"]["context.delegation_depth"]
        self.assertIn(depth, ("4", "5"))
        self.assertEqual(self.decided("old", found, "--depth", depth), "deny")
        self.assertEqual(self.decided("new", found, "--depth", depth), "allow")
        self.assertEqual(answer["code"], 1)

    def test_a_forbid_that_is_added_is_less_permissive(self):
        _, types = self.proven(f"{LOOK};", f'{LOOK};\nforbid (principal, action == Action::"invokeTool", resource) when {{ context.delegation_depth > 2 }};')
        self.assert_is(types[AGENT], "less-permissive")
        [found] = types[AGENT]["counterexamples"]
        self.assertEqual((found["old"]["outcome"], found["new"]["policies"]), ("allow", ["a/p#1"]))
        self.assertGreater(int(found["facts"]["context.delegation_depth"]), 2)
        # Chains are no deeper than 16, which is a rule beside policies.
        self.assertEqual(self.decided("old", found, "--depth", "3"), "allow")
        self.assertEqual(self.decided("new", found, "--depth", "3"), "deny")

    def test_two_that_each_let_something_else_pass_are_incomparable(self):
        _, types = self.proven(f'{TOOLS} when {{ principal.risk < 3 }};', f'{TOOLS} when {{ principal.risk > 1 }};')
        self.assert_is(types[AGENT], "incomparable")
        first, second = types[AGENT]["counterexamples"]
        self.assertLess(int(first["facts"]["principal.risk"]), 2)
        self.assertGreater(int(second["facts"]["principal.risk"]), 2)

    def test_what_cedar_does_not_know_is_not_proven(self):
        forbid = 'forbid (principal, action == Action::"invokeTool", resource)'
        hold = f'@approval("r") {forbid} unless {{ context has approval && context.approval.role == "r" }};'
        for added, why in (
            (hold, "@approval"),
            (f'@redact("/a") {forbid};', "@redact"),
            (f"@ends_chain {forbid} when {{ context.chain.calls > 9 }};", "@ends_chain"),
            (f"{forbid} when {{ context.delegation_depth + 1 > 9 }};", "can fail"),
            (f'{forbid} when {{ Agent::"a/gone".team == "t" }};', "need not be registered"),
        ):
            with self.subTest(why):
                answer, types = self.proven(f"{LOOK};", f"{LOOK};\n{added}")
                self.assert_is(types[AGENT], "not-proven", "enumeration")
                self.assertIn(why, types[AGENT]["why"])
                self.assertEqual(answer["code"], 1)
        # Where both sets have it, what passes is held and changed by the same.
        of = lambda depth: f"{hold}\n{TOOLS} when {{ {depth} }};"
        _, types = self.proven(of("context.delegation_depth < 4"), of("context.delegation_depth <= 3"))
        self.assert_is(types[AGENT], "equivalent")
        _, types = self.proven(of("context.delegation_depth < 4"), of("context.delegation_depth <= 4"))
        self.assert_is(types[AGENT], "more-permissive")
        self.assertIn(types[AGENT]["counterexamples"][0]["new"]["outcome"], ("hold", "allow"))

    def test_what_a_part_follows_from_counts(self):
        """A forbid on an agent that nothing permits is nothing to Cedar, and refuses a message that names a permitted skill."""
        skill = 'permit (principal, action == Action::"callAgent", resource is Skill);'
        answer, types = self.proven(skill, f'{skill}\nforbid (principal, action == Action::"callAgent", resource is Agent);')
        for resource in ("Skill", "Agent"):
            self.assert_is(types["Agent", "callAgent", resource], "not-proven", "enumeration")
        self.assertIn("refuses what the other only does not permit", types["Agent", "callAgent", "Agent"]["why"])
        self.assertEqual(answer["code"], 1)
        calls = '(principal, action == Action::"callAgent", resource)'
        _, types = self.proven(
            f"permit {calls} when {{ context.delegation_depth <= 3 }};\nforbid {calls} when {{ principal.risk > 2 }};",
            f"permit {calls} unless {{ context.delegation_depth > 3 }};\nforbid {calls} unless {{ principal.risk <= 2 }};",
        )
        for resource in ("Skill", "Agent"):
            self.assert_is(types["Agent", "callAgent", resource], "equivalent")
        # A tool more, and who may connect follows from it.
        _, types = self.proven(f"{LOOK};", f'{LOOK};\n{LOOK.replace("bank/look", "bank/pay")};')
        self.assert_is(types[AGENT], "more-permissive")
        self.assert_is(types["Agent", "connectServer", "MCPServer"], "not-proven", "enumeration")

    def test_of_arguments_only_what_policies_see_is_proven(self):
        of = lambda condition: f'{LOOK} when {{ context.numbers.hasTag("/amount") && {condition} }};'
        amount = 'context.numbers.getTag("/amount")'
        answer, types = self.proven(of(f"{amount} <= 100"), of(f"!({amount} > 100)"))
        self.assert_is(types[AGENT], "equivalent")
        self.assertIn("policies can see", types[AGENT]["of"])
        self.assertEqual((answer["code"], answer["proof"]["settled"]), (1, 0))
        self.assertIn("arguments", types["Agent", "connectServer", "MCPServer"]["why"])
        _, types = self.proven(of(f"{amount} <= 100"), of(f"{amount} <= 200"))
        self.assert_is(types[AGENT], "more-permissive")
        [found] = types[AGENT]["counterexamples"]
        amount = int(found["facts"]['context.numbers.getTag("/amount")'])
        self.assertTrue(100 < amount <= 200, found)
        arguments = ("--args", json.dumps({"amount": amount}))
        self.assertEqual([self.decided(world, found, *arguments) for world in ("old", "new")], ["deny", "allow"])

    def test_people_and_names_are_proven_by_their_own_rules(self):
        read = 'permit (principal in UserGroup::"i#g", action == Action::"read", resource)'
        answer, types = self.proven(f'{read} when {{ context.now < datetime("2027-01-01") }};', f'{read} unless {{ context.now >= datetime("2027-01-01") }};')
        self.assert_is(types["User", "read", "View"], "equivalent")
        self.assertEqual((answer["code"], answer["beside"]), (0, {}))
        self.assertEqual(self.diff(self.root / "old", self.root / "new")["beside"], {"Policy a/p": ["people"]})
        # What leaves the action open permits no person anything.
        _, types = self.proven("permit (principal is Agent, action, resource);", "permit (principal, action, resource);")
        self.assert_is(types["User", "read", "View"], "equivalent", "same-policies")
        # Who may bear which name is free as long as no policy permits one. A name that is not free means other objects.
        name = 'forbid (principal, action == Action::"register", resource == Group::"of-a") unless { principal == Namespace::"a" };'
        policy = f"kind: Policy\nmetadata: {{name: names, namespace: a}}\nspec: {{description: d, scope: Cluster, cedar: '{name}'}}\n"
        objects = f"{OBJECTS}---\napiVersion: vidimus.dev/v1alpha1\n{policy}"
        answer, types = self.proven(f"{TOOLS} when {{ principal.risk < 3 }};", f"{TOOLS} when {{ principal.risk <= 2 }};", objects=objects)
        self.assert_is(types["Namespace", "register", "Group"], "less-permissive")
        self.assert_is(types[AGENT], "equivalent")
        self.assertIn("name", " ".join(answer["proof"]["notes"]))
        self.assertEqual((answer["code"], answer["proof"]["settled"]), (1, 0))

    def test_other_objects_are_told_and_settle_nothing(self):
        old, new = f"{TOOLS} when {{ principal.risk < 3 }};", f"{TOOLS} when {{ principal.risk <= 2 }};"
        answer, types = self.proven(old, new, objects=OBJECTS.replace("riskLevel: low", "riskLevel: high", 1))
        self.assert_is(types[AGENT], "equivalent")
        self.assertIn("no policy", " ".join(answer["proof"]["notes"]))
        self.assertEqual((answer["code"], answer["proof"]["settled"]), (1, 0))
        self.assertGreater(len(answer["changed"]), 0)

    def solver(self, lines):
        path = self.root / "solver"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def test_without_a_solver_that_answers_nothing_is_said(self):
        old, new = self.world("old", f"{TOOLS};"), self.world("new", f"{TOOLS} when {{ principal.risk < 3 }};")
        for solver in (self.root / "none", self.solver("exit 3"), self.solver("exec sleep 60"), self.solver("yes no")):
            done = run("policy", "diff", old, new, "--prove", "--solver", solver, "--solver-time", "1s")
            self.assertEqual((done.returncode, done.stdout), (2, ""), done)
            self.assertIn("pip install cvc5", done.stderr)

    def test_a_solver_that_does_not_know_or_lies_proves_nothing(self):
        old, new = self.world("old", f"{TOOLS};"), self.world("new", f"{TOOLS} when {{ principal.risk < 3 }};")
        reads = "asked() { while read -r line; do [ \"$line\" = '(check-sat)' ] && return; done; exit; }; asked; echo sat;"
        for rest, why in (
            ("while asked; do echo unknown; done", "does not know"),
            ("asked; exec sleep 60", "no answer within"),
            ("asked; echo sat; echo nonsense; cat", "nonsense"),
            ("asked; echo '(error \"full\")'; cat", "full"),
        ):
            with self.subTest(why):
                words = ("--prove", "--solver", self.solver(f"{reads} {rest}"), "--solver-time", "1s")
                answer = self.diff(old, new, *words)
                [one] = [one for one in answer["proof"]["types"] if (one["principal"], one["action"], one["resource"]) == AGENT]
                self.assertIn(one["outcome"], ("not-proven", "not-equivalent"))
                self.assertEqual(one["by"], "enumeration")
                self.assertIn(why, one["why"])
                self.assertEqual(answer["code"], 1)
        # One that says of everything that it cannot be: an edge knows better.
        new = self.world("new", 'forbid (principal, action, resource);')
        answer = self.diff(old, new, "--prove", "--solver", self.solver(f"{reads} while asked; do echo unsat; done"))
        [one] = [one for one in answer["proof"]["types"] if (one["principal"], one["action"], one["resource"]) == AGENT]
        self.assert_is(one, "not-proven", "enumeration")
        self.assertIn("contradicts", one["why"])
        self.assertEqual(answer["code"], 1)

    def test_people_read_it(self):
        of = lambda depth: f'{LOOK} when {{ context.delegation_depth <= {depth} }};'
        done = run("policy", "diff", self.world("old", of(3)), self.world("new", of(5)), "--prove")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stdout, r"Agent +invokeTool +Tool +more permissive +proven")
        self.assertRegex(done.stdout, r"example  Agent/a/bot invokeTool Tool/a/bank/look\n  context.delegation_depth = [45]\n  old  deny, which no policy permits\n  new  allow by a/p")
        self.assertRegex(done.stdout, r"\d+ request types: \d+ decided by the same policies, \d+ proven equivalent, 1 proven different, \d+ not proven")


ATOMS = (
    "principal.risk < 3", "principal.risk >= 3", 'principal.team == "t"', 'principal in Group::"a/g"', 'resource.name == "look"',
    'resource.name like "l*"', "context.delegation_depth <= 3", "!(context.delegation_depth > 3)", "context.chain.cycle",
    "context has on_behalf_of", 'resource in ToolSet::"a/looks"', "true", "false", 'context.method == "tools/call"',
)
SCOPES = ("principal, action, resource", 'principal is Agent, action == Action::"invokeTool", resource', 'principal in Group::"a/g", action in Action::"mcp", resource')


class RandomPairs(TwoSets):
    """Nothing that is proven contradicts what the enumeration is certain of."""

    def policies(self, draw):
        def policy():
            effect = draw.choice(("permit", "permit", "forbid"))
            atoms = draw.sample(ATOMS, draw.randint(1, 2))
            condition = draw.choice((" && ", " || ")).join(atoms)
            scope = draw.choice(SCOPES)
            if "resource." in condition or "ToolSet" in condition:
                scope = SCOPES[1]
            return f"{effect} ({scope}) {draw.choice(('when', 'unless'))} {{ {condition} }};"
        return [policy() for _ in range(draw.randint(1, 3))]

    def test_random_pairs(self):
        draw = random.Random(20_261_128)
        certain, equivalent, different = 0, 0, 0
        for number in range(PAIRS):
            old = self.policies(draw)
            new = [draw.choice((one, *self.policies(draw))) if draw.random() < 0.5 else one for one in old]
            draw.shuffle(new)
            with self.subTest(number=number, old=old, new=new):
                worlds = self.world("old", "\n".join(old)), self.world("new", "\n".join(new))
                checked = [run("check", world) for world in worlds]
                if any(done.returncode for done in checked):
                    continue  # one that can never apply
                edges = self.diff(*worlds)["changed"]
                answer = self.diff(*worlds, "--prove")
                types = {(one["principal"], one["action"], one["resource"]): one for one in answer["proof"]["types"]}
                for one in types.values():
                    self.assertNotIn("contradicts", one.get("why", ""), one)
                    equivalent += one["outcome"] == "equivalent" and one["by"] == "proven"
                    different += one["outcome"].endswith("permissive")
                for edge in edges:
                    one = types[edge["principal"].split("/")[0], edge["action"], edge["resource"].split("/")[0]]
                    change = edge["old"]["outcome"], edge["new"]["outcome"]
                    if set(change) <= {"allow", "deny"}:
                        certain += 1
                        self.assertNotEqual(one["outcome"], "equivalent", edge)
                        forbidden = "more-permissive" if change == ("allow", "deny") else "less-permissive"
                        self.assertNotEqual(one["outcome"], forbidden, edge)
        print(f"{PAIRS} pairs: {equivalent} types proven equivalent, {different} proven different, {certain} certain edges", file=sys.stderr)
        self.assertGreater(min(certain, equivalent, different), 0)


if __name__ == "__main__":
    unittest.main()
