"""The gateway between real clients and real servers: what issue 3 promises, driven as its users would."""

import concurrent.futures
import hashlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import time
import unittest
import urllib.request

from message import call, claims, modern
from stage import BINARY, E2E, PROVIDER_KEY, Stage

STAGE = None


def setUpModule():
    global STAGE
    STAGE = Stage()
    STAGE.serve()


def tearDownModule():
    STAGE.close()


class Mcp(unittest.TestCase):
    LEDGER = "/mcp/finance/ledger"

    def drive(self, part, *flags):
        return STAGE.client(part, self.LEDGER, STAGE.token("invoice-bot"), "--call", *flags)

    def check(self, steps):
        names = set(steps["list_tools"]["result"])
        self.assertEqual(names, {"get_invoice", "list_invoices", "whoami", "slow_report", "transfer"}, "delete_invoice is hidden")
        for step in ("call_tool", "list_resources", "read_resource", "list_prompts", "get_prompt", "progress"):
            self.assertTrue(steps[step]["ok"], steps[step])

    def test_the_python_client_in_both_eras(self):
        for era in ("2025", "2026"):
            with self.subTest(era=era):
                self.check(self.drive("mcp_client.py", "get_invoice", '{"id": "INV-1"}', "--era", era))

    def test_the_typescript_clients_in_both_eras(self):
        for era in ("2025", "2025-v2", "2026"):
            with self.subTest(era=era):
                self.check(self.drive("mcp_client.mjs", 'get_invoice={"id": "INV-1"}', "--era", era))

    def test_server_everything_through_its_sessions(self):
        steps = STAGE.client("mcp_client.py", "/mcp/platform/everything", STAGE.token("stranger"), "--era", "2025",
                             "--call", "echo", '{"message": "hello"}', "--steps", "list_tools,call_tool")
        self.assertEqual(steps["list_tools"]["result"], ["echo"])
        self.assertIn("hello", json.dumps(steps["call_tool"]["result"]))

    def test_a_stream_that_is_resumed_replays_only_what_may_be_seen(self):
        path, token = "/mcp/platform/everything", STAGE.token("stranger")
        start = {"jsonrpc": "2.0", "id": 0, "method": "initialize",
                 "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}
        session = [("Mcp-Session-Id", STAGE.post(path, start, token, raw=True)[1]["mcp-session-id"]), ("MCP-Protocol-Version", "2025-11-25")]
        STAGE.post(path, {"jsonrpc": "2.0", "method": "notifications/initialized"}, token, session, raw=True)
        answer = STAGE.post(path, {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}, token, session, raw=True)[2].decode()
        tools = lambda text: [tool["name"] for line in text.splitlines() if line.startswith("data: {")
                              for tool in json.loads(line[6:]).get("result", {}).get("tools", [])]
        self.assertEqual(tools(answer), ["echo"])
        priming = next(line[4:] for line in answer.splitlines() if line.startswith("id: "))
        request = urllib.request.Request(STAGE.url + path, headers={"Authorization": f"Bearer {token}", "Accept": "text/event-stream",
                                                                    "Last-Event-ID": priming, **dict(session)})
        with urllib.request.urlopen(request, timeout=30) as stream:
            replayed = ""
            while "nextCursor" not in replayed and '"id":7' not in replayed:
                replayed += stream.readline().decode()
        self.assertEqual(tools(replayed), ["echo"])

    def test_a_task_of_server_everything_is_its_makers(self):
        path, token = "/mcp/platform/everything", STAGE.token("invoice-bot")
        only = STAGE.resources / "research.yaml"
        only.write_text('apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: research, namespace: platform}\nspec:\n'
                        '  description: One agent may research.\n  cedar: permit (principal == Agent::"finance/invoice-bot", action == '
                        'Action::"invokeTool", resource == Tool::"platform/everything/simulate-research-query");\n')
        start = {"jsonrpc": "2.0", "id": 0, "method": "initialize",
                 "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}
        session = [("Mcp-Session-Id", STAGE.post(path, start, token, raw=True)[1]["mcp-session-id"]), ("MCP-Protocol-Version", "2025-11-25")]
        STAGE.post(path, {"jsonrpc": "2.0", "method": "notifications/initialized"}, token, session, raw=True)
        ids = iter(range(1, 1000))

        def ask(method, params, bearer=token):
            _, headers, body = STAGE.post(path, {"jsonrpc": "2.0", "id": next(ids), "method": method, "params": params}, bearer,
                                          session if bearer == token else [], raw=True)
            text = body.decode()
            data = [line[6:] for line in text.splitlines() if line.startswith("data: {")] or [text]
            return headers, next(message for message in map(json.loads, data) if "id" in message and "method" not in message)

        research = {"name": "simulate-research-query", "arguments": {"topic": "tides"}, "task": {"ttl": 60_000}}
        STAGE.until(lambda: "error" not in ask("tools/call", research)[1])
        headers, answer = ask("tools/call", research)
        task = answer["result"]["task"]["taskId"]
        raw = next(row for row in STAGE.records("--kind", "effect") if row["id"] == headers["vidimus-call"])["task"]
        self.assertNotEqual(task, raw)
        self.assertEqual(ask("tasks/get", {"taskId": task})[1]["result"]["taskId"], task)
        listed = {row["taskId"] for row in ask("tasks/list", {})[1]["result"]["tasks"]}
        self.assertTrue(task in listed and raw not in listed)
        result = ask("tasks/result", {"taskId": task})[1]["result"]
        self.assertIn("tides", json.dumps(result["content"]))
        self.assertEqual(result["_meta"]["io.modelcontextprotocol/related-task"]["taskId"], task)
        before = len(STAGE.seen("everything"))
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            for bearer, identity in ((token, raw), (STAGE.token("stranger"), task), (STAGE.token("stranger"), raw)):
                headers, answer = ask(method, {"taskId": identity}, bearer)
                self.assertEqual((headers["vidimus-code"], answer["error"]["code"]), ("task_foreign", -32602))
        self.assertEqual(len(STAGE.seen("everything")), before)
        only.unlink()
        STAGE.until(lambda: ask("tasks/get", {"taskId": task})[0].get("vidimus-code") == "no_permit")

    def test_a_refusal_reaches_the_clients_with_code_reason_and_next_step(self):
        for part, flags in (("mcp_client.py", ["delete_invoice", '{"id": "INV-1"}', "--era", "2026"]),
                            ("mcp_client.mjs", ['delete_invoice={"id": "INV-1"}', "--era", "2025"])):
            error = self.drive(part, *flags, "--steps", "call_tool")["call_tool"]
            self.assertFalse(error["ok"])
            self.assertIn("no_permit", json.dumps(error))
        before = len(STAGE.seen("ledger"))
        status, headers, body = STAGE.post(self.LEDGER, call("delete_invoice", {"id": "INV-1"}), STAGE.token("invoice-bot"))
        self.assertEqual((status, body["id"], body["error"]["code"]), (200, 1, -31403))
        self.assertEqual(headers["vidimus-code"], "no_permit")
        data = body["error"]["data"]
        self.assertTrue(data["next"] and data["call"] == headers["vidimus-call"])
        self.assertEqual(len(STAGE.seen("ledger")), before, "the upstream saw nothing")

    def test_denied_by_attribute_names_the_policy_and_the_value(self):
        status, _, body = STAGE.post(self.LEDGER, call("get_invoice", {"id": "INV-1"}), STAGE.token("risky-bot"))
        self.assertEqual(body["error"]["data"]["code"], "no_permit")
        self.assertEqual(body["error"]["data"]["policies"], ["finance/finance-read"])
        self.assertIn("principal.risk_level = high", body["error"]["message"])

    def test_an_amount_decides_in_any_notation(self):
        unseen = "unrepresentable"
        for amount, expected in (("9000", None), ("1e4", None), ("10001", "no_permit"), ("1e5", "no_permit"), ("9000.5", unseen), ('"9000"', unseen)):
            body = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"transfer","arguments":{{"amount":{amount},"to":"x"}}}}}}'
            message, headers = modern(json.loads(body))
            text = json.dumps(message).replace(json.dumps(json.loads(amount)), amount).encode()
            _, _, answer = STAGE.post(self.LEDGER, text, STAGE.token("invoice-bot"), headers)
            self.assertEqual(answer.get("error", {}).get("data", {}).get("code"), expected, f"{amount}: {answer}")

    def test_the_upstream_gets_a_token_for_itself_and_never_the_callers(self):
        token = STAGE.token("invoice-bot", "--user", "grace@example.com")
        before = len(STAGE.seen("ledger"))
        message, headers = modern(call("get_invoice", {"id": "INV-1"}))
        status, reply, _ = STAGE.post(self.LEDGER, message, token, headers + [("Traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"), ("Cookie", "x=1")])
        self.assertEqual(status, 200)
        request = STAGE.seen("ledger")[before]
        sent = dict(request["headers"])
        self.assertNotIn(token, json.dumps(request))
        self.assertNotIn("cookie", sent)
        self.assertTrue(sent["traceparent"].startswith("00-" + "a" * 32) and "b" * 16 not in sent["traceparent"])
        minted = claims(sent["authorization"])
        self.assertTrue(minted["aud"].endswith("/mcp") and minted["exp"] - minted["iat"] <= 120)
        self.assertEqual((minted["sub"], minted["sub_id"]["sub"]), ("urn:vidimus:local#grace@example.com", "grace@example.com"))
        self.assertEqual(minted["act"]["sub"], "Agent/finance/invoice-bot")
        self.assertEqual(minted["depth"], 1)
        self.assertTrue(minted["jti"] and minted["txn"])
        [decision] = STAGE.records("--kind", "decision", "--user", "grace@example.com", "--tool", "get_invoice")
        self.assertEqual((decision["transaction"], decision["trace"].split("-")[0]), (minted["txn"], "a" * 32))
        self.assertEqual(decision["policies"], ["finance/finance-read"])
        self.assertEqual(decision["facts"]["principal.risk_level"], "low")
        effect = [row for row in STAGE.records("--kind", "effect") if row["id"] == decision["id"]]
        self.assertEqual([(row["result"], row["token"]) for row in effect], [("ok", minted["jti"])])
        keys = STAGE.post("/.well-known/jwks.json", None, method="GET")[2]["keys"]
        self.assertTrue(keys and keys[0]["kty"])

    def test_a_session_belongs_to_its_caller(self):
        start = {"jsonrpc": "2.0", "id": 0, "method": "initialize",
                 "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}
        status, headers, _ = STAGE.post(self.LEDGER, start, STAGE.token("invoice-bot"), raw=True)
        session = headers["mcp-session-id"]
        self.assertEqual(status, 200)
        upstream = STAGE.post(self.LEDGER, call("get_invoice", {"id": "INV-1"}), STAGE.token("invoice-bot"), [("Mcp-Session-Id", session)], raw=True)
        self.assertEqual(upstream[0], 200)
        before = len(STAGE.seen("ledger"))
        for token, session_id in ((STAGE.token("hop-one"), session), (STAGE.token("invoice-bot"), "made-up")):
            status, reply, body = STAGE.post(self.LEDGER, call("get_invoice", {"id": "INV-1"}), token, [("Mcp-Session-Id", session_id)])
            self.assertEqual((status, reply["vidimus-code"]), (404, "session_foreign"))
        self.assertEqual(len(STAGE.seen("ledger")), before)


class A2a(unittest.TestCase):
    def test_the_official_client_sends_streams_and_cancels_in_both_versions(self):
        for version, binding in itertools.product(("1.0", "0.3"), ("JSONRPC", "HTTP+JSON")):
            with self.subTest(version=version, binding=binding):
                flags = ("--version", version, "--binding", binding)
                steps = STAGE.client("a2a_client", "/a2a/finance/echo", STAGE.token("invoice-bot"), *flags)
                seen = STAGE.seen("echo")[-1]
                self.assertEqual(seen["path"] != "/", binding == "HTTP+JSON", seen["path"])
                for step in ("card", "send", "stream", "get", "cancel"):
                    self.assertTrue(steps[step]["ok"], steps[step])
                self.assertNotIn("127.0.0.1:%d/" % 0, json.dumps(steps["card"]))
                self.assertIn(f"{STAGE.url}/a2a/finance/echo", json.dumps(steps["card"]["result"]))

    def test_a_permit_on_a_skill_is_enough_for_the_official_client(self):
        only = STAGE.resources / "skill.yaml"
        card = lambda: STAGE.post("/a2a/finance/echo/.well-known/agent-card.json", None, STAGE.token("stranger"), method="GET")[0]
        try:
            only.write_text('apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: one-skill, namespace: finance}\nspec:\n'
                            '  description: For a moment.\n  cedar: permit (principal in Team::"marketing/marketing", action, resource == Skill::"finance/echo/echo");\n')
            STAGE.until(lambda: card() == 200)
            steps = STAGE.client("a2a_client", "/a2a/finance/echo", STAGE.token("stranger"), "--version", "1.0")
            for step in ("card", "send", "stream", "get", "cancel"):
                self.assertTrue(steps[step]["ok"], steps[step])
            rows = [row for row in STAGE.records("--kind", "decision", "--agent", "marketing/stranger") if row["outcome"] == "allow"]
            through = {row["method"]: row["facts"]["implied_by"] for row in rows if row["resource"] == "Agent/finance/echo"}
            self.assertIn("GetAgentCard", through)
            self.assertEqual(set(through.values()), {"callAgent Skill/finance/echo/echo"})
            as_made = {row["method"] for row in rows if row["resource"] == "Skill/finance/echo/echo" and row.get("task")}
            self.assertLessEqual({"GetTask", "CancelTask"}, as_made, "a task is decided as what made it")
            send = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {
                "messageId": "m", "role": "ROLE_USER", "parts": [{"text": "go"}]}}}
            _, reply, _ = STAGE.post("/a2a/finance/echo", send, STAGE.token("stranger"), [("A2A-Version", "1.0")])
            self.assertEqual(reply["vidimus-code"], "no_permit", "a message that names no skill")
        finally:
            only.unlink()
        STAGE.until(lambda: card() == 403)

    def test_a_task_belongs_to_who_made_it_in_both_versions(self):
        path, maker, other = "/a2a/finance/echo", STAGE.token("invoice-bot"), STAGE.token("hop-one")
        for version, names in (("1.0", ("SendMessage", "GetTask", "CancelTask", "SubscribeToTask", "ListTasks")),
                               ("0.3", ("message/send", "tasks/get", "tasks/cancel", "tasks/resubscribe", None))):
            send, get, cancel, subscribe, listing = names
            ask = lambda token, method, params: STAGE.post(
                path, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, token, [("A2A-Version", version)])
            message = {"messageId": f"m-{version}", "role": "ROLE_USER", "parts": [{"text": "a b"}]}
            if version == "0.3":
                message.update(kind="message", role="user", parts=[{"kind": "text", "text": "a b"}])
            with self.subTest(version=version):
                _, headers, answer = ask(maker, send, {"message": message})
                task = answer["result"].get("task") or answer["result"]
                [effect] = [row for row in STAGE.records("--kind", "effect") if row["id"] == headers["vidimus-call"]]
                raw = effect["task"]
                self.assertNotEqual(raw, task["id"])
                # The agent's own words stay as they are: it names its artifact after the task.
                ids = {key: value for key, value in task.items() if key != "artifacts"}
                self.assertNotIn(raw, json.dumps(ids), "the agent's own id stays here")
                self.assertEqual(ask(maker, get, {"id": task["id"]})[2]["result"]["id"], task["id"])
                self.assertEqual(json.loads(STAGE.seen("echo")[-1]["body"])["params"]["id"], raw)
                before = len(STAGE.seen("echo"))
                for method in (get, cancel, subscribe):
                    for token, identity in ((other, task["id"]), (other, raw), (maker, raw)):
                        _, headers, answer = ask(token, method, {"id": identity})
                        self.assertEqual((headers["vidimus-code"], answer["error"]["code"]), ("task_foreign", -32001))
                self.assertEqual(len(STAGE.seen("echo")), before)
                # It goes on in its context, which only its maker can.
                again = {**message, "messageId": "again", "contextId": task["contextId"]}
                answer = ask(maker, send, {"message": again})[2]
                self.assertEqual((answer["result"].get("task") or answer["result"])["contextId"], task["contextId"])
                answer = ask(other, send, {"message": again})[2]
                contexts = [json.loads(row["body"])["params"]["message"]["contextId"] for row in STAGE.seen("echo")[-2:]]
                self.assertNotEqual(*contexts)
                if listing:
                    listed = [{row["id"] for row in ask(token, listing, {})[2]["result"]["tasks"]} for token in (maker, other)]
                    self.assertIn(task["id"], listed[0])
                    self.assertTrue(listed[1] and not listed[0] & listed[1])

    def test_a_task_belongs_to_who_made_it_over_http_json(self):
        path, maker, other = "/a2a/finance/echo", STAGE.token("invoice-bot"), STAGE.token("hop-one")
        ask = lambda token, method, below, body=None: STAGE.post(path + below, body, token, [("A2A-Version", "1.0")], method=method)
        message = {"messageId": "m-rest", "role": "ROLE_USER", "parts": [{"text": "a b"}]}
        status, headers, answer = ask(maker, "POST", "/message:send", {"message": message})
        self.assertEqual(status, 200, answer)
        task = answer["task"]["id"]
        [effect] = [row for row in STAGE.records("--kind", "effect") if row["id"] == headers["vidimus-call"]]
        raw = effect["task"]
        self.assertNotEqual(raw, task)
        self.assertEqual(ask(maker, "GET", f"/tasks/{task}/?historyLength=1")[2]["id"], task)
        self.assertEqual(STAGE.seen("echo")[-1]["path"], f"/tasks/{raw}?historyLength=1")
        self.assertIn(task, [row["id"] for row in ask(maker, "GET", "/tasks?pageSize=100")[2]["tasks"]])
        # What JSON-RPC gives out, this binding takes, and the other way round.
        rpc = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": task}}
        self.assertEqual(STAGE.post(path, rpc, maker, [("A2A-Version", "1.0")])[2]["result"]["id"], task)
        before = len(STAGE.seen("echo"))
        for token, identity in ((other, task), (other, raw), (maker, raw)):
            for method, below in (("GET", ""), ("POST", ":cancel"), ("POST", ":subscribe"), ("GET", ":subscribe")):
                status, headers, answer = ask(token, method, f"/tasks/{identity}{below}")
                self.assertEqual((status, headers["vidimus-code"]), (404, "task_foreign"))
                self.assertEqual(answer["error"]["details"][0]["reason"], "TASK_NOT_FOUND")
        for method, below, body, code in (
            ("GET", f"/tasks/{raw}%2f..%2f{task}", None, "route_unknown"),
            ("GET", f"/tasks/{task}?id={raw}", None, "message_invalid"),
            ("GET", f"/other/tasks/{task}", None, "member_undecided"),
            ("POST", f"/tasks/{task}:cancel", {"id": raw}, "message_invalid"),
        ):
            self.assertEqual(ask(maker, method, below, body)[1]["vidimus-code"], code, below)
        self.assertEqual(len(STAGE.seen("echo")), before)

    def test_where_news_go_is_decided_and_recorded(self):
        only = STAGE.resources / "push.yaml"
        send = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {
            "message": {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "go"}]},
            "configuration": {"pushNotificationConfig": {"url": "http://127.0.0.1:1/steal"}}}}
        ask = lambda: STAGE.post("/a2a/finance/echo", send, STAGE.token("invoice-bot"))[1]
        try:
            only.write_text('apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: no-push, namespace: finance}\nspec:\n'
                            '  description: For a moment.\n  cedar: forbid (principal, action == Action::"callAgent", resource) when '
                            '{ context has push_notification_url && !(context.push_notification_url like "https://hooks.example/*") };\n')
            STAGE.until(lambda: ask().get("vidimus-code") == "forbidden_by_policy")
            call_id = ask()["vidimus-call"]
            [row] = [row for row in STAGE.records("--kind", "decision") if row["id"] == call_id]
            self.assertEqual(row["push_url"], "http://127.0.0.1:1/steal")
        finally:
            only.unlink()
        STAGE.until(lambda: ask().get("vidimus-code") != "forbidden_by_policy")

    def test_a_version_that_is_not_served_is_a2as_own_error(self):
        send = {"jsonrpc": "2.0", "id": "v", "method": "SendMessage", "params": {}}
        status, _, body = STAGE.post("/a2a/finance/echo", send, STAGE.token("invoice-bot"), [("A2A-Version", "2.0")])
        self.assertEqual((status, body["id"], body["error"]["code"]), (200, "v", -32009))
        [info] = body["error"]["data"]
        self.assertEqual((info["reason"], info["metadata"]["supported"]), ("VERSION_NOT_SUPPORTED", "1.0, 0.3"))

    def test_a_chain_grows_and_the_fourth_hop_is_refused(self):
        token = STAGE.token("invoice-bot")
        # invoice-bot → hop-one (1) → ledger (2): two hops.
        message = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {
            "messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "go"}],
            "metadata": {"skill": "summarize", "hops": 0, "invoice": "INV-1"}}}}
        _, _, answer = STAGE.post("/a2a/finance/hop-one", message, token, [("A2A-Version", "1.0")])
        self.assertIn("INV-1", json.dumps(answer), answer)
        deepest = max(row["depth"] for row in STAGE.records("--kind", "decision", "--tool", "get_invoice") if row["chain"])
        self.assertEqual(deepest, 2)
        # invoice-bot → hop-one → hop-two → hop-one → hop-two: the fourth hop is one too many.
        message["params"]["message"].update(messageId="m2", metadata={"skill": "summarize", "hops": 5, "invoice": "INV-1"})
        _, _, answer = STAGE.post("/a2a/finance/hop-one", message, token, [("A2A-Version", "1.0")])
        self.assertIn("TASK_STATE_FAILED", json.dumps(answer))
        [refused] = [row for row in STAGE.records("--kind", "decision", "--outcome", "deny") if row["depth"] == 4]
        self.assertEqual(refused["chain"], ["Agent/finance/invoice-bot", "Agent/finance/hop-one", "Agent/finance/hop-two"])
        self.assertEqual(refused["facts"]["context.delegation_depth"], "4")
        hops = STAGE.records("--kind", "decision", "--transaction", refused["transaction"])
        self.assertEqual({row["depth"] for row in hops}, {1, 2, 3, 4})

    def test_a_chain_widens_and_the_third_destination_is_refused(self):
        before = len(STAGE.seen("hop_two"))
        message = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {
            "messageId": "m3", "role": "ROLE_USER", "parts": [{"text": "go"}],
            "metadata": {"skill": "summarize", "hops": 0, "invoice": "INV-1"}}}}
        _, _, answer = STAGE.post("/a2a/finance/hop-two", message, STAGE.token("invoice-bot"), [("A2A-Version", "1.0")])
        self.assertIn("INV-1", json.dumps(answer), answer)
        # hop-two has reached the ledger; it goes on by itself with the token of the same transaction.
        token = dict(STAGE.seen("hop_two")[before]["headers"])["authorization"].split()[1]
        card = lambda: STAGE.post("/a2a/finance/echo/.well-known/agent-card.json", None, token, method="GET")[0]
        model = lambda token: STAGE.post("/llm/platform/simulator/v1/chat/completions",
                                         {"model": "simulator-small", "messages": [{"role": "user", "content": "hi"}]}, token)
        self.assertEqual(card(), 200, "the second destination")
        status, reply, answer = model(token)
        self.assertEqual((status, reply["vidimus-code"]), (403, "delegation_too_wide"), answer)
        self.assertEqual(card(), 200, "a destination that was reached may be reached again")
        [refused] = [row for row in STAGE.records("--kind", "decision", "--outcome", "deny") if row["id"] == reply["vidimus-call"]]
        self.assertEqual(refused["facts"], {"context.fan_out": "3", "principal.delegation.maxFanOut": "2"})
        self.assertEqual(refused["transaction"], claims(token)["txn"])
        self.assertEqual(model(STAGE.token("hop-two"))[0], 200, "its own calls are not a chain that it continues")

    def test_a_token_minted_for_a_tool_server_opens_nothing(self):
        before = len(STAGE.seen("ledger"))
        message, headers = modern(call("get_invoice", {"id": "INV-1"}))
        STAGE.post("/mcp/finance/ledger", message, STAGE.token("invoice-bot"), headers)
        stolen = dict(STAGE.seen("ledger")[before]["headers"])["authorization"].split()[1]
        status, reply, _ = STAGE.post("/mcp/finance/ledger", message, stolen, headers)
        self.assertEqual((status, reply["vidimus-code"]), (401, "token_destination"))
        head, body, signature = STAGE.token("invoice-bot").split(".")
        for forged in (f"{head}.{body}.{signature[::-1]}", f"{head}.{body}.", "x", "a.b.c"):
            status, reply, _ = STAGE.post("/mcp/finance/ledger", message, forged, headers)
            self.assertEqual(status, 401, forged)
            self.assertIn("resource_metadata", reply["WWW-Authenticate"])


