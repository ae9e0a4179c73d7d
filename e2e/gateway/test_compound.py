"""A workload by its X.509-SVID, and the person it acts for by a token of a real OpenID Connect provider: both at once."""

import http.client
import json
import os
import ssl
import unittest

from curl import over_tls
from message import call, claims, modern
from oidc import Provider
from stage import Stage

LEDGER = "/mcp/finance/ledger"
HANDSHAKE = "TLS handshake failed"
WORKLOAD = "spiffe://vidimus.local/ns/finance/sa/assistant"
ESTATE = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: assistant, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Does what the person in front of it asks for
  riskLevel: low
  environment: production
  identities: [{{spiffe: "spiffe://vidimus.local/ns/finance/sa/assistant"}}]
  actsFor: [{{issuer: "{staff}"}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: partner-bot, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Makes the partners' issuer a known one
  riskLevel: low
  environment: production
  identities: [{{oidc: {{issuer: "{partners}", subject: "partner-bot"}}}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: for-grace, namespace: finance}}
spec:
  description: The assistant may read invoices, but only for Grace.
  cedar: |
    permit (principal == Agent::"finance/assistant", action == Action::"invokeTool", resource == Tool::"finance/ledger/get_invoice")
    when {{ context has on_behalf_of && context.on_behalf_of == User::"{staff}#grace" }};
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: for-staff, namespace: finance}}
spec:
  description: The assistant may list invoices for everybody of our own staff.
  cedar: |
    permit (principal == Agent::"finance/assistant", action == Action::"invokeTool", resource == Tool::"finance/ledger/list_invoices")
    when {{ context has on_behalf_of && context.on_behalf_of.issuer == "{staff}" }};
"""

ALLY = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: ally, namespace: finance}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Known by an SVID of another trust domain
  riskLevel: low
  environment: production
  groups: [finance-agents]
  identities: [{spiffe: "spiffe://ally.example/bot"}]
"""

STAGE = None


def setUpModule():
    """`staff` is an issuer whose people the assistant acts for; `partners` is a known one, `foreign` is not known at all."""
    global STAGE, STAFF, PARTNERS, FOREIGN
    STAGE = Stage("ledger", flags=("--log", "info,vidimus_gateway=debug"))
    STAFF, PARTNERS, FOREIGN = (Provider(STAGE, name, ("grace", "linus", "partner-bot")) for name in ("staff", "partners", "foreign"))
    STAGE.add("compound", ESTATE.format(staff=STAFF.issuer, partners=PARTNERS.issuer))
    STAGE.vidimus("identity", "init", "--data", str(STAGE.root / "ally"), "--trust-domain", "ally.example")
    ally_bundle(STAGE.vidimus("identity", "bundle", "--data", str(STAGE.root / "ally")).stdout)
    STAGE.add("ally", ALLY)
    STAGE.flags += ("--trust-bundle", f"ally.example={STAGE.root / 'ally.bundle'}")
    STAGE.serve()
    STAGE.vidimus("identity", "svid", "--data", str(STAGE.data), "--spiffe-id", WORKLOAD, "--out", str(STAGE.root / "assistant"))


def ally_bundle(text):
    """Puts the trust bundle of ally.example in its place at once."""
    beside = STAGE.root / "ally.new"
    beside.write_text(text)
    os.replace(beside, STAGE.root / "ally.bundle")


def tearDownModule():
    STAGE.close()


def curl(tool, token=None, svid="assistant", version="--http2"):
    files = svid and (STAGE.root / svid / "svid.pem", STAGE.root / svid / "svid-key.pem")
    return over_tls(STAGE, LEDGER, tool, token, files, version)


