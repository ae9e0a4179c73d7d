"""An upstream that does not do what HTTP promises; the path says what instead.

  /silent/…   takes the request and never answers          /breaks/…    begins a stream of events, then resets the connection
  /stalls/…   begins a stream of events, then says no more  /short/…     closes before the length that it promised
  /drips/…    answers, but a few bytes at a time             /garbage/…   answers with something that is not HTTP
  /closes/…   closes without an answer                      /headers/…   answers with a megabyte of headers
  /redirect/… sends the caller elsewhere                    /endless/…   sends events for as long as somebody listens
  /pieces/…   an error, its length not said beforehand       /long/…      the same, with much to say
"""

import argparse
import asyncio
import json
import struct
import socket
import time

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "at last"}]}}).encode()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(n):
    message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": n}}
    return chunk(b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n")


async def gone(reader):
    """Waits until the other side has closed."""
    while await reader.read(65536):
        pass


async def behave(how, reader, writer):
    if how in ("breaks", "stalls", "endless"):
        writer.write(EVENTS + event(0))
        await writer.drain()
    if how in ("silent", "stalls"):
        await gone(reader)
    elif how == "breaks":
        await asyncio.sleep(0.1)
        # Reset, not closed: nobody may take this for an end.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "endless":
        n = 0
        while not writer.is_closing():
            n += 1
            writer.write(event(n))
            await writer.drain()
            await asyncio.sleep(0.05)
    elif how == "short":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
    elif how == "drips":
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(ANSWER))
        for at in range(0, len(ANSWER), 10):
            writer.write(ANSWER[at:at + 10])
            await writer.drain()
            await asyncio.sleep(0.05)
    elif how in ("pieces", "long"):
        message = "no " * (100_000 if how == "long" else 1)
        error = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": message}}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"".join(chunk(error[at:at + 1000]) for at in range(0, len(error), 1000)) + chunk(b""))
    elif how == "garbage":
        writer.write(b"220 mail.example ESMTP\r\n")
    elif how == "headers":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"X-More: %s\r\n" % (b"x" * 1000) * 1000 + b"\r\n")
    elif how == "redirect":
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", required=True, help="one JSON line for each request, and one when its connection has ended")
    flags = parser.parse_args()
    log = open(flags.log, "a", buffering=1, encoding="utf-8")

    async def serve(reader, writer):
        how = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
            length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            how = path.split("/")[1]
            log.write(json.dumps({"time": time.time(), "method": method, "path": path}) + "\n")
            await behave(how, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            if how:
                log.write(json.dumps({"time": time.time(), "event": "ended", "how": how}) + "\n")

    server = await asyncio.start_server(serve, "127.0.0.1", flags.port)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main())
