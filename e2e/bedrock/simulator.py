"""A simulator of Bedrock's Converse. No model is behind it: every answer is computed from the request and says so.

What is signed is verified by botocore's own SigV4 for the one key that it knows; another signature, or none, gets Bedrock's 403. An API key is
a bearer. Frames are written here by the format's description (smithy.io, "Amazon Event Stream Specification"), and by no library that the gateway has.
"""

import http.server
import json
import struct
import threading
import urllib.parse
import zlib
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ID, SECRET, SESSION = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AQoDYXdzEJr//session+token=="
API_KEY = "bedrock-api-key-of-the-gateway"
REGION = "eu-central-1"
MODEL = "vendor.simulator-v1:0"


def frame(kind: str, name: str, payload: dict) -> bytes:
    named = {"event": ":event-type", "exception": ":exception-type"}[kind]
    headers = b""
    for key, value in ((named, name), (":content-type", "application/json"), (":message-type", kind)):
        headers += struct.pack("!B", len(key)) + key.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    prelude += struct.pack("!I", zlib.crc32(prelude))
    return prelude + headers + body + struct.pack("!I", zlib.crc32(prelude + headers + body))


def signature(session: str | None, request) -> str:
    """The field Authorization as botocore makes it for what came."""
    signed = request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    headers = {name: request.headers[name] for name in signed if name not in ("host", "x-amz-date", "x-amz-security-token")}
    given = AWSRequest(method=request.command, url=f"http://{request.headers['host']}{request.path}", data=request.body, headers=headers)
    when = botocore.auth.datetime.datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: when):
        botocore.auth.SigV4Auth(Credentials(ID, SECRET, session), "bedrock", REGION).add_auth(given)
    return given.headers["Authorization"]


class Simulator(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def is_known(self) -> bool:
        said = self.headers.get("authorization", "")
        if said == f"Bearer {API_KEY}":
            return "x-amz-date" not in self.headers
        session = self.headers.get("x-amz-security-token")
        if not said.startswith("AWS4-HMAC-SHA256 ") or session not in (None, SESSION):
            return False
        with self.server.lock:
            return said == signature(session, self)

    def do_POST(self):
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        known = self.is_known()
        with self.server.lock:
            self.server.seen.append({"path": self.path, "headers": dict(self.headers.items()), "body": self.body.decode(), "known": known})
        if not known:
            return self.document(403, {"message": "The security token included in the request is invalid."}, "UnrecognizedClientException")
        _, _, model, verb = self.path.split("/")
        if urllib.parse.unquote(model) != MODEL:
            return self.document(404, {"message": "no such model"}, "ResourceNotFoundException")
        asked = json.loads(self.body)
        text = asked["messages"][-1]["content"][0].get("text", "nothing")
        if text == "slow down":
            return self.document(429, {"message": "Too many requests"}, "ThrottlingException")
        words = ["This ", "is ", "a ", "simulator. ", "You ", "said: ", *[f"{word} " for word in text.split()]]
        words = words[: asked.get("inferenceConfig", {}).get("maxTokens", len(words))]
        usage = {"inputTokens": 3, "outputTokens": len(words), "totalTokens": 3 + len(words)}
        if verb == "converse":
            message = {"role": "assistant", "content": [{"text": "".join(words)}]}
            return self.document(200, {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}})
        frames = [frame("event", "messageStart", {"role": "assistant"})]
        frames += [frame("event", "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}, "p": "abc"}) for word in words]
        if text == "break":
            frames.append(frame("exception", "throttlingException", {"message": "Too many tokens"}))
        else:
            frames.append(frame("event", "contentBlockStop", {"contentBlockIndex": 0}))
            frames.append(frame("event", "messageStop", {"stopReason": "end_turn"}))
            frames.append(frame("event", "metadata", {"usage": usage, "metrics": {"latencyMs": 1}}))
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        whole = b"".join(frames)
        for at in range(0, len(whole), 50):  # no chunk is a frame
            chunk = whole[at : at + 50]
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def document(self, status, body, error=None):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if error:
            self.send_header("x-amzn-errortype", error)
        self.end_headers()
        self.wfile.write(data)


def start() -> http.server.ThreadingHTTPServer:
    """Serves on a free port of loopback; `seen` has what came. `shutdown` ends it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Simulator)
    server.daemon_threads = True
    server.seen, server.lock = [], threading.RLock()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
