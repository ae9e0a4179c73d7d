"""A2A where the unmodified SDK speaks one binding at one end and another at the other: over HTTP+JSON to an agent of JSON-RPC or gRPC alone, and over
these to an agent of HTTP+JSON alone; and one version at one end and the other at the other. (JSON-RPC and gRPC to each other: test_grpc.py.)"""

import json
import unittest

from stage import Stage, free_port

STAGE = None

AGENT = """
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: {name}, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Says it again
  riskLevel: low
  environment: production
  capabilities: [financial-analysis]
  identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: {name}}}}}]
  endpoint: {endpoint}
"""

NEW = [("A2A-Version", "1.0")]
SAY = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "a b"}]}}


def setUpModule():
    global STAGE
    STAGE = Stage("echo")
    flags = ("--kind", "echo", "--versions", "1.0,0.3")
    over_grpc = free_port()
    rpc = STAGE.port(STAGE.start("rpc", "a2a_agent", *flags, "--bindings", "JSONRPC"))
    grpc = STAGE.port(STAGE.start("grpc", "a2a_agent", *flags, "--bindings", "GRPC", "--grpc-port", str(over_grpc)))
    rest = STAGE.port(STAGE.start("rest", "a2a_agent", *flags, "--bindings", "HTTP+JSON"))
    new = STAGE.port(STAGE.start("new", "a2a_agent", "--kind", "echo", "--versions", "1.0"))
    old = STAGE.port(STAGE.start("old", "a2a_agent", "--kind", "echo", "--versions", "0.3"))
    at = lambda port: f"http://127.0.0.1:{port}/"
    endpoints = {
        "of-rpc": {"url": at(rpc)},
        "of-grpc": {"url": at(over_grpc), "grpc": at(over_grpc), "card": f"{at(grpc)}.well-known/agent-card.json"},
        "of-rest": {"url": at(rest), "rest": at(rest), "restAlone": True},
        "of-new": {"url": at(new), "a2a": "1.0"},
        "of-old": {"url": at(old), "a2a": "0.3"},
    }
    STAGE.add("bindings", "---".join(AGENT.format(name=name, endpoint=json.dumps(endpoint)) for name, endpoint in endpoints.items()))
    STAGE.serve()


def tearDownModule():
    STAGE.close()


