"""Agents, servers and models with a real Envoy between them, which asks Vidimus about each call and carries it itself."""

import http.client
import json
import pathlib
import subprocess
import unittest

from envoy import Envoy
from message import call, claims, modern
from stage import PROVIDER_KEY, Stage, free_port

STAGE = ENVOY = None
LEDGER, ECHO, MODEL = "/mcp/finance/ledger", "/a2a/finance/echo", "/llm/platform/simulator/v1"
OPERATION = {"id": "INV-1"}


def setUpModule():
    global STAGE, ENVOY
    STAGE = Stage("ledger", "echo", "model")
    door = free_port()
    STAGE.flags = ("--ext-authz", f"127.0.0.1:{door}", "--ext-authz-raw-sessions")
    STAGE.serve()
    ENVOY = Envoy(STAGE, door)
    STAGE.url = ENVOY.url  # clients know no other way


def tearDownModule():
    STAGE.close()


def tool(name, arguments, token, path=LEDGER, headers=()):
    message, labels = modern(call(name, arguments))
    status, answered, content = STAGE.post(path, message, token, [*labels, *headers], raw=True)
    return status, answered, content.decode()


def raw(path, lines, body):
    """One request as it is written, over HTTP/1.1: its status."""
    connection = http.client.HTTPConnection("127.0.0.1", ENVOY.listen, timeout=30)
    connection.putrequest("POST", path, skip_accept_encoding=True)
    for name, value in [*lines, ("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream"),
                        ("Content-Length", str(len(body)))]:
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def authorizations(name):
    return [value for row in STAGE.seen(name) for header, value in row["headers"] if header == "authorization"]


class Allowed(unittest.TestCase):
    def check_records(self, call_id, *resources):
        rows = [row for kind in ("decision", "effect") for row in STAGE.records("--kind", kind) if row["id"] == call_id]
        self.assertEqual([row["kind"] for row in rows], ["decision", "effect"], rows)
        self.assertIn(rows[0]["resource"], resources)
        self.assertEqual((rows[1]["result"], rows[1]["status"]), ("unknown", 0))
        self.assertIn("ext_authz", rows[1]["detail"])
        return rows

    def test_the_upstream_gets_a_credential_of_this_hop_and_nothing_of_the_callers(self):
        token = STAGE.token("invoice-bot")
        status, headers, body = tool("whoami", {}, token, headers=[("Cookie", "a=b"), ("X-Copy", f"Bearer {token}")])
        self.assertEqual(status, 200, body)
        self.assertIn("vidimus-call", headers)
        seen = STAGE.seen("ledger")[-1]
        self.assertEqual(seen["path"], "/mcp", "the upstream's own path")
        self.assertNotIn(token, json.dumps(seen))
        sent = dict(seen["headers"])
        self.assertNotIn("cookie", sent)
        self.assertNotIn("x-forwarded-for", sent)
        self.assertFalse([name for name in sent if name.startswith("x-envoy")], sent)
        hop = claims(sent["authorization"])
        self.assertTrue(hop["aud"].endswith("/mcp"), hop)
        rows = self.check_records(headers["vidimus-call"], "Tool/finance/ledger/whoami")
        self.assertEqual(rows[1]["token"], hop["jti"])

    def test_real_clients_of_mcp_call_through_it(self):
        token = STAGE.token("invoice-bot")
        for era in ("2026", "2025"):
            with self.subTest(era=era):
                steps = STAGE.client("mcp_client.py", LEDGER, token, "--era", era)
                for step in ("connect", "list_tools", "call_tool", "read_resource", "get_prompt", "progress"):
                    self.assertTrue(steps[step]["ok"], steps[step])
                refused = STAGE.client("mcp_client.py", LEDGER, token, "--era", era, "--steps", "call_tool",
                                       "--call", "delete_invoice", '{"id": "INV-1"}')["call_tool"]
                self.assertEqual(refused["error"]["data"]["code"], "no_permit", refused)
        steps = STAGE.client("mcp_client.mjs", LEDGER, token, "--era", "2026")
        self.assertTrue(steps["call_tool"]["ok"], steps)
        self.assertNotIn(f"Bearer {token}", authorizations("ledger"))
        self.assertNotIn("delete_invoice", json.dumps([row for row in STAGE.seen("ledger") if "tools/call" in row.get("body", "")]))

    def test_an_agent_is_called_through_it(self):
        token = STAGE.token("invoice-bot")
        message = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {
            "messageId": "m", "role": "ROLE_USER", "parts": [{"text": "one two"}], "metadata": {"skill": "echo"}}}}
        status, headers, answer = STAGE.post(ECHO, message, token, [("A2A-Version", "1.0")])
        self.assertEqual((status, answer["id"]), (200, 1), answer)
        self.assertIn("one two", json.dumps(answer))
        self.check_records(headers["vidimus-call"], "Agent/finance/echo", "Skill/finance/echo/echo")
        self.assertNotIn(f"Bearer {token}", authorizations("echo"))
        # What the agent named was bound to nobody, so it opens nothing.
        task = answer["result"]["task"]["id"]
        ask = {"jsonrpc": "2.0", "id": 2, "method": "GetTask", "params": {"id": task}}
        _, headers, answer = STAGE.post(ECHO, ask, token, [("A2A-Version", "1.0")])
        self.assertEqual(headers["vidimus-code"], "task_foreign", answer)
        listing = {"jsonrpc": "2.0", "id": 3, "method": "ListTasks", "params": {}}
        _, headers, answer = STAGE.post(ECHO, listing, token, [("A2A-Version", "1.0")])
        self.assertEqual(headers["vidimus-code"], "data_plane_unable", answer)

    def test_a_model_gets_the_providers_key_from_here(self):
        token = STAGE.token("invoice-bot")
        steps = STAGE.client("openai_client.py", MODEL, token)
        for step in ("models", "chat", "stream"):
            self.assertTrue(steps[step]["ok"], steps[step])
        self.assertEqual(steps["models"]["result"]["answer"], ["simulator-small"], "the gateway's own answer")
        self.assertEqual(set(authorizations("model")), {f"Bearer {PROVIDER_KEY}"})
        refused = STAGE.client("openai_client.py", MODEL, token, "--model", "simulator-large", "--steps", "chat")["chat"]
        self.assertFalse(refused["ok"])
        self.assertIn("no_permit", json.dumps(refused))

    def test_a_host_of_envoys_own_names_the_object_by_its_route(self):
        token = STAGE.token("invoice-bot")
        status, headers, body = tool("get_invoice", OPERATION, token, "/mcp", [("Host", "ledger.example")])
        self.assertEqual(status, 200, body)
        self.check_records(headers["vidimus-call"], "Tool/finance/ledger/get_invoice")


