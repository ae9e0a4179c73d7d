"""Peers that are slow, broken, or leave: each gets its code or a closed connection, the record says so, and others do not notice."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import threading
import unittest

from message import call, modern
from stage import E2E, NOBODY, Stage

LEDGER = "/mcp/finance/ledger"
BEHAVIOURS = ("silent", "breaks", "stalls", "short", "drips", "garbage", "closes", "headers", "redirect", "endless", "pieces", "long")
SERVER = """
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: {name}, namespace: broken}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: low
  endpoint: {{url: "http://127.0.0.1:{port}/{name}/mcp", timeout: {timeout}}}
  toolSets: {{broken: [anything, get_invoice]}}
---
"""
POLICY = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: broken-tools, namespace: broken}
spec:
  description: Everybody may see how a broken server fails.
  cedar: permit (principal, action == Action::"invokeTool", resource in ToolSet::"broken");
"""

STAGE = None


def setUpModule():
    """Limits as an operator may set them, short enough to be waited for."""
    global STAGE, TOKEN
    STAGE = Stage("ledger", flags=("--header-time", "2s", "--body-time", "3s", "--stream-idle-time", "4s", "--max-body", "65536"))
    port = STAGE.port(STAGE.start("broken", "broken_server"))
    servers = [(name, port, "1s" if name == "silent" else "1m") for name in BEHAVIOURS]
    servers += [("patient", port, "1m"), ("absent", NOBODY, "1m")]
    STAGE.add("broken", "".join(SERVER.format(name=name, port=port, timeout=timeout) for name, port, timeout in servers)
              .replace("/patient/", "/silent/") + POLICY)
    STAGE.serve()
    TOKEN = STAGE.token("invoice-bot")


def tearDownModule():
    STAGE.close()


def request(path=LEDGER, tool="get_invoice", headers=(), body=True):
    """The bytes of one call; without its body, only what comes before."""
    message, named = modern(call(tool, {"id": "INV-1"}))
    content = json.dumps(message).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{STAGE.listen}", f"Authorization: Bearer {TOKEN}", "Content-Type: application/json",
             "Accept: application/json, text/event-stream", *(f"{name}: {value}" for name, value in named), *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines):
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (content if body else b"")


