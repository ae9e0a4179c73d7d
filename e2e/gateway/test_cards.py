"""Cards that a real agent signs by the official SDK, and that the official client verifies at the gateway."""

import json
import unittest

import jwt
from a2a.client.card_resolver import parse_agent_card
from a2a.utils.signing import InvalidSignaturesError, create_signature_verifier
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from stage import Stage

STAGE = KEY = None
CARD = "/a2a/finance/signed/.well-known/agent-card.json"

RESOURCES = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: invoice-bot, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Calls
  riskLevel: low
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: invoice-bot}}}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: signed, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Signs its card
  riskLevel: low
  endpoint: {{url: "http://127.0.0.1:{port}/", rest: "http://127.0.0.1:{port}/"}}
  card: {{keys: [{key}]}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: calls, namespace: finance}}
spec:
  description: The bot may call.
  cedar: permit (principal == Agent::"finance/invoice-bot", action == Action::"callAgent", resource);
"""


def new_key(name):
    """A private key, with its public half."""
    private = ec.generate_private_key(ec.SECP256R1())
    given = json.loads(ECAlgorithm.to_jwk(private)) | {"kid": name}
    return given, {member: given[member] for member in ("kty", "crv", "x", "y", "kid")}


def setUpModule():
    global STAGE, KEY
    STAGE = Stage(bare=True)
    KEY = STAGE.root / "card.key"
    private, public = new_key("agent-1")
    KEY.write_text(json.dumps(private))
    agent = STAGE.start("signed", "a2a_agent", "--kind", "echo", "--bindings", "JSONRPC,HTTP+JSON", "--sign", str(KEY))
    STAGE.add("agents", RESOURCES.format(port=STAGE.port(agent), key=json.dumps(public)))
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def card():
    return STAGE.post(CARD, None, STAGE.token("invoice-bot"), method="GET")


def published(kid, _jku):
    """The gateway's key of this name, as a client finds it."""
    keys = STAGE.post("/.well-known/jwks.json", None, method="GET")[2]["keys"]
    return jwt.PyJWK(next(key for key in keys if key["kid"] == kid))


class Cards(unittest.TestCase):
    def test_a_signed_card_passes_and_is_signed_by_the_gateway(self):
        status, _, given = card()
        self.assertEqual(status, 200, given)
        verify = create_signature_verifier(published, ["ES256"])
        verify(parse_agent_card(json.loads(json.dumps(given))))
        served = {one["protocolBinding"]: one["url"] for one in given["supportedInterfaces"]}
        address, authority = f"{STAGE.url}/a2a/finance/signed", STAGE.url.removeprefix("http://")
        self.assertEqual(served, {"JSONRPC": address, "HTTP+JSON": address, "GRPC": authority})
        given["description"] = "Another one."
        with self.assertRaises(InvalidSignaturesError):
            verify(parse_agent_card(given))
        for flags in (("--version", "1.0"), ("--version", "0.3"), ("--binding", "HTTP+JSON", "--version", "1.0")):
            steps = STAGE.client("a2a_client", "/a2a/finance/signed", STAGE.token("invoice-bot"), "--steps", "send", *flags)
            self.assertTrue(steps["send"]["ok"], steps)

    def test_a_card_of_another_key_and_a_changed_one_are_refused(self):
        own = KEY.read_text()
        self.assertEqual(card()[0], 200)
        for change in (lambda: KEY.write_text(json.dumps(new_key("agent-1")[0])), KEY.with_suffix(".changed").touch):
            change()
            try:
                status, headers, body = card()
                self.assertEqual((status, headers["vidimus-code"]), (502, "card_unverified"), body)
            finally:
                KEY.write_text(own)
                KEY.with_suffix(".changed").unlink(missing_ok=True)
        self.assertEqual(card()[0], 200)
        self.assertIn("card_unverified", [record.get("code") for record in STAGE.records("--kind", "effect")])


if __name__ == "__main__":
    unittest.main()
