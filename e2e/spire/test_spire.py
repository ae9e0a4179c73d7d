"""Workloads that SPIRE gave their identities, through the gateway; and the gateway following SPIRE's CA as it rotates."""

import os
import shutil
import unittest

from cryptography import x509
from curl import over_tls
from spire import DOMAIN, Spire
from stage import Stage

LEDGER = "/mcp/finance/ledger"
WORKLOAD = "ns/finance/sa/invoice-bot"
AGENT = f"""
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: spire-bot, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Known by what SPIRE attested
  riskLevel: low
  environment: production
  groups: [finance-agents]
  identities: [{{spiffe: "spiffe://{DOMAIN}/{WORKLOAD}"}}]
"""

STAGE = None


def setUpModule():
    """Two workloads have SVIDs of the same CA; one of them is registered with the gateway."""
    global STAGE, SPIRE, BUNDLE, REGISTERED, STRANGER
    STAGE = Stage("ledger")
    SPIRE = Spire(STAGE)
    REGISTERED, STRANGER = SPIRE.workload("invoice-bot", WORKLOAD), SPIRE.workload("stranger", "ns/finance/sa/stranger")
    STAGE.until(REGISTERED, 90)
    STAGE.until(STRANGER, 90)
    BUNDLE = STAGE.root / "corp.example.bundle"
    trust(SPIRE.bundle())
    STAGE.add("spire", AGENT)
    STAGE.flags = ("--trust-bundle", f"{DOMAIN}={BUNDLE}", "--log", "info,vidimus_gateway=debug")
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def trust(text):
    """Puts a bundle in its place as whoever distributes them does: at once, not line by line."""
    beside = BUNDLE.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, BUNDLE)


def ask(svid, version="--http2", token=None):
    return over_tls(STAGE, LEDGER, "get_invoice", token, (svid / "svid.0.pem", svid / "svid.0.key"), version)


def signer(svid):
    """The id of the authority that signed an SVID."""
    [leaf, *_] = x509.load_pem_x509_certificates((svid / "svid.0.pem").read_bytes())
    return leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier.hex()


class WithSpire(unittest.TestCase):
    def record(self, kind, answer):
        [record] = [row for row in STAGE.records("--kind", kind) if row["id"] == answer["call"]]
        return record

    def test_a_registered_workload_calls_a_tool(self):
        for version in ("--http2", "--http1.1"):
            with self.subTest(version):
                answer = ask(REGISTERED(), version)
                self.assertEqual(answer.get("code"), "ok", answer)
                self.assertIn("INV-1", answer["body"])
                record = self.record("decision", answer)
                self.assertEqual((record["principal"], record["identity"]), ("Agent/finance/spire-bot", f"spiffe://{DOMAIN}/{WORKLOAD}"))

    def test_a_workload_that_nobody_registered_is_refused(self):
        before = len(STAGE.seen("ledger"))
        answer = ask(STRANGER())
        self.assertEqual(answer.get("code"), "principal_unknown", answer)
        self.assertIn(f"spiffe://{DOMAIN}/ns/finance/sa/stranger", self.record("refusal", answer)["message"])
        self.assertEqual(len(STAGE.seen("ledger")), before)

    def test_z_the_gateway_follows_the_ca_as_it_rotates(self):
        """The last test: after it the first CA is revoked."""
        old = shutil.copytree(REGISTERED(), STAGE.root / "svid-of-the-first-ca")
        first = signer(old)
        second = SPIRE.authority("prepare")["prepared_authority"]["authority_id"]
        SPIRE.authority("activate", "-authorityID", second)
        SPIRE.authority("taint", "-authorityID", first)
        STAGE.until(lambda: (svid := REGISTERED()) and signer(svid) == second, 120)
        new = REGISTERED()
        self.assertNotEqual(ask(new)["exit"], 0, "the gateway was not told of the second CA")
        STAGE.until(lambda: STAGE.logged("TLS handshake failed") == 1)
        self.assertEqual(ask(old).get("code"), "ok")

        trust("-----BEGIN CERTIFICATE-----\nhalf of a file")
        STAGE.until(lambda: STAGE.logged("the trust bundle stays as it was") == 1)
        trust(SPIRE.bundle("spiffe"))  # both CAs, in the other format
        STAGE.until(lambda: ask(new).get("code") == "ok")
        self.assertEqual(ask(old).get("code"), "ok", "until the first CA is revoked its SVIDs are good")

        SPIRE.authority("revoke", "-authorityID", first)
        self.assertEqual(SPIRE.bundle().count("BEGIN CERTIFICATE"), 1)
        trust(SPIRE.bundle())
        STAGE.until(lambda: ask(old)["exit"] != 0)
        self.assertEqual(ask(new).get("code"), "ok")


if __name__ == "__main__":
    unittest.main()
