"""AWS's SDK asks Bedrock through the gateway: its own signature is no credential, and what the gateway signs is what Bedrock verifies."""

import contextlib
import json
import os
import unittest

import boto3
import botocore.exceptions
from botocore.config import Config

import simulator
from simulator import API_KEY, ID, MODEL, REGION, SECRET, SESSION
from stage import Stage

CREDENTIALS = {"pair": f"{ID}:{SECRET}", "session": f"{ID}:{SECRET}:{SESSION}", "key": API_KEY, "wrong": f"{ID}:{SECRET}x"}
RESOURCES = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: models}
spec:
  owner: ada.lovelace@example.com
  team: models
  purpose: Asks models
  riskLevel: low
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: models, namespace: models}
spec:
  description: The bot may ask the simulator.
  cedar: |
    permit (principal == Agent::"models/bot", action == Action::"callModel", resource)
    unless { resource == Model::"models/pair/vendor.other" };
"""
PROVIDER = """
---
apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {{name: {name}, namespace: models}}
spec:
  owner: ada.lovelace@example.com
  type: bedrock
  region: {region}
  endpoint: {{url: "http://127.0.0.1:{port}"}}
  credential: {{file: {name}.key}}
  models: [{{name: "{model}"}}, {{name: vendor.other}}]
  aliases: {{fast: "{model}"}}
"""
GUARD = """
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: no-cards, namespace: models}
spec:
  description: No model answers with a card's number.
  cedar: |
    @guard_answer("personal_data") forbid (principal, action == Action::"callModel", resource == Model::"models/session/vendor.simulator-v1:0");
