"""A proxy that adds what the suites cannot: a bearer token to each request. Everything else goes through byte for byte.

With `record`, each exchange is kept: method, path, fields, body; status, fields, body. With `member`, names are said as an endpoint with
members has them (names.py). What comes over HTTP/2 is gRPC, and goes on by front_grpc.py with the metadata `route` added.
"""

import asyncio
import threading

import front_grpc
from names import Member

PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
OF_AGENTS = "/push/"  # what agents ask of the gateway: the suite's token is none of theirs


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """Request or status line and fields, with the empty line; nothing at the end of the connection."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def fields_of(head: bytes) -> list[tuple[str, str]]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


async def pieces(reader: asyncio.StreamReader, head: bytes, to_end: bool):
    """The body as it stands on the wire, piece by piece, and what it means."""
    fields = dict(fields_of(head))
    if "chunked" in fields.get("transfer-encoding", ""):
        while True:
            size = await reader.readline()
            chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
            yield size + chunk, chunk[:-2]
            if chunk == b"\r\n":
                return
    elif "content-length" in fields:
        left = int(fields["content-length"])
        while left:
            piece = await reader.read(min(left, 1 << 16))
            if not piece:
                return
            left -= len(piece)
            yield piece, piece
    elif to_end:
        while piece := await reader.read(1 << 16):
            yield piece, piece


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, until one of the two ends closes."""
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.close()


def framed(head: bytes, *fields: str) -> bytes:
    """Fields, with `fields` in place of those that say how long the body is."""
    kept = [f"{name}: {value}" for name, value in fields_of(head) if name not in ("content-length", "transfer-encoding")]
    return "\r\n".join([*kept, *fields, "", ""]).encode("latin-1")


def in_chunks(answer: bytes) -> bytes:
    """The head of an answer whose body, if it has one, comes in chunks."""
    line = answer.partition(b"\r\n")[0]
    bare = not line or line.split(b" ")[1] in (b"204", b"304")
    return answer if bare else line + b"\r\n" + framed(answer, "transfer-encoding: chunked")


async def renamed(member: Member, head: bytes, body):
    """Fields and body of a request, with the names at the endpoint."""
    whole = b"".join([meaning async for _, meaning in body])
    asked = member.asked(whole)
    fields = "\r\n".join(f"{name}: {member.field(name, value)}" for name, value in fields_of(head))
    length = (f"content-length: {len(asked)}",) if whole else ()

    async def pieces_of():
        yield asked, asked

    return framed(b"\r\n" + fields.encode("latin-1") + b"\r\n\r\n", *length), pieces_of()


async def lines(member: Member, body):
    """An answer in chunks of whole lines, with the names of the server."""
    held = b""
    async for _, meaning in body:
        whole, cut, held = (held + meaning).rpartition(b"\n")
        if told := member.told(whole + cut):
            yield b"%x\r\n%s\r\n" % (len(told), told), told
    held = member.told(held)
    yield (b"%x\r\n%s\r\n" % (len(held), held) if held else b"") + b"0\r\n\r\n", held


class Front:
    """Listens on `port` of loopback in a thread of its own, in front of `target` (a port)."""

    def __init__(self, target: int, token: str | None = None, paths=lambda path: path, record: list | None = None,
                 member: Member | None = None, route: str = ""):
        self.target, self.token, self.paths, self.record, self.member, self.route = target, token, paths, record, member, route
        self.grpc: asyncio.Future | None = None
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        threading.Thread(target=self._run, args=(started,), daemon=True).start()
        started.wait()

    def _run(self, started):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 24))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self.loop.run_forever()

    async def _serve(self, reader, writer):
        up, early = None, b""
        try:
            while (head := early + await head_of(reader)).endswith(b"\r\n\r\n"):
                if head == PREFACE:
                    up = await asyncio.open_connection("127.0.0.1", await self._grpc())
                    up[1].write(head)
                    await asyncio.gather(pour(reader, up[1]), pour(up[0], writer))
                    return
                # A connection each: which request an answer belongs to is plain, whoever closes.
                up = await asyncio.open_connection("127.0.0.1", self.target, limit=1 << 24)
                early = await self._exchange(head, reader, writer, *up)
                up[1].close()
                up = None
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            if up:
                up[1].close()
            writer.close()

    async def _grpc(self) -> int:
        """The port of what passes gRPC on."""
        if self.grpc is None:
            added = (("authorization", f"Bearer {self.token}"), ("vidimus-route", self.route)) if self.token else ()
            self.grpc = asyncio.ensure_future(front_grpc.serve(f"127.0.0.1:{self.target}", added))
        return await asyncio.shield(self.grpc)

    async def _exchange(self, head, reader, writer, up_reader, up_writer) -> bytes:
        """One request and its answer; what of the next request was read with it."""
        line, _, rest = head.partition(b"\r\n")
        method, path, version = line.decode("latin-1").split(" ")
        line = f"{method} {self.paths(path)} {version}".encode("latin-1")
        added = f"Authorization: Bearer {self.token}\r\n".encode() if self.token and not path.startswith(OF_AGENTS) else b""
        asked, told = bytearray(), bytearray()
        request, answered = pieces(reader, head, to_end=False), lambda answer: pieces(up_reader, answer, to_end=True)
        if self.member:
            rest, request = await renamed(self.member, head, request)
            answered = lambda answer: lines(self.member, pieces(up_reader, answer, to_end=True))
        up_writer.write(line + b"\r\n" + added + rest)
        async for wire, meaning in request:
            asked += meaning
            up_writer.write(wire)
            await up_writer.drain()
        answer = await head_of(up_reader)
        writer.write(in_chunks(answer) if self.member else answer)
        await writer.drain()
        exchange = {"method": method, "path": path, "headers": fields_of(head), "body": asked,
                    "status": int(answer.split(b" ")[1] or 0), "answer_headers": fields_of(answer), "answer": told}
        if self.record is not None:
            self.record.append(exchange)
        if method == "HEAD" or exchange["status"] in (204, 304):
            return b""
        # A caller that leaves in the middle of a stream is seen by what it would send next.
        leaves = asyncio.ensure_future(reader.read(1)) if exchange["status"] == 200 and self._streams(answer) else None
        if leaves:  # how it leaves is of no interest
            leaves.add_done_callback(lambda done: done.cancelled() or done.exception())
        async for wire, meaning in self._until(leaves, answered(answer)):
            told += meaning
            writer.write(wire)
            await writer.drain()
        if not leaves:
            return b""
        leaves.cancel()
        await asyncio.wait({leaves})
        if leaves.cancelled() or leaves.result():
            return b"" if leaves.cancelled() else leaves.result()
        raise ConnectionError("the caller left")

    @staticmethod
    def _streams(answer):
        return "text/event-stream" in dict(fields_of(answer)).get("content-type", "")

    @staticmethod
    async def _until(leaves, body):
        while True:
            step = asyncio.ensure_future(anext(body, None))
            await asyncio.wait({step, leaves} if leaves else {step}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done() or step.result() is None:
                step.cancel()
                return
            yield step.result()
