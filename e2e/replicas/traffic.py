"""Calls without an end through the round robin, each over a connection of its own: what became of every one is kept."""

import http.client
import json
import os
import threading
import time

from message import call


class Answer:
    """One call: `status` is None where no whole answer came."""

    def __init__(self, port, status=None, headers=None, body=b"", error=None):
        self.port, self.status, self.headers, self.body, self.error = port, status, headers or {}, body, error

    @property
    def code(self):
        return self.headers.get("vidimus-code")

    @property
    def call(self):
        return self.headers.get("vidimus-call")

    def json(self):
        """The message, also where it is the one event of a stream."""
        text = self.body.decode()
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            data = [line[5:].strip() for line in text.splitlines() if line.startswith("data:") and line[5:].strip()]
            text = data[-1]
        return json.loads(text or "null")


def post(listen, path, body, token, headers=()):
    """One call over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", listen, timeout=60)
    port = None
    try:
        connection.connect()
        port = connection.sock.getsockname()[1]
        fields = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Connection": "close",
                  "Authorization": f"Bearer {token}", **dict(headers)}
        connection.request("POST", path, json.dumps(body), fields)
        answer = connection.getresponse()
        content = answer.read()
        return Answer(port, answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)
    except (OSError, http.client.HTTPException) as error:
        return Answer(port, error=error)
    finally:
        connection.close()


class Session:
    """A session of MCP 2025-11-25: begun once, and it has to go on whoever answers."""

    PATH, VERSION = "/mcp/finance/ledger", "2025-11-25"

    def __init__(self, stage, token):
        self.stage, self.token, self.number, self.id = stage, token, 0, None

    def headers(self):
        found = [("MCP-Protocol-Version", self.VERSION)]
        return found + ([("Mcp-Session-Id", self.id)] if self.id else [])

    def begin(self):
        """Whether it began; what is in flight on a replica that is killed does not."""
        params = {"protocolVersion": self.VERSION, "capabilities": {}, "clientInfo": {"name": "replicas", "version": "1"}}
        begun = post(self.stage.listen, self.PATH, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}, self.token)
        if begun.status != 200:
            return begun
        self.id = begun.headers["mcp-session-id"]
        return post(self.stage.listen, self.PATH, {"jsonrpc": "2.0", "method": "notifications/initialized"}, self.token, self.headers())

    def step(self):
        self.number += 1
        message = call("get_invoice", {"id": "INV-1"}, self.number)
        return post(self.stage.listen, self.PATH, message, self.token, self.headers())

    @staticmethod
    def is_good(answer):
        return "result" in answer.json()


class ToAgent:
    def __init__(self, stage, token):
        self.stage, self.token = stage, token

    def step(self):
        message = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {
            "messageId": os.urandom(8).hex(), "role": "ROLE_USER", "parts": [{"text": "hello"}]}}}
        return post(self.stage.listen, "/a2a/finance/echo", message, self.token, [("A2A-Version", "1.0")])

    @staticmethod
    def is_good(answer):
        return "result" in answer.json()


class ToModel:
    def __init__(self, stage, token):
        self.stage, self.token = stage, token

    def step(self):
        body = {"model": "simulator-small", "messages": [{"role": "user", "content": "hi"}]}
        return post(self.stage.listen, "/llm/platform/simulator/v1/chat/completions", body, self.token)

    @staticmethod
    def is_good(answer):
        return "choices" in answer.json()


class Worker:
    """Steps of one caller, one after another."""

    def __init__(self, caller):
        self.caller, self.answers, self.failure = caller, [], None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.ended.is_set():
                answer = self.caller.step()
                front = self.caller.stage.front
                # Judged while the proxy still knows the port: a later connection may have the same one.
                in_flight = answer.status is None and front.was_in_flight(answer.port)
                good = answer.status == 200 and self.caller.is_good(answer)
                self.answers.append((answer, good, in_flight))
                if answer.status is None:
                    if not in_flight:
                        answer.error = (answer.error, time.monotonic(), front.told(answer.port))
                    # Whoever calls again at once is in flight on the next one that dies.
                    self.ended.wait(0.05)
        except Exception as error:  # a thread's error is the test's
            self.failure = error

    def end(self):
        self.ended.set()
        self.thread.join(90)
