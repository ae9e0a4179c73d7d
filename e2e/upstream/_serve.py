"""What every Python upstream shares: the flags, the request log, and the `ready PORT` line."""

import argparse
import json
import socket
import time

import uvicorn

BODY_LIMIT = 64 * 1024


def arguments(description: str) -> argparse.ArgumentParser:
    """The flags that every upstream has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--log", help="append one JSON line per HTTP request that arrives")
    return parser


class Log:
    """An append-only file of JSON lines, flushed line by line so that a test may read it at any moment."""

    def __init__(self, path: str | None):
        self._file = open(path, "a", buffering=1, encoding="utf-8") if path else None

    def write(self, **fields) -> None:
        if self._file:
            self._file.write(json.dumps({"time": round(time.time(), 6), **fields}) + "\n")


class LogRequests:
    """ASGI middleware: reads the whole body, writes one line, and only then lets the app see the request."""

    def __init__(self, app, log: Log):
        self.app, self.log = app, log

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body, message = bytearray(), {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body.extend(message.get("body", b""))
        query = scope["query_string"].decode("latin-1")
        self.log.write(
            method=scope["method"],
            path=scope["path"] + (f"?{query}" if query else ""),
            headers=[[k.decode("latin-1"), v.decode("latin-1")] for k, v in scope["headers"]],
            body_length=len(body),
            body=body[:BODY_LIMIT].decode("utf-8", "replace"),
        )
        replay = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def observed():
            return next(replay, None) or await receive()

        await self.app(scope, observed, send)


class _Server(uvicorn.Server):
    """uvicorn that says when it serves."""

    async def startup(self, sockets=None):
        await super().startup(sockets=sockets)
        if self.started:
            print(f"ready {sockets[0].getsockname()[1]}", flush=True)


def listen(port: int) -> socket.socket:
    """A bound loopback socket; its port is known before the app is built."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def serve(app, sock: socket.socket, log: Log) -> None:
    """Serve `app` on `sock` until SIGINT or SIGTERM."""
    config = uvicorn.Config(LogRequests(app, log), log_level="warning", timeout_graceful_shutdown=1)
    _Server(config).run(sockets=[sock])