class Llm(unittest.TestCase):
    def test_the_openai_sdk_completes_and_streams(self):
        steps = STAGE.client("openai_client", "/llm/platform/simulator/v1", STAGE.token("invoice-bot"))
        for step in ("models", "chat", "stream", "plain_stream", "embed", "respond", "respond_stream"):
            self.assertTrue(steps[step]["ok"], steps[step])
        self.assertEqual(steps["stream"]["result"]["answer"]["usage"]["completion_tokens"], 11)
        plain = steps["plain_stream"]["result"]["answer"]
        self.assertEqual(plain, {"text": steps["stream"]["result"]["answer"]["text"], "without_choices": 0, "with_usage": 0})
        self.assertIn("simulator-small", json.dumps(steps["models"]))
        self.assertNotIn("simulator-large", json.dumps(steps["models"]["result"].get("data", steps["models"]["result"])))

    def test_the_anthropic_sdk_completes_and_streams(self):
        for way in ("api-key", "auth-token", "x-api-key"):
            steps = STAGE.client("anthropic_client", "/llm/platform/claude-simulator", STAGE.token("invoice-bot"), "--as", way)
            for step in ("message", "stream"):
                self.assertTrue(steps[step]["ok"], steps[step])

    def test_the_google_sdk_generates_streams_counts_and_embeds(self):
        token = STAGE.token("invoice-bot")
        for flags in ((), ("--api-version", "v1beta")):
            before = len(STAGE.seen("model"))
            steps = STAGE.client("gemini_client", "/llm/platform/gemini-simulator", token, *flags)
            for step in ("models", "generate", "stream", "chat", "count", "embed"):
                self.assertTrue(steps[step]["ok"], steps[step])
            self.assertEqual(steps["models"]["result"], ["models/simulator-small", "models/fast"])
            self.assertEqual(steps["stream"]["result"]["text"], steps["generate"]["result"]["text"])
            self.assertEqual(steps["stream"]["result"]["chunks"], 11)
            for request in STAGE.seen("model")[before:]:
                self.assertEqual(dict(request["headers"])["x-goog-api-key"], PROVIDER_KEY)
                self.assertNotIn(token, json.dumps(request))
        steps = STAGE.client("gemini_client", "/llm/platform/gemini-simulator", token, "--model", "fast", "--steps", "generate,stream,embed")
        self.assertTrue(steps["generate"]["ok"] and steps["stream"]["ok"], steps)
        self.assertIn("write the model's own name", json.dumps(steps["embed"]["error"]))
        for model, code in (("simulator-large", "PERMISSION_DENIED"), ("gemini-9", "NOT_FOUND")):
            steps = STAGE.client("gemini_client", "/llm/platform/gemini-simulator", token, "--model", model, "--steps", "generate,stream")
            for step in ("generate", "stream"):
                self.assertIn(code, json.dumps(steps[step]["error"]))

    def test_geminis_other_form_of_a_stream_comes_as_it_is_and_is_counted(self):
        token, path = STAGE.token("invoice-bot"), "/llm/platform/gemini-simulator/v1beta/models/simulator-small:streamGenerateContent"
        body = {"contents": [{"parts": [{"text": "hi"}]}]}
        status, headers, answer = STAGE.post(path, body, token)
        self.assertEqual((status, len(answer)), (200, 10))
        [effect] = [row for row in STAGE.records("--kind", "effect") if row["id"] == headers["vidimus-call"]]
        self.assertEqual((effect["tokens_input"], effect["tokens_output"], effect["result"]), (1, 13, "ok"))
        before = len(STAGE.seen("model"))
        status, headers, _ = STAGE.post(f"{path}?key={token}", body, token)
        self.assertEqual((status, headers["vidimus-code"]), (401, "credential_ambiguous"))
        self.assertEqual(len(STAGE.seen("model")), before)

    def test_any_sdk_of_a_model_is_answered_by_any_provider(self):
        token, text = STAGE.token("invoice-bot"), "This is a simulator, not a model. You said: Hello there"
        clients = {
            "openai_client": ("/v1", ("chat", "stream", "plain_stream")),
            "anthropic_client": ("", ("message", "stream")),
            "gemini_client": ("", ("generate", "stream", "chat")),
        }
        for provider in ("simulator", "claude-simulator", "gemini-simulator", "azure-simulator"):
            for client, (base, asked) in clients.items():
                with self.subTest(client=client, provider=provider):
                    before = len(STAGE.seen("model"))
                    steps = STAGE.client(client, f"/llm/platform/{provider}{base}", token, "--steps", ",".join(asked))
                    for step in asked:
                        self.assertTrue(steps[step]["ok"], steps[step])
                        self.assertIn("You said:", json.dumps(steps[step]["result"]))
                    streamed = steps["stream"]["result"]
                    streamed = streamed.get("answer", streamed)
                    self.assertEqual((streamed["text"], streamed["chunks"] >= 11), (text, True))
                    self.assertNotIn(None, [value for name, value in streamed["usage"].items() if name in ("prompt_tokens", "input_tokens", "output_tokens")])
                    for request in STAGE.seen("model")[before:]:
                        self.assertNotIn(token, json.dumps(request))
        # What the other API has no word for is refused in the SDK's own.
        body = {"model": "simulator-small", "messages": [{"role": "user", "content": "hi"}], "logprobs": True}
        status, headers, answer = STAGE.post("/llm/platform/claude-simulator/v1/chat/completions", body, token)
        self.assertEqual((status, headers["vidimus-code"]), (400, "no_equivalent"))
        self.assertIn("logprobs", answer["error"]["message"])

    def test_who_is_away_is_answered_for_on_one_decision(self):
        token = STAGE.token("invoice-bot")
        steps = STAGE.client("openai_client", "/llm/platform/away-simulator/v1", token, "--steps", "chat,stream,plain_stream")
        for step in ("chat", "stream", "plain_stream"):
            self.assertTrue(steps[step]["ok"], steps[step])
        body = {"model": "simulator-small", "messages": [{"role": "user", "content": "hi"}]}
        status, headers, _ = STAGE.post("/llm/platform/away-simulator/v1/chat/completions", body, token)
        self.assertEqual(status, 200)
        [decision] = [row for row in STAGE.records("--kind", "decision") if row["id"] == headers["vidimus-call"]]
        [effect] = [row for row in STAGE.records("--kind", "effect") if row["id"] == headers["vidimus-call"]]
        self.assertEqual(decision["alternatives"], [f"Model/platform/{name}-simulator/simulator-small" for name in ("gemini", "claude")])
        self.assertEqual([(one["model"], one["status"], one.get("code")) for one in effect["attempts"]], [
            ("platform/away-simulator/simulator-small", 0, "upstream_unreachable"),
            ("platform/gemini-simulator/simulator-small", 200, None),
        ])

    def test_the_azure_sdk_completes_streams_and_embeds(self):
        token = STAGE.token("invoice-bot")
        for model in ("simulator-small", "fast"):
            before = len(STAGE.seen("model"))
            steps = STAGE.client("azure_client", "/llm/platform/azure-simulator", token, "--model", model)
            for step in ("models", "chat", "stream", "embed", "respond", "respond_stream"):
                self.assertTrue(steps[step]["ok"], steps[step])
            self.assertEqual(steps["stream"]["result"]["answer"]["with_usage"], 0)
            self.assertEqual(steps["respond_stream"]["result"]["answer"]["output_tokens"], 11)
            for request in STAGE.seen("model")[before:]:
                self.assertEqual(dict(request["headers"])["api-key"], PROVIDER_KEY)
                self.assertIn("simulator-small", request["path"] + request["body"])
                self.assertNotIn("fast", request["path"] + request["body"])
                self.assertNotIn(token, json.dumps(request))
        steps = STAGE.client("azure_client", "/llm/platform/azure-simulator", token, "--model", "simulator-large", "--steps", "chat")
        self.assertEqual(steps["chat"]["error"]["status"], 403)
        # The newer paths are OpenAI's own, below /openai.
        steps = STAGE.client("openai_client", "/llm/platform/azure-simulator/openai/v1", token)
        for step in ("models", "chat", "stream", "plain_stream", "embed", "respond", "respond_stream"):
            self.assertTrue(steps[step]["ok"], steps[step])

    def test_the_provider_gets_the_gateways_key_and_the_record_gets_the_tokens(self):
        before = len(STAGE.seen("model"))
        token = STAGE.token("invoice-bot")
        body = {"model": "simulator-small", "messages": [{"role": "user", "content": "hi"}]}
        status, headers, answer = STAGE.post("/llm/platform/simulator/v1/chat/completions", body, token)
        self.assertEqual(status, 200)
        request = STAGE.seen("model")[before]
        self.assertEqual(dict(request["headers"])["authorization"], f"Bearer {PROVIDER_KEY}")
        self.assertNotIn(token, json.dumps(request))
        [effect] = [row for row in STAGE.records("--kind", "effect") if row["id"] == headers["vidimus-call"]]
        self.assertEqual((effect["tokens_input"], effect["tokens_output"]),
                         (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]))

    def test_a_stream_that_asks_for_no_usage_is_counted_and_looks_as_asked(self):
        token, path = STAGE.token("invoice-bot"), "/llm/platform/simulator/v1/chat/completions"
        plain = b'{ "model": "simulator-small",\n"stream": true, "temperature": 1.0, "messages": [{"role": "user", "content": "h\\u00e9"}]}'
        asking = plain.replace(b"{", b'{"stream_options":{"include_usage":true},', 1)
        before = len(STAGE.seen("model"))
        answers = [STAGE.post(path, body, token, raw=True) for body in (plain, asking)]
        self.assertEqual([answer[0] for answer in answers], [200, 200])
        self.assertEqual([row["body"].encode() for row in STAGE.seen("model")[before:]], [asking, asking])
        without, complete = (answer[2].split(b"\n\n") for answer in answers)
        [usage] = [event for event in complete if b'"choices": []' in event]
        self.assertEqual(without, [event for event in complete if event != usage])
        for (_, headers, content), body in zip(answers, (plain, asking)):
            [decision], [effect] = ([row for row in STAGE.records("--kind", kind) if row["id"] == headers["vidimus-call"]] for kind in ("decision", "effect"))
            self.assertEqual(decision["body"], "sha256:" + hashlib.sha256(body).hexdigest(), "the caller's bytes are on record")
            self.assertEqual((effect["tokens_input"], effect["tokens_output"], effect["result"]), (1, 10, "ok"))
            self.assertEqual((effect["bytes_in"], effect["bytes_out"]), (len(body), len(content)))

    def test_a_refusal_is_in_the_providers_own_shape(self):
        body = {"model": "simulator-large", "messages": [], "max_tokens": 5}
        status, _, answer = STAGE.post("/llm/platform/simulator/v1/chat/completions", body, STAGE.token("invoice-bot"))
        self.assertEqual((status, answer["error"]["code"], answer["error"]["type"]), (403, "no_permit", "permission_error"))
        status, _, answer = STAGE.post("/llm/platform/claude-simulator/v1/messages", {**body, "model": "simulator-small"}, STAGE.token("stranger"))
        self.assertEqual((status, answer["type"], answer["error"]["type"]), (403, "error", "permission_error"))
        status, _, answer = STAGE.post("/llm/platform/simulator/v1/chat/completions", {**body, "model": "gpt-9"}, STAGE.token("invoice-bot"))
        self.assertEqual((status, answer["error"]["code"]), (404, "resource_unknown"))


