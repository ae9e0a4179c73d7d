"""A2A over gRPC: the unmodified SDK as client and as server, where both speak it and where only one of them does."""

import json
import unittest

import grpc
from a2a.compat.v0_3 import a2a_v0_3_pb2 as old_pb2, a2a_v0_3_pb2_grpc as old_pb2_grpc
from a2a.types import a2a_pb2, a2a_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

from stage import Stage, free_port

STAGE, AT = None, None

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


def setUpModule():
    global STAGE, AT
    STAGE = Stage("echo")
    over_grpc = free_port()
    http = STAGE.port(STAGE.start("both", "a2a_agent", "--kind", "echo", "--grpc-port", str(over_grpc), "--bindings", "GRPC,JSONRPC", "--versions", "1.0"))
    card = f"http://127.0.0.1:{http}/.well-known/agent-card.json"
    both = {"url": f"http://127.0.0.1:{http}/", "grpc": f"http://127.0.0.1:{over_grpc}"}
    alone = {"url": f"http://127.0.0.1:{over_grpc}/", "grpc": f"http://127.0.0.1:{over_grpc}", "card": card}
    STAGE.add("grpc", "---".join(AGENT.format(name=name, endpoint=json.dumps(endpoint)) for name, endpoint in (("both", both), ("alone", alone))))
    STAGE.serve()
    AT = f"127.0.0.1:{STAGE.listen}"


def tearDownModule():
    STAGE.close()


def info(error):
    """What the details of a status say."""
    status = status_pb2.Status()
    status.ParseFromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    found = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(found)
    return found


