"""A proxy that adds what the suites cannot: a bearer token to each request. Everything else goes through byte for byte.

With `record`, each exchange is kept: method, path, fields, body; status, fields, body.
"""

import asyncio
import threading


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


class Front:
    """Listens on `port` of loopback in a thread of its own, in front of `target` (a port)."""

    def __init__(self, target: int, token: str | None = None, paths=lambda path: path, record: list | None = None):
        self.target, self.token, self.paths, self.record = target, token, paths, record
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
        up = None
        try:
            while head := await head_of(reader):
                # A connection each: which request an answer belongs to is plain, whoever closes.
                up = await asyncio.open_connection("127.0.0.1", self.target, limit=1 << 24)
                await self._exchange(head, reader, writer, *up)
                up[1].close()
                up = None
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            if up:
                up[1].close()
            writer.close()

    async def _exchange(self, head, reader, writer, up_reader, up_writer):
        line, _, rest = head.partition(b"\r\n")
        method, path, version = line.decode("latin-1").split(" ")
        line = f"{method} {self.paths(path)} {version}".encode("latin-1")
        added = f"Authorization: Bearer {self.token}\r\n".encode() if self.token else b""
        up_writer.write(line + b"\r\n" + added + rest)
        asked, told = bytearray(), bytearray()
        async for wire, meaning in pieces(reader, head, to_end=False):
            asked += meaning
            up_writer.write(wire)
            await up_writer.drain()
        answer = await head_of(up_reader)
        writer.write(answer)
        await writer.drain()
        exchange = {"method": method, "path": path, "headers": fields_of(head), "body": asked,
                    "status": int(answer.split(b" ")[1] or 0), "answer_headers": fields_of(answer), "answer": told}
        if self.record is not None:
            self.record.append(exchange)
        if method == "HEAD" or exchange["status"] in (204, 304):
            return
        # A caller that leaves in the middle of a stream is seen by what it would send next.
        leaves = asyncio.ensure_future(reader.read(1)) if exchange["status"] == 200 and self._streams(answer) else None
        if leaves:  # how it leaves is of no interest
            leaves.add_done_callback(lambda done: done.cancelled() or done.exception())
        async for wire, meaning in self._until(leaves, pieces(up_reader, answer, to_end=True)):
            told += meaning
            writer.write(wire)
            await writer.drain()
        if leaves:
            if not leaves.done():
                leaves.cancel()
            raise ConnectionError("a stream ends its connection")

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
