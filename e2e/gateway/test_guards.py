"""Guards on what models answer, for the official clients: what is held back arrives, and what is found is an error that they raise."""

import json
import unittest

from stage import Stage

CARD = "4111 1111 1111 1111"
GUARDED = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: no-cards, namespace: platform}}
spec:
  description: No model answers with a card's number.
  cedar: |
    @guard_answer("personal_data") {also}
    forbid (principal, action == Action::"callModel", resource);
"""
# By which client, at which address, and which of its steps have an answer of a model's.
CLIENTS = (
    ("openai_client", "/llm/platform/simulator/v1", ("chat", "stream", "plain_stream", "respond", "respond_stream")),
    ("openai_client", "/llm/platform/azure-simulator/openai/v1", ("chat", "stream")),
    ("anthropic_client", "/llm/platform/claude-simulator", ("message", "stream")),
    ("gemini_client", "/llm/platform/gemini-simulator", ("generate", "stream")),
)


class Guards(unittest.TestCase):
    def staged(self, also=""):
        stage = Stage("model")
        self.addCleanup(stage.close)
        stage.add("guards", GUARDED.format(also=also))
        stage.serve()
        return stage

    def each(self, stage, text):
        """Every step of every client that is answered this text."""
        for part, path, names in CLIENTS:
            steps = stage.client(part, path, stage.token("invoice-bot"), "--text", text, "--steps", ",".join(names))
            for name in names:
                yield {"client": part, "path": path, **steps[name]}

    def test_what_nothing_is_found_in_arrives_whole(self):
        long = " ".join(["the chairs leave on Tuesday and are with you soon"] * 40)
        for step in self.each(self.staged(), long):
            self.assertTrue(step["ok"], step)
            self.assertIn("soon", json.dumps(step))

    def test_what_is_found_is_an_error_that_the_client_raises(self):
        stage = self.staged()
        for step in self.each(stage, f"my card is {CARD} thanks"):
            self.assertFalse(step["ok"], step)
            self.assertIn("change_impossible", json.dumps(step["error"]))
            self.assertNotIn("1111", json.dumps(step))
        effects = stage.records("--kind", "effect")
        self.assertTrue(effects)
        for effect in effects:
            self.assertEqual((effect["result"], effect["code"]), ("failed", "change_impossible"), effect)
            self.assertTrue(effect["detail"].startswith("guard.personal_data: found: card 1"), effect)

    def test_what_is_redacted_is_read_by_every_client(self):
        for step in self.each(self.staged('@on_finding("redact")'), f"my card is {CARD} thanks"):
            self.assertTrue(step["ok"], step)
            self.assertIn("[redacted:card]", json.dumps(step))
            self.assertNotIn("1111", json.dumps(step))


if __name__ == "__main__":
    unittest.main()