def connect(port=None):
    client = socket.create_connection(("127.0.0.1", port or STAGE.listen), timeout=60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def tls(alpn):
    context = ssl._create_unverified_context()
    context.set_alpn_protocols([alpn])
    return context.wrap_socket(connect(STAGE.tls), server_hostname="localhost")


def answer(client):
    """Status, code and call of what the gateway answers; None when it closes without a word."""
    reply = http.client.HTTPResponse(client)
    try:
        reply.begin()
    except (http.client.BadStatusLine, http.client.RemoteDisconnected, ConnectionError):
        return None
    return reply.status, reply.headers.get("vidimus-code"), reply.headers.get("vidimus-call")


def closed(client):
    """Waits until the gateway has closed; how long is its limit's business, a minute without is a failure."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while client.recv(65536):
            pass
    client.close()


class Peers(unittest.TestCase):
    def record(self, kind, call_id):
        rows = []
        # The record of a call that the caller left is written when the gateway notices.
        STAGE.until(lambda: rows.extend(row for row in STAGE.records("--kind", kind) if row["id"] == call_id) or rows)
        self.assertEqual(len(rows), 1)
        return rows[0]

    def works(self):
        """An ordinary call, with other callers' trouble going on."""
        client = connect()
        client.sendall(request())
        self.assertEqual(answer(client)[:2], (200, None))
        client.close()


class SlowCallers(Peers):
    def test_whoever_does_not_get_to_the_end_of_the_headers_is_closed_and_others_go_on(self):
        head = request(body=False)
        openings = {
            "nothing": (connect, b""), "the P of POST, or of PRI": (connect, head[:1]), "half of a request": (connect, head[:-20]),
            "half of HTTP/2's preface": (connect, b"PRI * HTTP/2.0\r\n"), "nothing over TLS": (lambda: connect(STAGE.tls), b""),
            "half a request inside TLS": (lambda: tls("http/1.1"), head[:-20]), "nothing inside TLS, for HTTP/2": (lambda: tls("h2"), b""),
        }
        before = len(STAGE.seen("ledger")), len(STAGE.records())
        clients = {}
        for name, (opened, said) in openings.items():
            clients[name] = [opened() for _ in range(8)]
            for client in clients[name]:
                client.sendall(said)
        self.works()
        for name, waiting in clients.items():
            with self.subTest(name):
                for client in waiting:
                    closed(client)
        self.works()
        self.assertEqual((len(STAGE.seen("ledger")), len(STAGE.records())), (before[0] + 2, before[1] + 2), "only what worked")

    def drip(self, data, *parts):
        """Sends `parts`, then `data` for as long as the gateway listens, a byte at a time."""
        client, stop = connect(), threading.Event()
        client.sendall(b"".join(parts))

        def send():
            with contextlib.suppress(OSError):
                while not stop.wait(0.1):
                    client.sendall(data)

        sender = threading.Thread(target=send)
        sender.start()
        self.addCleanup(lambda: (stop.set(), sender.join(), client.close()))
        return client

    def test_a_byte_at_a_time_does_not_help(self):
        lines = request(body=False)[:-2]  # the blank line is missing, so this could go on for ever
        headers = [self.drip(b"x", lines, b"X-Slow: ") for _ in range(20)]
        bodies = [self.drip(b" ", request(headers=["Content-Length: 60000"], body=False)) for _ in range(20)]
        self.works()
        for client in bodies:
            status, code, call_id = answer(client)
            self.assertEqual((status, code), (408, "request_too_slow"))
            record = self.record("refusal", call_id)
            self.assertEqual((record["code"], record["principal"]), ("request_too_slow", "Agent/finance/invoice-bot"))
        for client in headers:
            self.assertIsNone(answer(client))
        self.works()

    def test_a_body_that_stops_or_breaks_off(self):
        before = len(STAGE.seen("ledger"))
        for framing, part in (("Content-Length: 1000", b"{"), ("Transfer-Encoding: chunked", b"5\r\n{")):
            with self.subTest(framing):
                stops = connect()
                stops.sendall(request(headers=[framing], body=False) + part)
                breaks = connect()
                breaks.sendall(request(headers=[framing], body=False) + part)
                breaks.shutdown(socket.SHUT_WR)
                for client, expected in ((breaks, (400, "message_invalid")), (stops, (408, "request_too_slow"))):
                    *got, call_id = answer(client)
                    self.assertEqual(tuple(got), expected)
                    self.assertEqual(self.record("refusal", call_id)["code"], expected[1])
                    client.close()
        self.assertEqual(len(STAGE.seen("ledger")), before)

    def test_too_much_of_anything(self):
        before = len(STAGE.seen("ledger"))
        for name, headers in (("one line", ["X-Large: " + "x" * 70_000]), ("many lines", [f"X-Many-{n}: {'x' * 1000}" for n in range(70)])):
            with self.subTest(name):
                client = connect()
                client.sendall(request(headers=headers))
                self.assertIn(answer(client), (None, (431, None, None)))
                client.close()
        large = b" " * 65_537
        for framing, body in ((f"Content-Length: {len(large)}", large), ("Transfer-Encoding: chunked", b"%x\r\n%s" % (len(large), large))):
            with self.subTest(framing):
                client = connect()
                client.sendall(request(headers=[framing], body=False) + body)
                status, code, call_id = answer(client)
                self.assertEqual((status, code), (413, "body_too_large"))
                self.assertEqual(self.record("refusal", call_id)["code"], code)
                client.close()
        done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code}", "-H", "X-Large: " + "x" * 70_000,
                               STAGE.url + LEDGER], capture_output=True, text=True)
        self.assertTrue(done.returncode or done.stdout == "431", done)
        self.assertEqual(len(STAGE.seen("ledger")), before)
        self.works()