"""
ASKED = [{"role": "user", "content": [{"text": "Hello there"}]}]


class Bedrock(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.upstream = simulator.start()
        cls.addClassCleanup(cls.upstream.shutdown)
        cls.stage = Stage(bare=True)
        cls.addClassCleanup(cls.stage.close)
        port = cls.upstream.server_address[1]
        providers = ""
        for name, text in CREDENTIALS.items():
            file = cls.stage.secrets / f"{name}.key"
            file.write_text(text + "\n")
            file.chmod(0o600)
            providers += PROVIDER.format(name=name, port=port, region=REGION, model=MODEL)
        cls.stage.add("estate", RESOURCES + providers + GUARD)
        cls.stage.serve()
        cls.token = cls.stage.token("bot")
        cls.authorities = cls.stage.root / "gateway-ca.pem"
        cls.authorities.write_text(cls.stage.vidimus("identity", "bundle", "--data", str(cls.stage.data)).stdout)

    @contextlib.contextmanager
    def client(self, provider="pair", token=None, **config):
        """boto3 with the token as its API key, which it sends over TLS alone; with none, it signs by a key of the caller's own."""
        given = {} if token is None else {"AWS_BEARER_TOKEN_BEDROCK": token}
        kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
        os.environ.update(given)
        try:
            keys = {} if token else {"aws_access_key_id": "AKIACALLER", "aws_secret_access_key": "the-callers-own"}
            yield boto3.client(
                "bedrock-runtime", region_name=REGION, verify=str(self.authorities),
                endpoint_url=f"https://localhost:{self.stage.tls}/llm/models/{provider}",
                config=Config(retries={"total_max_attempts": 1}, **config), **keys,
            )
        finally:
            for name in given:
                os.environ.pop(name)
            os.environ.update(kept)

    def seen(self):
        with self.upstream.lock:
            return list(self.upstream.seen)

    def effect(self, answer):
        call = answer["ResponseMetadata"]["HTTPHeaders"]["vidimus-call"]
        [effect] = [row for row in self.stage.records("--kind", "effect") if row["id"] == call]
        return effect

    def test_a_conversation_whole_and_in_a_stream_by_each_credential(self):
        for provider in ("pair", "session", "key"):
            for model in (MODEL, "fast"):
                with self.subTest(provider=provider, model=model), self.client(provider, self.token) as client:
                    before = len(self.seen())
                    answer = client.converse(modelId=model, messages=ASKED)
                    self.assertIn("You said: Hello there", answer["output"]["message"]["content"][0]["text"])
                    self.assertEqual(self.effect(answer)["tokens_output"], answer["usage"]["outputTokens"])
                    answer = client.converse_stream(modelId=model, messages=ASKED, inferenceConfig={"maxTokens": 100})
                    events = list(answer["stream"])
                    text = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)
                    self.assertEqual(text, "This is a simulator. You said: Hello there ")
                    self.assertEqual(events[-1]["metadata"]["usage"]["outputTokens"], 8)
                    self.assertEqual(self.effect(answer)["tokens_output"], 8)
                    for request in self.seen()[before:]:
                        self.assertTrue(request["known"], request)
                        self.assertNotIn(self.token, json.dumps(request))
                        self.assertIn("vendor.simulator-v1%3A0", request["path"])

    def test_a_callers_own_signature_is_no_credential(self):
        before = len(self.seen())
        with self.client() as client, self.assertRaises(botocore.exceptions.ClientError) as raised:
            client.converse(modelId=MODEL, messages=ASKED)
        self.assertEqual(raised.exception.response["ResponseMetadata"]["HTTPStatusCode"], 401)
        self.assertIn("AWS_BEARER_TOKEN_BEDROCK", str(raised.exception))
        self.assertEqual(len(self.seen()), before)

    def test_what_is_signed_by_another_key_is_not_taken_for_the_callers_fault(self):
        with self.client("wrong", self.token) as client, self.assertRaises(botocore.exceptions.ClientError) as raised:
            client.converse(modelId=MODEL, messages=ASKED)
        answer = raised.exception.response["ResponseMetadata"]
        self.assertEqual((answer["HTTPStatusCode"], answer["HTTPHeaders"]["vidimus-code"]), (502, "credential_refused"))
        self.assertNotIn("security token", str(raised.exception))
        self.assertFalse(self.seen()[-1]["known"])

    def test_refusals_and_errors_are_those_that_the_sdk_knows(self):
        for said, model, stream, code in (
            ("Hello", "vendor.other", False, "AccessDeniedException"),
            ("Hello", "vendor.unheard-of", False, "ResourceNotFoundException"),
            ("slow down", MODEL, False, "ThrottlingException"),
            ("break", MODEL, True, "throttlingException"),
        ):
            with self.subTest(said=said, model=model), self.client("pair", self.token) as client:
                asked = [{"role": "user", "content": [{"text": said}]}]
                with self.assertRaises(botocore.exceptions.ClientError) as raised:
                    if stream:
                        list(client.converse_stream(modelId=model, messages=asked)["stream"])
                    else:
                        client.converse(modelId=model, messages=asked)
                self.assertEqual(raised.exception.response["Error"]["Code"], code)

    def test_what_a_guard_finds_in_a_stream_is_an_error_that_the_sdk_raises(self):
        asked = [{"role": "user", "content": [{"text": "my card is 4111 1111 1111 1111 thanks"}]}]
        heard = []
        with self.client("session", self.token) as client, self.assertRaises(botocore.exceptions.EventStreamError) as raised:
            for event in client.converse_stream(modelId=MODEL, messages=asked)["stream"]:
                heard.append(event)
        self.assertIn("change_impossible", str(raised.exception))
        self.assertNotIn("1111 1111", json.dumps(heard))

    def test_an_sdk_of_another_api_is_answered(self):
        body = {"model": "fast", "messages": [{"role": "user", "content": "Hello there"}]}
        status, _, answer = self.stage.post("/llm/models/pair/v1/chat/completions", body, self.token)
        self.assertEqual((status, answer["choices"][0]["message"]["content"]), (200, "This is a simulator. You said: Hello there "))
        status, _, answer = self.stage.post("/llm/models/pair/v1/chat/completions", {**body, "stream": True}, self.token, raw=True)
        self.assertEqual((status, answer.rstrip().endswith(b"data: [DONE]")), (200, True))
        self.assertTrue(all(request["known"] for request in self.seen()[-2:]))


if __name__ == "__main__":
    unittest.main()