class Compound(unittest.TestCase):
    def record(self, kind, answer):
        [record] = [row for row in STAGE.records("--kind", kind) if row["id"] == answer["call"]]
        return record

    def test_the_person_decides_what_the_workload_may(self):
        for version, spoken in (("--http2", "2"), ("--http1.1", "1.1")):
            for tool, person, policies in (("get_invoice", "grace", ["finance/for-grace"]), ("get_invoice", "linus", None),
                                           ("list_invoices", "linus", ["finance/for-staff"]), ("get_invoice", None, None)):
                with self.subTest(version=version, tool=tool, person=person):
                    answer = curl(tool, person and STAFF.token(person), version=version)
                    self.assertEqual((answer["version"], answer["code"]), (spoken, "ok" if policies else "no_permit"), answer)
                    record = self.record("decision", answer)
                    self.assertEqual((record["principal"], record["identity"]), ("Agent/finance/assistant", WORKLOAD))
                    self.assertEqual(record.get("user"), f"{STAFF.issuer}#{person}" if person else None)
                    self.assertEqual(record["outcome"], "allow" if policies else "deny")
                    if policies:
                        self.assertEqual(record["policies"], policies)

    def test_the_upstream_gets_both_and_neither_credential(self):
        before = len(STAGE.seen("ledger"))
        token = STAFF.token("grace")
        self.assertEqual(curl("get_invoice", token)["code"], "ok")
        [request] = STAGE.seen("ledger")[before:]
        self.assertNotIn(token, json.dumps(request))
        minted = claims(dict(request["headers"])["authorization"])
        self.assertEqual((minted["sub"], minted["act"]["sub"]), (f"{STAFF.issuer}#grace", "Agent/finance/assistant"))

    def test_half_of_it_or_the_wrong_half_is_refused(self):
        before = len(STAGE.seen("ledger"))
        own = STAGE.token("assistant-by-token", "--user", "grace")
        for name, token, svid, code in (
            ("a person's token alone", STAFF.token("grace"), None, "principal_unknown"),
            ("a person of a known issuer for whose people it does not act", PARTNERS.token("grace"), "assistant", "user_not_allowed"),
            ("a person of an unknown issuer", FOREIGN.token("grace"), "assistant", "token_issuer"),
            ("a person's token for another service", STAFF.token("grace", "urn:another-service"), "assistant", "token_audience"),
            ("two principals", PARTNERS.token("partner-bot"), "assistant", "credential_ambiguous"),
            ("an actor that nobody registered", own, "assistant", "principal_unknown"),
            ("nobody", None, None, "credential_missing"),
        ):
            with self.subTest(name):
                answer = curl("get_invoice", token, svid)
                self.assertEqual(answer["code"], code, answer)
                self.assertEqual(self.record("refusal", answer)["code"], code)
        self.assertEqual(len(STAGE.seen("ledger")), before, "the upstream saw nothing")

    def test_a_certificate_of_a_foreign_ca_ends_the_handshake(self):
        """The same SPIFFE ID, issued by the CA of another installation that has the same trust domain."""
        other, svid = STAGE.root / "other", STAGE.root / "forged"
        STAGE.vidimus("identity", "init", "--data", str(other))
        STAGE.vidimus("identity", "svid", "--data", str(other), "--spiffe-id", WORKLOAD, "--out", str(svid))
        records = len(STAGE.records())
        for version in ("--http2", "--http1.1"):
            with self.subTest(version):
                failed = STAGE.logged(HANDSHAKE)
                answer = curl("get_invoice", STAFF.token("grace"), "forged", version)
                self.assertNotEqual(answer["exit"], 0, answer)
                STAGE.until(lambda: STAGE.logged(HANDSHAKE) == failed + 1)
        self.assertEqual(len(STAGE.records()), records, "what did not get through the handshake is no call")
        self.assertEqual(curl("get_invoice", STAFF.token("grace"))["code"], "ok")


    def test_an_open_connection_is_refused_when_its_ca_is_trusted_no_longer(self):
        svid, ca = STAGE.root / "ally-bot", STAGE.vidimus("identity", "bundle", "--data", str(STAGE.root / "ally")).stdout
        STAGE.vidimus("identity", "svid", "--data", str(STAGE.root / "ally"), "--spiffe-id", "spiffe://ally.example/bot", "--out", str(svid))
        context = ssl.create_default_context(cadata=STAGE.vidimus("identity", "bundle", "--data", str(STAGE.data)).stdout)
        context.load_cert_chain(svid / "svid.pem", svid / "svid-key.pem")
        connection = http.client.HTTPSConnection("localhost", STAGE.tls, context=context, timeout=60)
        self.addCleanup(connection.close)
        connection.connect()
        socket = connection.sock

        def ask():
            message, headers = modern(call("get_invoice", {"id": "INV-1"}))
            headers = {**dict(headers), "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
            connection.request("POST", LEDGER, json.dumps(message), headers)
            answer = connection.getresponse()
            answer.read()
            self.assertIs(connection.sock, socket, "the connection stays open")
            return answer.headers.get("vidimus-code", "ok")

        # A refusal that does not wait for the body ends the connection, so it comes last.
        for what, text, code in (("as it was", ca, "ok"), ("it says nothing", "", "ok"), ("all are revoked", '{"keys":[]}', "svid_invalid")):
            with self.subTest(what):
                ally_bundle(text)
                STAGE.until(lambda: text or STAGE.logged("the trust bundle stays as it was"))
                STAGE.until(lambda: ask() == code)


if __name__ == "__main__":
    unittest.main()
