"""ClickHouse's HTTP interface over the engine of ClickHouse itself (chdb, the same code as a library): enough of it for who writes and asks as
a client of a real server does. https://clickhouse.com/docs/interfaces/http

    server.py --port N --data DIR [--user NAME --key KEY]

Prints `ready PORT`. `POST /lose/N` of its own: the next N inserts are carried out, and their answers lost.
"""

import argparse
import pathlib
import re
import socket
import threading
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import chdb

# Parameters that are no settings.
OWN = {"query", "database", "default_format", "user", "password", "session_id", "query_id", "wait_end_of_query"}
# As `exceptionCodeToHTTPStatus` has them; what is not here is the server's fault.
STATUS = {27: 400, 62: 400, 36: 400, 43: 400, 47: 404, 60: 404, 81: 404, 164: 403, 497: 403, 516: 403, 241: 500}


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def quoted(value):
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Engine:
    """Each request has a session of its own, one after another."""

    def __init__(self, directory):
        self.directory, self.lock = str(directory), threading.Lock()
        self.kept = chdb.connect(self.directory)  # else the engine ends with each session

    def run(self, sql, pairs):
        settings = [(name, value) for name, value in pairs if name not in OWN and not name.startswith("param_")]
        parameters = {name.removeprefix("param_"): value for name, value in pairs if name.startswith("param_")}
        given = dict(pairs)
        with self.lock:
            session = chdb.connect(self.directory)
            try:
                for name, value in settings:
                    if not re.fullmatch(r"[a-z0-9_]+", name):
                        raise Refused(115, f"Code: 115. DB::Exception: Setting {name} is neither a builtin setting. (UNKNOWN_SETTING)")
                    self.one(session, f"SET {name} = {quoted(value)}")
                self.one(session, f"USE `{given.get('database', 'default')}`")
                return self.one(session, sql, given.get("default_format", "TabSeparated"), parameters)
            finally:
                session.close()

    @staticmethod
    def one(session, sql, form="TabSeparated", parameters=None):
        try:
            answer = session.query(sql, form, params=parameters or None)
        except Exception as error:  # whatever the engine says
            code = re.search(r"Code: (\d+)", str(error))
            raise Refused(int(code.group(1)) if code else 1002, str(error)) from None
        return answer.bytes() if hasattr(answer, "bytes") else str(answer or "").encode()


def handler(engine, user, key):
    lose = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer(200, b"Ok.\n")

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = urllib.parse.urlsplit(self.path)
            if url.path.startswith("/lose/"):
                lose[0] = int(url.path.removeprefix("/lose/"))
                return self.answer(200, b"Ok.\n")
            if user and (self.headers.get("X-ClickHouse-User"), self.headers.get("X-ClickHouse-Key")) != (user, key):
                return self.refuse(Refused(516, f"Code: 516. DB::Exception: {user}: Authentication failed. (AUTHENTICATION_FAILED)"))
            pairs = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
            parts = [part for part in (dict(pairs).get("query", "").encode(), body) if part]
            sql = b"\n".join(parts).decode()
            try:
                done = engine.run(sql, pairs)
            except Refused as refused:
                return self.refuse(refused)
            if lose[0] and sql.lstrip().upper().startswith("INSERT"):
                lose[0] -= 1
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_RDWR)
            return self.answer(200, done)

        def refuse(self, refused):
            text = f"{refused} (version {chdb.engine_version})\n".encode()
            self.answer(STATUS.get(refused.code, 500), text, [("X-ClickHouse-Exception-Code", str(refused.code))])

        def answer(self, status, body, headers=()):
            self.send_response(status)
            for name, value in [("X-ClickHouse-Query-Id", str(uuid.uuid4())), ("Content-Length", str(len(body))), *headers]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


if __name__ == "__main__":
    flags = argparse.ArgumentParser()
    flags.add_argument("--port", type=int, default=0)
    flags.add_argument("--data", type=pathlib.Path, required=True)
    flags.add_argument("--user")
    flags.add_argument("--key")
    flags = flags.parse_args()
    engine = Engine(flags.data)
    engine.run("CREATE DATABASE IF NOT EXISTS vidimus", [])
    server = ThreadingHTTPServer(("127.0.0.1", flags.port), handler(engine, flags.user, flags.key))
    server.daemon_threads = True
    print(f"ready {server.server_address[1]}", flush=True)
    server.serve_forever()
