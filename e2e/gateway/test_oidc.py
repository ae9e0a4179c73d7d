"""Callers known by a token of a real OpenID Connect provider: issuer, subject, audience, and keys that change."""

import json
import unittest

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from message import call, modern
from oidc import Provider
from stage import Stage

LEDGER = "/mcp/finance/ledger"
AGENT = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: {name}, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Known by its token
  riskLevel: low
  environment: production
  groups: [finance-agents]
  identities: [{{oidc: {{issuer: "{issuer}", subject: "{name}"}}}}]
---
"""
SERVICE = """
apiVersion: vidimus.dev/v1alpha1
kind: ServiceIdentity
metadata: {{name: nightly, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: low
  environment: production
  groups: [finance-agents]
  identities: [{{oidc: {{issuer: "{issuer}", subject: "job:nightly"}}}}]
"""

STAGE = None


def provider(name, **options):
    return Provider(STAGE, name, (f"{name}-bot", "job:nightly", "nobody-knows-me"), **options)


def setUpModule():
    """`es` and `rs` are registered issuers, `foreign` is a provider as good as they, which nobody registered."""
    global STAGE, ES, RS, FOREIGN
    STAGE = Stage("ledger")
    ES, RS, FOREIGN = provider("es"), provider("rs", alg="RS256"), provider("foreign")
    agents = "".join(AGENT.format(name=f"{provider.name}-bot", issuer=provider.issuer) for provider in (ES, RS))
    STAGE.add("oidc", agents + SERVICE.format(issuer=ES.issuer))
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def ask(token):
    """The status, the code (`ok` when the tool answered) and the id of one call with this token."""
    message, headers = modern(call("get_invoice", {"id": "INV-1"}))
    status, reply, body = STAGE.post(LEDGER, message, token, headers)
    if "INV-1" in json.dumps(body.get("result")):
        return status, "ok", reply["vidimus-call"]
    return status, reply["vidimus-code"], reply["vidimus-call"]


class Oidc(unittest.TestCase):
    def refused(self, token, status, code):
        before = len(STAGE.seen("ledger"))
        got = ask(token)
        self.assertEqual(got[:2], (status, code))
        [record] = [row for row in STAGE.records("--kind", "refusal") if row["id"] == got[2]]
        self.assertEqual((record["code"], record.get("principal")), (code, None))
        self.assertEqual(len(STAGE.seen("ledger")), before, "the upstream saw nothing")

    def test_an_agent_and_a_service_call_with_their_providers_tokens(self):
        for provider, subject, principal in ((ES, None, "Agent/finance/es-bot"), (RS, None, "Agent/finance/rs-bot"),
                                             (ES, "job:nightly", "Service/finance/nightly")):
            with self.subTest(principal=principal):
                status, code, call_id = ask(provider.token(subject))
                self.assertEqual((status, code), (200, "ok"))
                [record] = [row for row in STAGE.records("--kind", "decision") if row["id"] == call_id]
                self.assertEqual(record["principal"], principal)
                self.assertEqual(record["identity"], f"oidc:{provider.issuer}#{subject or provider.name + '-bot'}")
                self.assertIsNone(record.get("user"))

    def test_a_token_for_somebody_else_is_refused(self):
        self.refused(ES.token(audience="urn:another-service"), 401, "token_audience")

    def test_a_subject_that_nobody_registered_is_refused(self):
        self.refused(ES.token("nobody-knows-me"), 401, "principal_unknown")
        # Registered, but with the other issuer: subjects count only together with their issuer.
        self.refused(RS.token("job:nightly"), 401, "principal_unknown")

    def test_an_issuer_that_nobody_registered_is_refused_and_never_asked(self):
        self.refused(FOREIGN.token(), 401, "token_issuer")
        self.assertEqual(FOREIGN.asked_for_keys(), [])

    def test_keys_rotate_and_a_key_that_was_never_published_opens_nothing(self):
        """One provider keeps its old key published, the other takes it back at once."""
        before = {provider: provider.token() for provider in (ES, RS)}
        for provider, token in before.items():
            self.assertEqual(ask(token)[1], "ok", provider.name)
            provider.rotate(keep=provider is ES)
        after = {provider: provider.token() for provider in (ES, RS)}
        for provider, token in after.items():
            self.assertNotEqual(jwt.get_unverified_header(token)["kid"], jwt.get_unverified_header(before[provider])["kid"])
            # An unknown key id makes the gateway ask again, but not more often than every ten seconds.
            STAGE.until(lambda: ask(token)[1] == "ok")
        self.assertEqual(ask(before[ES])[1], "ok", "the old key is still published")
        self.refused(before[RS], 401, "token_key_unknown")
        for provider, key in ((ES, ec.generate_private_key(ec.SECP256R1())), (RS, rsa.generate_private_key(65537, 2048))):
            claims = jwt.decode(after[provider], options={"verify_signature": False})
            published = jwt.get_unverified_header(after[provider])["kid"]
            for kid, code in (("never-published", "token_key_unknown"), (published, "token_signature")):
                with self.subTest(provider=provider.name, kid=kid):
                    self.refused(jwt.encode(claims, key, provider.alg, {"kid": kid}), 401, code)

    def test_invented_key_ids_do_not_make_the_gateway_ask_at_every_call(self):
        claims = jwt.decode(ES.token(), options={"verify_signature": False})
        key = ec.generate_private_key(ec.SECP256R1())
        before = len(ES.asked_for_keys())
        for n in range(60):
            self.assertEqual(ask(jwt.encode(claims, key, "ES256", {"kid": f"invented-{n}"}))[1], "token_key_unknown")
        self.assertLess(len(ES.asked_for_keys()) - before, 30)

    def test_an_issuer_that_is_down_before_its_keys_are_known(self):
        cold = provider("cold")
        STAGE.add("cold", AGENT.format(name="cold-bot", issuer=cold.issuer))
        token = cold.token()
        cold.process.terminate()
        cold.process.wait()
        STAGE.until(lambda: ask(token)[1] != "token_issuer")  # until the registration is in force
        self.refused(token, 503, "issuer_unreachable")
        again = provider("cold", port=cold.number)
        STAGE.until(lambda: ask(again.token())[1] == "ok")
        self.refused(token, 401, "token_key_unknown")  # it came back with another key


if __name__ == "__main__":
    unittest.main()