class Bindings(unittest.TestCase):
    def test_the_official_client_sends_streams_and_cancels_whatever_its_agent_speaks(self):
        for name, binding, log, path in (
            ("of-rpc", "HTTP+JSON", "rpc", r"^/$"),
            ("of-grpc", "HTTP+JSON", "grpc", r"^/lf\.a2a\.v1\.A2AService/CancelTask$"),
            ("of-rest", "HTTP+JSON", "rest", r"^/tasks/[^/]+:cancel$"),
            ("of-rest", "JSONRPC", "rest", r"^/tasks/[^/]+:cancel$"),
            ("of-rest", "GRPC", "rest", r"^/tasks/[^/]+:cancel$"),
        ):
            with self.subTest(name=name, binding=binding):
                steps = STAGE.client("a2a_client", f"/a2a/finance/{name}", STAGE.token("invoice-bot"), "--version", "1.0", "--binding", binding)
                for step in ("card", "send", "stream", "get", "cancel"):
                    self.assertTrue(steps[step]["ok"], steps[step])
                announced = {one["protocolBinding"] for one in steps["card"]["result"]["supportedInterfaces"] if one["protocolVersion"] == "1.0"}
                self.assertEqual(announced, {"JSONRPC", "HTTP+JSON", "GRPC"})
                self.assertEqual(steps["send"]["result"]["task"]["status"]["state"], "TASK_STATE_COMPLETED")
                words = [event["text"] for event in steps["stream"]["result"] if event["kind"] == "artifact_update"]
                self.assertEqual(words, ["one ", "two ", "three "])
                seen = STAGE.seen(log)[-1]
                self.assertEqual(seen["method"], "POST")
                self.assertRegex(seen["path"], path)
                headers = dict(seen["headers"])
                self.assertEqual(headers["a2a-version"], "1.0")
                self.assertNotIn(STAGE.token("invoice-bot"), json.dumps(headers), "the hop has a credential of its own")

    def test_the_official_client_of_0_3_over_http_json_reaches_an_agent_of_json_rpc(self):
        steps = STAGE.client("a2a_client", "/a2a/finance/of-rpc", STAGE.token("invoice-bot"), "--version", "0.3", "--binding", "HTTP+JSON")
        for step in ("card", "send", "stream", "get", "cancel"):
            self.assertTrue(steps[step]["ok"], steps[step])
        self.assertEqual(steps["send"]["result"]["task"]["status"]["state"], "TASK_STATE_COMPLETED")
        words = [event["text"] for event in steps["stream"]["result"] if event["kind"] == "artifact_update"]
        self.assertEqual(words, ["one ", "two ", "three "])
        seen = STAGE.seen("rpc")[-1]
        self.assertEqual((seen["path"], dict(seen["headers"])["a2a-version"]), ("/", "0.3"))

    def test_the_official_client_of_either_version_reaches_an_agent_of_the_other(self):
        for name, log, version, binding, spoken in (
            ("of-new", "new", "0.3", "JSONRPC", "1.0"),
            ("of-new", "new", "0.3", "HTTP+JSON", "1.0"),
            ("of-old", "old", "1.0", "JSONRPC", "0.3"),
            ("of-old", "old", "1.0", "HTTP+JSON", "0.3"),
            ("of-old", "old", "1.0", "GRPC", "0.3"),
        ):
            with self.subTest(name=name, binding=binding):
                steps = STAGE.client("a2a_client", f"/a2a/finance/{name}", STAGE.token("invoice-bot"), "--version", version, "--binding", binding)
                for step in ("card", "send", "stream", "get", "cancel"):
                    self.assertTrue(steps[step]["ok"], steps[step])
                self.assertEqual(steps["send"]["result"]["task"]["status"]["state"], "TASK_STATE_COMPLETED")
                words = [event["text"] for event in steps["stream"]["result"] if event["kind"] == "artifact_update"]
                self.assertEqual(words, ["one ", "two ", "three "])
                seen = STAGE.seen(log)[-1]
                self.assertEqual((seen["path"], dict(seen["headers"])["a2a-version"]), ("/", spoken))
                steps = STAGE.client("a2a_client", f"/a2a/finance/{name}", STAGE.token("invoice-bot"), "--version", version, "--binding", binding,
                                     "--steps", "get", "--task", "not-mine")
                self.assertEqual(steps["get"]["error"]["type"], "TaskNotFoundError", steps)

    def test_an_error_is_the_one_that_the_official_client_knows(self):
        for name, binding in (("of-rpc", "HTTP+JSON"), ("of-grpc", "HTTP+JSON"), ("of-rest", "JSONRPC"), ("of-rest", "GRPC")):
            with self.subTest(name=name, binding=binding):
                steps = STAGE.client("a2a_client", f"/a2a/finance/{name}", STAGE.token("invoice-bot"), "--version", "1.0", "--binding", binding,
                                     "--steps", "get", "--task", "not-mine")
                self.assertEqual(steps["get"]["error"]["type"], "TaskNotFoundError", steps)
        # An error of the agent's own: a task that has ended is not cancelled.
        token = STAGE.token("invoice-bot")
        for name in ("of-rpc", "of-grpc", "of-rest"):
            with self.subTest(name=name):
                status, _, said = STAGE.post(f"/a2a/finance/{name}/message:send", SAY, token, NEW)
                self.assertEqual(status, 200, said)
                ended = said["task"]["id"]
                status, reply, said = STAGE.post(f"/a2a/finance/{name}/tasks/{ended}:cancel", {}, token, NEW)
                self.assertEqual((status, reply.get("vidimus-code")), (400, None), said)
                self.assertEqual(said["error"]["details"][0]["reason"], "TASK_NOT_CANCELABLE")
                status, _, said = STAGE.post(f"/a2a/finance/{name}", {"jsonrpc": "2.0", "id": 1, "method": "CancelTask", "params": {"id": ended}},
                                             token, NEW)
                self.assertEqual((status, said["error"]["code"]), (200, -32002), said)

    def test_a_task_is_its_makers_and_what_is_asked_is_said_once(self):
        token, other = STAGE.token("invoice-bot"), STAGE.token("hop-one")
        for name, log in (("of-rpc", "rpc"), ("of-grpc", "grpc"), ("of-rest", "rest")):
            with self.subTest(name=name):
                at = f"/a2a/finance/{name}"
                _, reply, said = STAGE.post(f"{at}/message:send", SAY, token, NEW)
                made = said["task"]["id"]
                [raw] = [row["task"] for row in STAGE.records("--kind", "effect") if row["id"] == reply["vidimus-call"]]
                self.assertNotEqual(made, raw)
                # The handle that one binding gives is good in the others.
                ask = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": made}}
                self.assertEqual(STAGE.post(at, ask, token, NEW)[2]["result"]["id"], made)
                self.assertEqual(STAGE.post(f"{at}/tasks/{made}", None, token, NEW, method="GET")[2]["id"], made)
                before = len(STAGE.seen(log))
                for bearer, method, path, body, code in (
                    (other, "GET", f"/tasks/{made}", None, "task_foreign"),
                    (token, "GET", f"/tasks/{raw}", None, "task_foreign"),
                    (token, "POST", f"/tasks/{made}:cancel", {"id": raw}, "message_invalid"),
                    (token, "GET", f"/tasks/{made}?id={raw}", None, "message_invalid"),
                    (token, "GET", f"/other/tasks/{made}", None, "member_undecided"),
                    (token, "POST", "/message:send", {**SAY, "tenant": "finance/echo"}, "member_undecided"),
                ):
                    _, reply, _ = STAGE.post(at + path, body, bearer, NEW, method=method)
                    self.assertEqual(reply["vidimus-code"], code, path)
                self.assertEqual(len(STAGE.seen(log)), before)


if __name__ == "__main__":
    unittest.main()