class BadInput(unittest.TestCase):
    def test_each_has_its_code_and_reaches_nobody(self):
        token = STAGE.token("invoice-bot")
        good, _ = modern(call("get_invoice", {"id": "INV-1"}))
        mcp = "/mcp/finance/ledger"
        seen = {name: len(STAGE.seen(name)) for name in STAGE.logs}
        for path, body, headers, status, code in (
            (mcp, b"{", [], 400, "body_not_json"),
            (mcp, b"", [], 400, "body_not_json"),
            (mcp, b"\xff\xfe{}", [], 400, "body_not_utf8"),
            (mcp, b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', [], 400, "duplicate_key"),
            (mcp, [good], [], 400, "batch_not_supported"),
            (mcp, {"jsonrpc": "2.0", "id": 1, "method": "ping", "Method": "tools/call"}, [], 400, "duplicate_key"),
            (mcp, {"jsonrpc": "2.0", "id": 1, "result": {}, "Method": "tools/call"}, [], 400, "message_invalid"),
            (mcp, [0] * 200_000, [], 413, "body_too_large"),
            (mcp, {"jsonrpc": "2.0", "id": 1, "method": "tools/burn"}, [], 404, "method_unknown"),
            (mcp, good, [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/list"), ("Mcp-Name", "get_invoice")], 400, "header_mismatch"),
            (mcp, good, [("MCP-Protocol-Version", "1999-01-01")], 400, "header_mismatch"),
            (mcp, b" " * (5 * 1024 * 1024), [], 413, "body_too_large"),
            (mcp, good, [("Origin", "https://evil.example")], 403, "origin_refused"),
            ("/mcp/finance/nothing", good, [], 200, "resource_unknown"),
            ("/mcp/finance/../finance/ledger", good, [], 404, "route_unknown"),
            ("/a2a/finance/echo", {"jsonrpc": "2.0", "id": 1, "method": "tasks/purge"}, [], 200, "method_unknown"),
            ("/a2a/finance/echo", {"jsonrpc": "2.0", "id": 1, "method": "message/send"}, [("A2A-Version", "1.0")], 200, "header_mismatch"),
            ("/llm/platform/simulator/v1/files", {"model": "simulator-small"}, [], 404, "route_unknown"),
            ("/llm/platform/simulator/v1/chat/completions", {"messages": []}, [], 400, "message_invalid"),
        ):
            got, reply, answer = STAGE.post(path, body, token, headers)
            with self.subTest(path=path, code=code):
                self.assertEqual(reply["vidimus-code"], code)
                self.assertEqual(got, 404 if code == "resource_unknown" else status)
                self.assertIn(code, json.dumps(answer))
        status, reply, _ = STAGE.post(mcp, good)
        self.assertEqual((status, reply["vidimus-code"]), (401, "credential_missing"))
        self.assertEqual({name: len(STAGE.seen(name)) for name in STAGE.logs}, seen, "nothing reached an upstream")

    def test_an_upstream_reads_what_was_decided(self):
        """Headers and bodies by which a server could be made to read another request than the gateway did."""
        token = STAGE.token("invoice-bot")
        message, headers = modern(call("get_invoice", {"id": "INV-1"}))
        hidden = [("Content-Type", "application/json; charset=utf-7"), ("Content-Encoding", "gzip"), ("X-HTTP-Method-Override", "DELETE"),
                  ("X-Original-URL", "/admin"), ("X-Forwarded-User", "admin"), ("If-None-Match", "*")]
        status, _, answer = STAGE.post("/mcp/finance/ledger", message, token, headers + hidden)
        self.assertEqual((status, answer["result"]["isError"]), (200, False))
        got = {name: value for name, value in STAGE.seen("ledger")[-1]["headers"]}
        self.assertEqual(got["content-type"], "application/json")
        self.assertEqual([name for name, _ in hidden[1:] if name.lower() in got], [])
        seen = len(STAGE.seen("ledger"))
        smuggled = b"POST /mcp HTTP/1.1\r\nHost: ledger\r\nContent-Length: 2\r\n\r\n{}"
        for method in ("GET", "DELETE"):
            connection = http.client.HTTPConnection("127.0.0.1", STAGE.listen)
            connection.request(method, "/mcp/finance/ledger", smuggled, {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.headers["vidimus-code"]), (400, "message_invalid"))
            connection.close()
        self.assertEqual(len(STAGE.seen("ledger")), seen)

    def test_every_method_of_every_protocol_is_refused_to_a_stranger_and_recorded(self):
        """No route reaches an upstream without a record and a permit."""
        token = STAGE.token("stranger")
        seen = {name: len(STAGE.seen(name)) for name in STAGE.logs}
        rpc = lambda method, params=None: {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        mcp = [rpc("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}),
               *(rpc(m) for m in ("ping", "server/discover", "tools/list", "resources/list", "resources/templates/list",
                                  "prompts/list", "tasks/list")),
               rpc("logging/setLevel", {"level": "debug"}), rpc("subscriptions/listen", {"notifications": {}}),
               rpc("tools/call", {"name": "get_invoice"}), rpc("prompts/get", {"name": "summarize"}),
               *(rpc(m, {"uri": "ledger://policy"}) for m in ("resources/read", "resources/subscribe", "resources/unsubscribe")),
               rpc("completion/complete", {"ref": {"type": "ref/prompt", "name": "summarize"}}),
               *({"jsonrpc": "2.0", "method": m} for m in ("notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed")),
               {"jsonrpc": "2.0", "id": 1, "result": {}}]
        a2a = [rpc(m) for m in ("message/send", "message/stream", "tasks/list", "agent/getAuthenticatedExtendedCard", "SendMessage",
                                "SendStreamingMessage", "ListTasks", "GetExtendedAgentCard")]
        tries = [("POST", "/mcp/finance/ledger", m) for m in mcp] + [("GET", "/mcp/finance/ledger", None), ("DELETE", "/mcp/finance/ledger", None)]
        tries += [("POST", "/a2a/finance/echo", m) for m in a2a] + [("GET", "/a2a/finance/echo/.well-known/agent-card.json", None)]
        tries += [("POST", "/llm/platform/simulator/v1/chat/completions", {"model": "simulator-small", "messages": []}),
                  ("GET", "/llm/platform/simulator/v1/models", None),
                  ("POST", "/llm/platform/claude-simulator/v1/messages", {"model": "simulator-small"}),
                  ("POST", "/llm/platform/claude-simulator/v1/messages/count_tokens", {"model": "simulator-small"})]
        # What is about a task is about nothing to whom no task belongs.
        tries = [(*one, "no_permit") for one in tries]
        tries += [("POST", "/mcp/finance/ledger", rpc(m, {"taskId": "1"}), "task_foreign")
                  for m in ("tasks/get", "tasks/cancel", "tasks/result", "tasks/update")]
        tries += [("POST", "/a2a/finance/echo", rpc("tasks/pushNotificationConfig/set", {"taskId": "1"}), "task_foreign")]
        tries += [("POST", "/a2a/finance/echo", rpc(m, {"id": "1"}), "task_foreign")
                  for m in ("tasks/get", "tasks/cancel", "tasks/resubscribe",
                            "tasks/pushNotificationConfig/get", "tasks/pushNotificationConfig/list",
                            "tasks/pushNotificationConfig/delete", "GetTask", "CancelTask", "SubscribeToTask")]
        calls = []
        for method, path, body, code in tries:
            _, reply, answer = STAGE.post(path, body, token, method=method)
            self.assertEqual(reply["vidimus-code"], code, f"{method} {path} {body}: {answer}")
            calls.append(reply["vidimus-call"])
        recorded = {row["id"] for row in STAGE.records("--agent", "marketing/stranger", "--outcome", "deny")}
        self.assertLessEqual(set(calls), recorded)
        self.assertEqual({name: len(STAGE.seen(name)) for name in STAGE.logs}, seen, "nothing reached an upstream")


class Operating(unittest.TestCase):
    def test_a_policy_change_is_live_at_once_and_a_broken_object_drops_itself(self):
        token, path = STAGE.token("stranger"), "/mcp/finance/ledger"
        message, headers = modern(call("get_invoice", {"id": "INV-1"}))
        refused = lambda: "error" in STAGE.post(path, message, token, headers)[2]
        self.assertTrue(refused())
        extra = STAGE.resources / "extra.yaml"
        try:
            extra.write_text('apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: marketing-too, namespace: finance}\nspec:\n'
                             '  description: For a moment.\n  cedar: permit (principal in Team::"marketing/marketing", action, resource);\n')
            self.wait(lambda: not refused())
            broken = STAGE.resources / "broken.yaml"
            broken.write_text("apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {name: nobody, namespace: finance}\nspec: {owner: the-team, riskLevel: lowest}\n")
            self.wait(lambda: len(self.registry()["rejections"]) > 0)
            fields = {row["field"]: row for row in self.registry()["rejections"]}
            self.assertIn("spec.riskLevel", fields)
            self.assertEqual(fields["spec.riskLevel"]["value"], "lowest")
            self.assertFalse(refused(), "everything else stays live")
            done = STAGE.vidimus("check", str(STAGE.resources), check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("broken.yaml", done.stdout)
            self.assertIn("spec.owner", done.stdout)
            broken.unlink()
        finally:
            extra.unlink()
        self.wait(refused)
        self.assertEqual(STAGE.vidimus("check", str(STAGE.resources)).returncode, 0)
        acts = lambda: sorted(STAGE.records("--kind", "act"), key=lambda act: act["index"])
        registered = lambda: [act for act in acts() if act["act"].get("register", {}).get("object") == "Policy/finance/marketing-too"]
        self.wait(lambda: len(registered()) >= 2)
        created, deleted = [act["act"]["register"] for act in registered()]
        self.assertEqual((created["operation"], deleted["operation"], created["verdict"]), ("create", "delete", "live"))
        self.assertEqual((created["file"]["path"], created["file"]["owner"]), ("extra.yaml", os.getuid()))
        self.assertEqual((created["after"], "before" in created), (deleted["before"], False))
        self.assertTrue(all(act["actor"] == "vidimus" for act in registered()))

    def test_what_is_wrong_is_in_the_log_at_start_and_at_a_reload(self):
        files = [STAGE.resources / name for name in ("wrong.yaml", "doubtful.yaml")]
        log = STAGE.root / "gateway.err"
        wants = ("rejected: ", "wrong.yaml", "accepted with a warning: ", "doubtful.yaml", "finance/nobody-here")
        before = log.stat().st_size
        said = lambda: all(want in log.read_text()[before:] for want in wants)
        try:
            files[0].write_text("apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {name: nobody, namespace: finance}\nspec: {owner: the-team}\n")
            files[1].write_text('apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: doubtful, namespace: finance}\nspec:\n'
                                '  description: Of an agent that is not there.\n  cedar: permit (principal == Agent::"finance/nobody-here", action, resource);\n')
            self.wait(said)
            STAGE.stop(STAGE.gateway)
            before = log.stat().st_size
            STAGE.serve()
            self.assertTrue(said(), log.read_text()[before:])
        finally:
            for file in files:
                file.unlink()
        self.wait(lambda: not self.registry()["rejections"])

    def wait(self, condition):
        deadline = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it did not happen within 10 s")
            time.sleep(0.02)

    def registry(self):
        token = STAGE.vidimus("identity", "operator", "--data", str(STAGE.data)).stdout.strip()
        asked = urllib.request.Request(f"http://127.0.0.1:{STAGE.admin}/registry", headers={"Authorization": f"Bearer {token}"})
        return json.load(urllib.request.urlopen(asked))

    def test_mtls_gives_the_workload_and_the_token_beside_it_the_user(self):
        out = STAGE.root / "svid"
        STAGE.vidimus("identity", "svid", "--data", str(STAGE.data), "--spiffe-id", "spiffe://vidimus.local/ns/finance/sa/invoice-bot", "--out", str(out))
        message, headers = modern(call("get_invoice", {"id": "INV-1"}))
        command = ["curl", "-sS", "--cert", out / "svid.pem", "--key", out / "svid-key.pem", "--cacert", out / "bundle.pem",
                   f"https://localhost:{STAGE.tls}/mcp/finance/ledger", "-H", "Content-Type: application/json",
                   "-H", "Accept: application/json, text/event-stream", "-d", json.dumps(message)]
        for name, value in headers:
            command += ["-H", f"{name}: {value}"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertIn("INV-1", done.stdout, done.stderr)
        newest = STAGE.records("--kind", "decision", "--agent", "finance/invoice-bot")[0]
        self.assertEqual(newest["identity"], "spiffe://vidimus.local/ns/finance/sa/invoice-bot")
        bare = subprocess.run([part for part in command if part not in ("--cert", "--key")
                               and part not in (out / "svid.pem", out / "svid-key.pem")], capture_output=True, text=True)
        self.assertIn("credential_missing", bare.stdout, bare.stderr)

    def test_metrics_health_and_an_outsiders_tools(self):
        text = urllib.request.urlopen(f"http://127.0.0.1:{STAGE.admin}/metrics").read().decode()
        self.assertIn("vidimus_decisions_total{", text)
        self.assertIn("vidimus_ledger_open 1", text)
        for command in ("serve", "check", "demo", "policy explain", "identity token", "identity svid", "identity init",
                        "identity bundle", "audit search", "audit show", "audit verify", "audit prove"):
            self.assertIn("Example", STAGE.vidimus(*command.split(), "--help").stdout, command)

    def test_z_the_record_verifies_and_stands_alone(self):
        memory = STAGE.root / "memory"
        verify = lambda: STAGE.vidimus("audit", "verify", "--data", str(STAGE.data), "--memory", str(memory), "-o", "json", check=False)
        time.sleep(1.5)  # a checkpoint is issued every second while there is something new
        done = verify()
        self.assertEqual(done.returncode, 0, done.stdout)
        report = json.loads(done.stdout)["report"]
        call_id = STAGE.records("--kind", "decision", "--outcome", "allow")[-1]["id"]
        evidence = STAGE.root / "evidence"
        STAGE.vidimus("audit", "show", call_id, "--data", str(STAGE.data), "--evidence", str(evidence))
        records = sorted(evidence.glob("*.json"))
        self.assertEqual(len(records), 2, "a decision and an effect")
        prove = lambda path: STAGE.vidimus("audit", "prove", "--record", str(path), "--proof", str(path.with_suffix(".tlog-proof")), "--key", report["key"], check=False)
        self.assertEqual(prove(records[0]).returncode, 0)
        records[0].write_bytes(records[0].read_bytes().replace(b"allow", b"axlow"))
        self.assertEqual(prove(records[0]).returncode, 1)


class Demo(unittest.TestCase):
    def test_the_demo_plays_to_its_end(self):
        done = subprocess.run([BINARY, "demo", "--components", str(E2E)], capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        for scene in ("Allowed", "Filtered listing", "Denied by attribute", "Denied by depth", "A model call",
                      "After it, without a restart", "A forged token", "A replayed token"):
            self.assertIn(scene, done.stdout)
        self.assertRegex(done.stdout, r"verdict +intact")

    def test_each_scene_plays_to_its_end(self):
        for scene, says in (("hold", "TASK_STATE_COMPLETED"), ("quarantine", "the stream was cut"),
                            ("chain", "chain_ended"), ("grant", "each use is an act in the ledger"),
                            ("multiplex", "MCPServer/finance/desk"), ("stdio", "hello over stdio"),
                            ("openapi", "nothing of what was refused reached the API"), ("drift", "tool_drifted"),
                            ("budget", "limit_exceeded"), ("guard", "guard.personal_data: found: card 1"),
                            ("failover", "Model/platform/claude-simulator/simulator-small")):
            with self.subTest(scene):
                done = subprocess.run([BINARY, "demo", "--components", str(E2E), "--scene", scene],
                                      capture_output=True, text=True, timeout=300)
                self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
                self.assertIn(says, done.stdout)


class Crash(unittest.TestCase):
    """kill -9 of the real binary under load loses nothing that was answered."""

    KILLS = int(os.environ.get("VIDIMUS_KILLS", "25"))

    def test_nothing_answered_is_lost(self):
        token = STAGE.token("stranger")
        answered = []

        def load(stop):
            while not stop.is_set():
                try:
                    _, headers, _ = STAGE.post("/mcp/finance/ledger", call("get_invoice", {}), token)
                    answered.append(headers["vidimus-call"])
                except OSError:
                    time.sleep(0.005)

        import threading
        stop = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            running = [pool.submit(load, stop) for _ in range(4)]
            for kill in range(self.KILLS):
                before = len(answered)
                deadline = time.monotonic() + 20
                while len(answered) < before + 20:
                    self.assertLess(time.monotonic(), deadline, "no calls are answered")
                    time.sleep(0.005)
                STAGE.gateway.send_signal(signal.SIGKILL)
                STAGE.gateway.wait()
                STAGE.serve()
            stop.set()
            for future in running:
                future.result()
        recorded = {row["id"] for row in STAGE.records("--agent", "marketing/stranger", "--kind", "decision")}
        self.assertGreater(len(answered), self.KILLS * 20)
        self.assertEqual(set(answered) - recorded, set())
        done = STAGE.vidimus("audit", "verify", "--data", str(STAGE.data), "--forget")
        self.assertIn("intact", done.stdout)


if __name__ == "__main__":
    unittest.main()