class BrokenUpstreams(Peers):
    def ask(self, name):
        client = connect()
        client.sendall(request(f"/mcp/broken/{name}", "anything"))
        return client

    def upstream(self, how, event=None):
        """How many requests for this behaviour have arrived, or `ended`."""
        rows = [json.loads(line) for line in STAGE.logs["broken"].read_text().splitlines()]
        return sum(row.get("event") == event and how in (row.get("how"), row.get("path", "/").split("/")[1]) for row in rows)

    def cancels(self, how, before, leave):
        """The call that arrives upstream, where there were so many before, ends there when its caller leaves, and is recorded so."""
        STAGE.until(lambda: self.upstream(how) > before)
        decision = STAGE.records("--kind", "decision")[0]
        self.assertEqual(decision["outcome"], "allow")
        leave()
        self.assertEqual(self.record("effect", decision["id"])["result"], "cancelled")
        STAGE.until(lambda: self.upstream(how) == self.upstream(how, "ended"))

    def test_what_fails_before_it_answers_has_a_code(self):
        for name, code in (("silent", "upstream_timeout"), ("closes", "upstream_interrupted"), ("absent", "upstream_unreachable"),
                           ("garbage", "upstream_invalid"), ("headers", "upstream_invalid"), ("short", "upstream_interrupted"),
                           ("redirect", "upstream_invalid")):
            with self.subTest(name):
                client = self.ask(name)
                self.works()
                status, got, call_id = answer(client)
                self.assertEqual(got, code)
                self.assertEqual(self.record("decision", call_id)["outcome"], "allow")
                effect = self.record("effect", call_id)
                self.assertEqual((effect["result"], effect["code"]), ("failed", code))
                client.close()

    def test_a_slow_answer_is_an_answer(self):
        client = self.ask("drips")
        self.works()
        reply = http.client.HTTPResponse(client)
        reply.begin()
        self.assertEqual(json.loads(reply.read())["result"]["content"][0]["text"], "at last")
        self.assertEqual(self.record("effect", reply.headers["vidimus-call"])["result"], "ok")
        client.close()

    def test_an_error_is_on_record_as_one_when_its_length_was_not_said(self):
        for name in ("pieces", "long"):
            with self.subTest(name):
                client = self.ask(name)
                reply = http.client.HTTPResponse(client)
                reply.begin()
                content = reply.read()
                self.assertEqual(json.loads(content)["error"]["code"], -32000)
                effect = self.record("effect", reply.headers["vidimus-call"])
                self.assertEqual((effect["result"], effect["status"], effect["bytes_out"]), ("error", 200, len(content)))
                client.close()

    def test_a_stream_that_breaks_or_stalls_does_not_end_like_a_whole_one(self):
        for name, code in (("breaks", "upstream_interrupted"), ("stalls", "upstream_timeout")):
            with self.subTest(name):
                client = self.ask(name)
                reply = http.client.HTTPResponse(client)
                reply.begin()
                self.assertEqual(reply.status, 200)
                self.works()
                *_, last = reply.read().decode().strip().split("\n\n")
                self.assertIn(code, last, "the last event is the error, in the caller's protocol")
                effect = self.record("effect", reply.headers["vidimus-call"])
                self.assertEqual((effect["result"], effect["code"], effect["status"]), ("failed", code, 200))
                self.assertGreater(effect["bytes_out"], 0)
                client.close()

    def test_a_caller_that_leaves_takes_the_call_with_it(self):
        for name, begun, how in (("endless", True, "endless"), ("patient", False, "silent")):
            with self.subTest(name):
                before = self.upstream(how)
                client = self.ask(name)
                if begun:
                    self.assertEqual(answer(client)[0], 200)
                self.cancels(how, before, client.close)

    def test_a_caller_that_resets_its_stream_of_http2_goes_on_with_others(self):
        message, headers = modern(call("get_invoice", {"id": "INV-1"}))
        for name, how in (("endless", "endless"), ("patient", "silent")):
            with self.subTest(name):
                before = self.upstream(how)
                command = [E2E / "run", "h2_reset", "--url", STAGE.url, "--first", f"/mcp/broken/{name}", "--second", LEDGER, "--token", TOKEN,
                           "--headers", json.dumps({key.lower(): value for key, value in headers}), "--body", json.dumps(message)]
                with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
                    said = []
                    self.cancels(how, before, lambda: said.append(client.communicate("reset\n", timeout=60)[0].strip()))
                self.assertEqual(said, ["200"])


if __name__ == "__main__":
    unittest.main()