class Refused(unittest.TestCase):
    def test_what_is_refused_is_answered_in_the_callers_protocol_and_reaches_nobody(self):
        before = [len(STAGE.seen(name)) for name in ("ledger", "echo", "model")]
        token, stranger = STAGE.token("invoice-bot"), STAGE.token("stranger")
        status, headers, body = tool("delete_invoice", OPERATION, token)
        answer = json.loads(body)
        self.assertEqual((status, headers["vidimus-code"], headers["content-type"]), (200, "no_permit", "application/json"))
        self.assertEqual((answer["id"], answer["error"]["data"]["code"]), (1, "no_permit"))
        [row] = [row for row in STAGE.records("--kind", "decision") if row["id"] == headers["vidimus-call"]]
        self.assertEqual((row["outcome"], row["code"]), ("deny", "no_permit"))
        status, headers, body = tool("get_invoice", OPERATION, None)
        self.assertEqual((status, headers["vidimus-code"]), (401, "credential_missing"))
        self.assertTrue(headers["www-authenticate"].startswith("Bearer"))
        chat = {"model": "simulator-small", "messages": [{"role": "user", "content": "hi"}]}
        status, headers, answer = STAGE.post(f"{MODEL}/chat/completions", chat, stranger)
        self.assertEqual((status, answer["error"]["code"]), (403, "no_permit"), answer)
        status, headers, answer = STAGE.post(f"{MODEL}/chat/completions?key=1", chat, token)
        self.assertEqual(headers["vidimus-code"], "data_plane_unable")
        self.assertEqual([len(STAGE.seen(name)) for name in ("ledger", "echo", "model")], before)

    def test_one_request_is_not_two(self):
        before = len(STAGE.seen("ledger"))
        token, stranger = STAGE.token("invoice-bot"), STAGE.token("stranger")
        message, labels = modern(call("get_invoice", OPERATION))
        good, body = [("Authorization", f"Bearer {token}"), *labels], json.dumps(message).encode()
        for path in ("/mcp/finance%2fledger", "/mcp/finance%2Fledger", "/mcp/finance/ledger/..%2fledger", "/mcp/finance/ledger%23",
                     "/mcp/finance/ledger/x", "/mcp/finance/ledger;x", "/MCP/finance/ledger", "/mcp/finance/ledger%00"):
            status, _ = raw(path, good, body)
            self.assertIn(status, (400, 404), path)
        for lines, code in (
            ([*good, ("Authorization", f"Bearer {stranger}")], "token_malformed"),
            ([("Authorization", f"Bearer {token}"), *labels, ("Mcp-Name", "transfer")], None),
        ):
            status, headers = raw(LEDGER, lines, body)
            self.assertTrue(headers["vidimus-code"], (status, lines[-1]))
            self.assertEqual(headers["vidimus-code"], code or headers["vidimus-code"])
        self.assertEqual(len(STAGE.seen("ledger")), before)
        # What Envoy reads as that path is that path.
        for path in ("/mcp//finance/ledger", "/mcp/x/../finance/ledger", "/mcp/finance/%6cedger"):
            self.assertEqual(raw(path, good, body)[0], 200, path)

    def test_a_body_that_is_longer_than_is_decided_goes_nowhere(self):
        before, token = len(STAGE.seen("ledger")), STAGE.token("invoice-bot")
        message, labels = modern(call("get_invoice", {"id": "a" * 5_000_000}))
        status, headers = raw(LEDGER, [("Authorization", f"Bearer {token}"), *labels], json.dumps(message).encode())
        self.assertEqual((status, headers["vidimus-code"]), (413, "body_too_large"), "of Vidimus")
        self.assertEqual(len(STAGE.seen("ledger")), before)

    def test_without_vidimus_nothing_passes(self):
        token = STAGE.token("invoice-bot")
        self.assertEqual(tool("get_invoice", OPERATION, token)[0], 200)
        before = len(STAGE.seen("ledger"))
        STAGE.gateway.kill()
        STAGE.gateway.wait()
        for _ in range(3):
            self.assertEqual(tool("get_invoice", OPERATION, token)[0], 503)
        self.assertEqual(len(STAGE.seen("ledger")), before)
        STAGE.serve()
        STAGE.until(lambda: tool("get_invoice", OPERATION, token)[0] == 200)


