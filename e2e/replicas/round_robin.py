"""A plain round robin over TCP: each connection goes to the next backend that accepts it. It knows nothing of what is said, and keeps of each
connection where it went and when it ended, so that a test can tell which calls were in flight on a backend that was killed."""

import asyncio
import threading
import time

CONNECT = 2  # seconds


class Connection:
    def __init__(self):
        self.backend, self.generation, self.ended = None, None, None


class RoundRobin:
    """Listens on `port` for as long as it is not closed. `backends` are ports."""

    def __init__(self, port, backends):
        self.port, self.backends, self.turn = port, list(backends), 0
        self.generations = [0] * len(self.backends)
        self.killed = {}  # (backend, generation): when
        self.connections = {}  # by the caller's port, the newest
        self.served = [0] * len(self.backends)
        self.loop, self.begun = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.begun.wait()

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.listen())
        self.loop.run_forever()

    async def listen(self):
        self.server = await asyncio.start_server(self.carry, "127.0.0.1", self.port, backlog=1024)
        self.begun.set()

    async def carry(self, reader, writer):
        connection = self.connections[writer.get_extra_info("peername")[1]] = Connection()
        try:
            there = await self.connect(connection)
            if there:
                await asyncio.gather(self.pass_on(reader, there[1]), self.pass_on(there[0], writer))
        finally:
            connection.ended = time.monotonic()
            writer.close()

    async def connect(self, connection):
        self.turn += 1
        first = self.turn
        for further in range(len(self.backends)):
            backend = (first + further) % len(self.backends)
            generation = self.generations[backend]
            try:
                there = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.backends[backend]), CONNECT)
            except OSError:
                continue
            connection.backend, connection.generation = backend, generation
            self.served[backend] += 1
            return there
        return None

    @staticmethod
    async def pass_on(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def kill(self, backend, kill):
        """Has a backend killed: what was open to it then, or began until it was gone, was in flight."""
        self.killed[backend, self.generations[backend]] = time.monotonic()
        kill()
        self.generations[backend] += 1

    def was_in_flight(self, port):
        """Whether the connection from this port was to a backend that was killed before it ended."""
        connection = self.connections.get(port)
        killed = connection and self.killed.get((connection.backend, connection.generation))
        return bool(killed) and (connection.ended is None or connection.ended >= killed)

    def told(self, port):
        """What is known of the connection from this port, for a test that fails."""
        connection = self.connections.get(port)
        return connection and (connection.backend, connection.generation, connection.ended, self.killed, self.generations)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
