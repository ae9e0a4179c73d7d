"""The door for other enforcement points: clients that others wrote, and the page that says how to ask."""

import asyncio
import json
import os
import pathlib
import re
import subprocess
import unittest

from apparitor.client import AuthZENClient
from apparitor.config import ScannerConfig
from apparitor.errors import AuthZENClientError
from apparitor.models import (Action, BatchEvaluationRequest, EvaluationItem, EvaluationRequest, EvaluationSemantic,
                              EvaluationsOptions, Resource, Subject)
from decern import Client, DecernError
from stage import Stage

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/authzen.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)

BOT = Subject(type="Agent", id="finance/invoice-bot")
INVOKE = Action(name="invokeTool")

RESOURCES = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: invoice-bot, namespace: finance}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Matches invoices to purchase orders
  riskLevel: low
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: invoice-bot}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: ledger, namespace: finance}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: medium
  endpoint: {url: "http://127.0.0.1:1/mcp"}
  toolSets: {readonly: [get_invoice, list_invoices]}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: reads, namespace: finance}
spec:
  description: Who is of finance reads, and transfers at most 10,000.
  cedar: |
    permit (principal, action == Action::"invokeTool", resource in ToolSet::"readonly");
    permit (principal, action == Action::"invokeTool", resource == Tool::"finance/ledger/transfer")
    when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 10000 };
"""


def tool(name):
    return Resource(type="Tool", id=f"finance/ledger/{name}")


def matches(shown, found):
    """Whether all that is shown is found: a page leaves members out."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and all(name in found and matches(value, found[name]) for name, value in shown.items())
    if isinstance(shown, list):
        return isinstance(found, list) and len(shown) == len(found) and all(map(matches, shown, found))
    return shown == found


class AuthZen(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = Stage(bare=True)
        cls.addClassCleanup(cls.stage.close)
        policy = next(text for kind, text in BLOCK.findall(PAGE.read_text()) if kind == "yaml")
        cls.stage.add("estate", RESOURCES + "---\n" + policy)
        cls.stage.serve()
        cls.admin = f"http://127.0.0.1:{cls.stage.admin}"
        cls.token = cls.operator("edge")

    @classmethod
    def operator(cls, name):
        return cls.stage.vidimus("identity", "operator", "--data", str(cls.stage.data), "--name", name).stdout.strip()

    def asked(self, ask, token=None):
        """What `ask` gets of a client of the first kind, which reads strictly."""
        config = ScannerConfig(pdp_url=self.admin, allow_insecure_pdp=True, request_budget_s=30, read_timeout_s=30,
                               default_headers={"Authorization": f"Bearer {token or self.token}"})

        async def run():
            async with AuthZENClient(config) as client:
                return await ask(client)

        return asyncio.run(run())

    def decision(self, name, **context):
        request = EvaluationRequest(subject=BOT, action=INVOKE, resource=tool(name), context=context or None)
        return self.asked(lambda client: client.evaluate(request))

    def test_a_strict_client_is_answered(self):
        self.assertTrue(self.decision("get_invoice").decision)
        self.assertTrue(self.decision("transfer", arguments={"amount": 10000}).decision)
        denied = self.decision("transfer", arguments={"amount": 10001})
        self.assertFalse(denied.decision)
        self.assertEqual(denied.context["code"], "no_permit")

    def test_its_batches_are_answered_in_order(self):
        items = [EvaluationItem(resource=tool(name)) for name in ("list_invoices", "drop", "get_invoice")]
        for semantic, expected in ((EvaluationSemantic.EXECUTE_ALL, [True, False, True]),
                                   (EvaluationSemantic.DENY_ON_FIRST_DENY, [True, False]),
                                   (EvaluationSemantic.PERMIT_ON_FIRST_PERMIT, [True])):
            request = BatchEvaluationRequest(subject=BOT, action=INVOKE, evaluations=items,
                                             options=EvaluationsOptions(evaluations_semantic=semantic))
            answer = self.asked(lambda client: client.evaluate_batch(request))
            self.assertEqual([one.decision for one in answer.evaluations], expected, semantic)

    def test_who_may_not_ask_gets_no_decision(self):
        request = EvaluationRequest(subject=BOT, action=INVOKE, resource=tool("get_invoice"))
        for token, status in ((self.operator("somebody"), 403), ("x.y.z", 401)):
            with self.assertRaises(AuthZENClientError) as refused:
                self.asked(lambda client: client.evaluate(request), token)
            self.assertEqual(refused.exception.status_code, status)

    def test_another_client_finds_the_record_of_its_answer(self):
        client = Client(self.admin, token=self.token)
        self.assertTrue(client.healthy())
        allowed = client.evaluate({"type": "Agent", "id": "finance/invoice-bot"}, "invokeTool",
                                  {"type": "Tool", "id": "finance/ledger/get_invoice"})
        self.assertTrue(allowed.allowed)
        shown = self.stage.vidimus("audit", "show", allowed.context["id"], "--data", str(self.stage.data), "-o", "json").stdout
        for says in ("authzen", "User/urn:vidimus:local#edge", "finance/reads"):
            self.assertIn(says, shown)
        with self.assertRaises(DecernError) as refused:
            Client(self.admin).evaluate({"type": "Agent", "id": "x"}, "y", {"type": "Tool", "id": "z"})
        self.assertEqual(refused.exception.status_code, 401)

    def test_the_examples_of_the_page_answer_as_it_shows(self):
        blocks = [(kind, text) for kind, text in BLOCK.findall(PAGE.read_text()) if kind in ("sh", "json")]
        self.assertEqual([kind for kind, _ in blocks], ["sh", "json"] * 3)
        for (_, command), (_, shown) in zip(blocks[::2], blocks[1::2]):
            ran = subprocess.run(["bash", "-euc", command], capture_output=True, text=True,
                                 env={**os.environ, "ADMIN": self.admin, "TOKEN": self.token})
            self.assertEqual((ran.returncode, ran.stderr), (0, ""), command)
            self.assertTrue(matches(json.loads(shown), json.loads(ran.stdout)), f"{command}{shown}{ran.stdout}")


if __name__ == "__main__":
    unittest.main()