class Mutual(unittest.TestCase):
    def test_only_a_data_plane_that_shows_who_it_is_may_ask(self):
        stage, door = Stage("ledger"), free_port()
        self.addCleanup(stage.close)
        envoy = "spiffe://vidimus.local/ns/gateway/sa/envoy"
        stage.flags = ("--ext-authz", f"127.0.0.1:{door}", "--ext-authz-data-plane", envoy)
        stage.serve()
        message, labels = modern(call("get_invoice", OPERATION))

        def asked(name, spiffe_id):
            svid = pathlib.Path(stage.root / name)
            stage.vidimus("identity", "svid", "--data", str(stage.data), "--spiffe-id", spiffe_id, "--out", str(svid))
            stage.url = Envoy(stage, door, svid).url
            return stage.post(LEDGER, message, stage.token("invoice-bot"), labels, raw=True)[0]

        self.assertEqual(asked("envoy", envoy), 200)
        # An agent of the estate is no data plane, though its SVID is as good.
        self.assertEqual(asked("agent", "spiffe://vidimus.local/ns/finance/sa/invoice-bot"), 503)
        self.assertEqual(len(stage.seen("ledger")), 1)
        [row] = [row for row in stage.records("--kind", "refusal")]
        self.assertEqual(row["code"], "principal_unknown")
        refused = stage.vidimus("serve", "--resources", str(stage.resources), "--data", str(stage.root / "other"),
                                "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--ext-authz", "0.0.0.0:0", check=False)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("--ext-authz-data-plane", refused.stderr)

    def test_a_caller_is_who_showed_envoy_its_certificate(self):
        stage, door = Stage("ledger"), free_port()
        self.addCleanup(stage.close)
        stage.flags = ("--ext-authz", f"127.0.0.1:{door}", "--ext-authz-certificates")
        stage.serve()

        def svid(name, path):
            directory = stage.root / name
            stage.vidimus("identity", "svid", "--data", str(stage.data), "--spiffe-id", f"spiffe://vidimus.local/{path}", "--out", str(directory))
            return directory

        envoy = Envoy(stage, door, callers=svid("envoy", "ns/gateway/sa/envoy"))
        message, labels = modern(call("get_invoice", OPERATION))

        def asked(who):
            command = ["curl", "-sSk", "--max-time", "60", "--cert", who / "svid.pem", "--key", who / "svid-key.pem",
                       f"https://127.0.0.1:{envoy.listen}{LEDGER}", "--data-binary", json.dumps(message), "-o", stage.root / "out",
                       "-w", "%{http_code} %header{vidimus-code} %header{vidimus-call}"]
            for name, value in [*labels, ("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]:
                command += ["-H", f"{name}: {value}"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(" ")

        status, code, call_id = asked(svid("bot", "ns/finance/sa/invoice-bot"))
        self.assertEqual((status, code), ("200", ""), (stage.root / "out").read_text())
        [row] = [row for row in stage.records("--kind", "decision") if row["id"] == call_id]
        self.assertEqual(row["identity"], "spiffe://vidimus.local/ns/finance/sa/invoice-bot")
        status, code, _ = asked(svid("nobody", "ns/finance/sa/nobody"))
        self.assertEqual((status, code), ("401", "principal_unknown"))
        self.assertEqual(len(stage.seen("ledger")), 1)


if __name__ == "__main__":
    unittest.main()