class Grpc(unittest.TestCase):
    def ask(self, method, request, subject="invoice-bot", route="finance/echo", timeout=10, **channel):
        """One call by a plain stub; the answer, or the error."""
        metadata = [("authorization", f"Bearer {STAGE.token(subject)}")] if subject else []
        metadata += [("vidimus-route", route)] if route else []
        with grpc.insecure_channel(AT, **channel) as channel:
            stub = a2a_pb2_grpc.A2AServiceStub(channel)
            try:
                answer, call = getattr(stub, method).with_call(request, metadata=metadata, timeout=timeout)
            except grpc.RpcError as error:
                return error
            self.call = dict(call.initial_metadata())["vidimus-call"]
            return answer

    def test_the_official_client_sends_streams_and_cancels_in_every_pair_of_bindings(self):
        for name, binding, log, path in (
            ("echo", "GRPC", "echo", "/"),
            ("both", "GRPC", "both", "/lf.a2a.v1.A2AService/CancelTask"),
            ("both", "JSONRPC", "both", "/"),
            ("alone", "GRPC", "both", "/lf.a2a.v1.A2AService/CancelTask"),
            ("alone", "JSONRPC", "both", "/lf.a2a.v1.A2AService/CancelTask"),
        ):
            with self.subTest(name=name, binding=binding):
                steps = STAGE.client("a2a_client", f"/a2a/finance/{name}", STAGE.token("invoice-bot"), "--version", "1.0", "--binding", binding)
                for step in ("card", "send", "stream", "get", "cancel"):
                    self.assertTrue(steps[step]["ok"], steps[step])
                at_grpc = {"url": AT, "protocolBinding": "GRPC", "protocolVersion": "1.0", "tenant": f"finance/{name}"}
                self.assertIn(at_grpc, steps["card"]["result"]["supportedInterfaces"])
                self.assertEqual(steps["send"]["result"]["task"]["status"]["state"], "TASK_STATE_COMPLETED")
                words = [event["text"] for event in steps["stream"]["result"] if event["kind"] == "artifact_update"]
                self.assertEqual(words, ["one ", "two ", "three "])
                seen = STAGE.seen(log)[-1]
                self.assertEqual(seen["path"], path)
                headers = dict(seen["headers"])
                self.assertEqual(headers["a2a-version"], "1.0")
                self.assertNotIn(STAGE.token("invoice-bot"), json.dumps(headers), "the hop has a credential of its own")
                done = [row for row in STAGE.records("--kind", "effect") if row.get("result") == "ok"]
                self.assertTrue(done)

    def test_a_refusal_is_a_status_that_the_official_client_shows(self):
        steps = STAGE.client("a2a_client", "/a2a/finance/echo", STAGE.token("invoice-bot"), "--version", "1.0", "--binding", "GRPC",
                             "--steps", "get", "--task", "not-mine")
        self.assertEqual(steps["get"]["error"]["type"], "TaskNotFoundError", steps)
        refused = self.ask("GetTask", a2a_pb2.GetTaskRequest(id="x"), subject="stranger")
        self.assertEqual((refused.code(), info(refused).domain), (grpc.StatusCode.NOT_FOUND, "a2a-protocol.org"))
        send = a2a_pb2.SendMessageRequest(message=a2a_pb2.Message(message_id="m", role="ROLE_USER", parts=[a2a_pb2.Part(text="a b")]))
        refused = self.ask("SendMessage", send, subject="stranger")
        self.assertEqual((refused.code(), info(refused).reason, info(refused).domain), (grpc.StatusCode.PERMISSION_DENIED, "NO_PERMIT", "vidimus.dev"))
        call = dict(refused.initial_metadata())["vidimus-call"]
        self.assertEqual(info(refused).metadata["call"], call)
        self.assertEqual([row["code"] for row in STAGE.records("--kind", "decision") if row["id"] == call], ["no_permit"])
        self.assertEqual(self.ask("SendMessage", send, subject=None).code(), grpc.StatusCode.UNAUTHENTICATED)

    def test_a_task_is_its_makers_and_an_agent_is_named_once(self):
        send = a2a_pb2.SendMessageRequest(message=a2a_pb2.Message(message_id="m", role="ROLE_USER", parts=[a2a_pb2.Part(text="a b")]))
        made = self.ask("SendMessage", send).task.id
        [raw] = [row["task"] for row in STAGE.records("--kind", "effect") if row["id"] == self.call]
        self.assertNotEqual(made, raw)
        self.assertEqual(self.ask("GetTask", a2a_pb2.GetTaskRequest(id=made)).id, made)
        before = len(STAGE.seen("echo"))
        for subject, task in (("hop-one", made), ("hop-one", raw), ("invoice-bot", raw)):
            for method, request in (("GetTask", a2a_pb2.GetTaskRequest), ("CancelTask", a2a_pb2.CancelTaskRequest)):
                refused = self.ask(method, request(id=task), subject=subject)
                self.assertEqual((refused.code(), info(refused).reason), (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND"))
        for route, tenant, reason in (
            ("finance/echo", "finance/both", "MEMBER_UNDECIDED"),
            (None, None, "ROUTE_UNKNOWN"),
            (None, "finance/../finance/echo", "ROUTE_UNKNOWN"),
            (None, "finance/none", "RESOURCE_UNKNOWN"),
        ):
            refused = self.ask("GetTask", a2a_pb2.GetTaskRequest(id=made, tenant=tenant), route=route)
            self.assertEqual(info(refused).reason, reason, (route, tenant))
        self.assertEqual(len(STAGE.seen("echo")), before)

    def test_a_caller_of_0_3_reaches_an_agent_of_json_rpc(self):
        said = old_pb2.Message(message_id="m", role="ROLE_USER", content=[old_pb2.Part(text="one two")])
        said.metadata.update({"skill": "echo"})
        request = old_pb2.SendMessageRequest(request=said, configuration=old_pb2.SendMessageConfiguration(blocking=True))
        metadata = [("authorization", f"Bearer {STAGE.token('invoice-bot')}"), ("vidimus-route", "finance/echo")]
        with grpc.insecure_channel(AT) as channel:
            stub = old_pb2_grpc.A2AServiceStub(channel)
            task = stub.SendMessage(request, metadata=metadata, timeout=10).task
            self.assertEqual(task.status.state, old_pb2.TaskState.TASK_STATE_COMPLETED)
            self.assertEqual("".join(part.text for part in task.artifacts[0].parts), "one two ")
            seen = STAGE.seen("echo")[-1]
            self.assertEqual((seen["path"], dict(seen["headers"])["a2a-version"]), ("/", "0.3"))
            events = list(stub.SendStreamingMessage(request, metadata=metadata, timeout=10))
            self.assertTrue(events[-1].status_update.final, events)
            name = f"tasks/{task.id}"
            self.assertEqual(stub.GetTask(old_pb2.GetTaskRequest(name=name), metadata=metadata).id, task.id)
            for subject, asked in (("hop-one", name), ("invoice-bot", "tasks/not-mine")):
                other = [("authorization", f"Bearer {STAGE.token(subject)}"), ("vidimus-route", "finance/echo")]
                with self.assertRaises(grpc.RpcError) as raised:
                    stub.GetTask(old_pb2.GetTaskRequest(name=asked), metadata=other)
                self.assertEqual(info(raised.exception).reason, "TASK_NOT_FOUND")
            # An agent of gRPC alone speaks 1.0, and is told in it.
            alone = [metadata[0], ("vidimus-route", "finance/alone")]
            task = stub.SendMessage(request, metadata=alone, timeout=10).task
            self.assertEqual(task.status.state, old_pb2.TaskState.TASK_STATE_COMPLETED)

    def test_what_is_compressed_or_broken_is_refused_and_a_deadline_is_kept(self):
        squeezed = self.ask("GetTask", a2a_pb2.GetTaskRequest(id="x" * 1000), compression=grpc.Compression.Gzip)
        self.assertEqual((squeezed.code(), info(squeezed).reason), (grpc.StatusCode.UNIMPLEMENTED, "COMPRESSION_UNSERVED"))
        token = STAGE.token("invoice-bot")
        metadata = [("authorization", f"Bearer {token}"), ("vidimus-route", "finance/echo")]
        with grpc.insecure_channel(AT) as channel:
            for path, message, reason in (
                ("GetTask", b"\x12\xff", "MESSAGE_INVALID"),
                ("GetTask", b"\x7a\x01x", "MESSAGE_INVALID"),
                ("SendMessage", b"\x12\x80\x80\x18" + b"\x2a\x00" * 196608, "BODY_TOO_LARGE"),
                ("Other", b"", "METHOD_UNKNOWN"),
            ):
                call = channel.unary_unary(f"/lf.a2a.v1.A2AService/{path}", lambda raw: raw, lambda raw: raw)
                with self.assertRaises(grpc.RpcError) as raised:
                    call(message, metadata=metadata)
                self.assertEqual(info(raised.exception).reason, reason)
            old = channel.unary_unary("/a2a.v1.A2AService/GetTask", lambda raw: raw, lambda raw: raw)
            with self.assertRaises(grpc.RpcError) as raised:
                old(b"", metadata=metadata)
            self.assertEqual(info(raised.exception).reason, "MESSAGE_INVALID", "0.3 names a task in its request")
        slow = a2a_pb2.SendMessageRequest(message=a2a_pb2.Message(message_id="m", role="ROLE_USER", parts=[a2a_pb2.Part(text="a b c")]))
        slow.message.metadata.update({"delay_ms": 5000})
        late = self.ask("SendMessage", slow, timeout=0.5)
        self.assertEqual(late.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        STAGE.until(lambda: [row for row in STAGE.records("--kind", "effect") if row.get("result") == "cancelled"])


if __name__ == "__main__":
    unittest.main()
