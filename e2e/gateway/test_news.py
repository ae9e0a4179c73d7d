"""News of a task, from the official SDK's own sender, through the gateway, to a webhook of the caller's."""

import asyncio
import hashlib
import http.server
import json
import threading
import unittest

import httpx
import jwt
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.helpers import new_text_message
from a2a.types.a2a_pb2 import AuthenticationInfo, DeleteTaskPushNotificationConfigRequest, GetTaskPushNotificationConfigRequest
from a2a.types.a2a_pb2 import Role, SendMessageRequest, TaskPushNotificationConfig

from stage import Stage

STAGE = HOOK = PORT = None
ESTATE = """
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
metadata: {{name: telling, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Tells of its tasks
  riskLevel: low
  quarantined: {quarantined}
  endpoint: {{url: "http://127.0.0.1:{port}/", rest: "http://127.0.0.1:{port}/"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: calls, namespace: finance}}
spec:
  description: The bot may call.
  cedar: permit (principal == Agent::"finance/invoice-bot", action == Action::"callAgent", resource);
"""


class Hook(http.server.BaseHTTPRequestHandler):
    """The caller's webhook."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.told.append((dict(self.headers.items()), body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def setUpModule():
    global STAGE, HOOK, PORT
    HOOK = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    HOOK.told = []
    threading.Thread(target=HOOK.serve_forever, daemon=True).start()
    STAGE = Stage(bare=True)
    PORT = STAGE.port(STAGE.start("telling", "a2a_agent", "--kind", "echo", "--bindings", "JSONRPC,HTTP+JSON", "--push"))
    STAGE.add("agents", ESTATE.format(port=PORT, quarantined="false"))
    STAGE.serve()


def tearDownModule():
    STAGE.close()
    HOOK.shutdown()
    HOOK.server_close()


def webhook():
    return TaskPushNotificationConfig(url=f"http://127.0.0.1:{HOOK.server_port}/hook", token="own-token",
                                      authentication=AuthenticationInfo(scheme="Bearer"))


async def with_client(binding, version, use):
    headers = {"Authorization": f"Bearer {STAGE.token('invoice-bot')}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        card = await A2ACardResolver(http, f"{STAGE.url}/a2a/finance/telling").get_agent_card()
        kept = [one for one in card.supported_interfaces if one.protocol_version.startswith(version)]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(kept)
        config = ClientConfig(httpx_client=http, supported_protocol_bindings=[binding], streaming=False)
        return await use(ClientFactory(config).create(card))


async def send(client, **metadata):
    """Sends a message that names the webhook; the task."""
    request = SendMessageRequest(message=new_text_message("one two three", role=Role.ROLE_USER))
    request.message.metadata.update({"skill": "echo", **metadata})
    request.configuration.task_push_notification_config.CopyFrom(webhook())
    request.configuration.return_immediately = bool(metadata)
    async for event in client.send_message(request):
        return event.task
    raise AssertionError("nothing was sent")


def signed(headers, body):
    """The claims of the gateway's signature, once it holds."""
    said = {name.lower(): value for name, value in headers.items()}
    keys = STAGE.post("/.well-known/jwks.json", None, method="GET")[2]["keys"]
    kid = jwt.get_unverified_header(said["vidimus-signature"])["kid"]
    key = jwt.PyJWK(next(one for one in keys if one["kid"] == kid))
    claims = jwt.decode(said["vidimus-signature"], key, algorithms=["ES256"])
    assert claims["request_body_sha256"] == hashlib.sha256(body).hexdigest()
    return said, claims


def last_address():
    """Where the agent was told to send news, as a path."""
    bodies = [json.loads(row["body"]) for row in STAGE.seen("telling") if "/push/" in row["body"]]
    return json.dumps(bodies[-1]).split(f"{STAGE.url}")[1].split('"')[0]


def latest(method):
    """The record of the last call of this method."""
    return max((record for record in STAGE.records() if record.get("method") == method), key=lambda record: record["time"])


class News(unittest.TestCase):
    def test_news_reach_the_webhook_with_the_ids_that_the_caller_knows(self):
        before = max((record["index"] for record in STAGE.records()), default=-1)
        for binding, version in (("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3")):
            with self.subTest(binding=binding, version=version):
                HOOK.told.clear()
                task = asyncio.run(with_client(binding, version, send))
                STAGE.until(lambda: any("COMPLETED" in body.decode() or "completed" in body.decode() for _, body in HOOK.told))
                for headers, body in HOOK.told:
                    said, claims = signed(headers, body)
                    self.assertIn(task.id, body.decode())
                    self.assertEqual((said["x-a2a-notification-token"], claims["sub"]), ("own-token", "Agent/finance/telling"))
                    self.assertEqual(said["authorization"], f"Bearer {said['vidimus-signature']}")
                seen = json.dumps(STAGE.seen("telling"))
                self.assertNotIn(f"127.0.0.1:{HOOK.server_port}", seen)
                self.assertNotIn("own-token", seen)
        # What other tests had refused is on record too.
        records = [record for record in STAGE.records() if record["index"] > before]
        told = [record for record in records if record.get("method") == "SendPushNotification"]
        self.assertTrue(told and all(record["outcome"] == "allow" for record in told), told)

    def test_a_caller_sees_its_own_webhook_and_ends_the_news(self):
        async def use(client):
            task = await send(client, delay_ms=1500)
            config = webhook()
            config.task_id, config.id = task.id, "mine"
            made = await client.create_task_push_notification_config(config)
            got = await client.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(task_id=task.id, id="mine"))
            address, news = last_address(), {"task": {"id": latest("CreateTaskPushNotificationConfig")["task"]}}
            before = STAGE.post(address, news)[0]
            await client.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="mine"))
            return made, got, before, STAGE.post(address, news)

        for binding in ("JSONRPC", "HTTP+JSON"):
            made, got, before, (status, headers, _) = asyncio.run(with_client(binding, "1.0", use))
            for config in (made, got):
                self.assertEqual((config.url, config.token), (webhook().url, "own-token"), config)
            self.assertEqual((before, status, headers["vidimus-code"]), (200, 404, "push_foreign"))

    def test_news_of_another_task_by_nobody_and_of_a_quarantined_agent_go_nowhere(self):
        asyncio.run(with_client("JSONRPC", "1.0", send))
        address = last_address()
        news = {"statusUpdate": {"taskId": "another", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}}
        self.assertEqual(STAGE.post(address, news)[1]["vidimus-code"], "push_foreign")
        self.assertEqual(STAGE.post(address[:-1] + ("A" if address[-1] != "A" else "B"), news)[1]["vidimus-code"], "push_foreign")
        self.assertEqual(STAGE.post(address, news, STAGE.token("invoice-bot"))[1]["vidimus-code"], "push_foreign")
        news["statusUpdate"]["taskId"] = latest("SendPushNotification")["task"]
        STAGE.add("agents", ESTATE.format(port=PORT, quarantined="true"))
        try:
            STAGE.until(lambda: STAGE.post(address, news)[1]["vidimus-code"] == "forbidden_by_policy")
        finally:
            STAGE.add("agents", ESTATE.format(port=PORT, quarantined="false"))


if __name__ == "__main__":
    unittest.main()
