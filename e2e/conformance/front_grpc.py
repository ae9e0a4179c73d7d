"""Passes gRPC on as it comes, message by message and unread, with metadata added that a suite cannot send."""

import grpc

UNTOUCHED = {"request_deserializer": None, "response_serializer": None}


class Through(grpc.GenericRpcHandler):
    """Every method of every service."""

    def __init__(self, channel: grpc.aio.Channel, added: tuple[tuple[str, str], ...]):
        self.channel, self.added = channel, added

    def service(self, details):
        method = details.method

        async def passed(requests, context):
            kept = tuple(pair for pair in context.invocation_metadata() or () if pair[0] != "user-agent")
            call = self.channel.stream_stream(method)(requests, metadata=kept + self.added, timeout=context.time_remaining())
            try:
                async for message in call:
                    yield message
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
            finally:
                call.cancel()  # who leaves here leaves there; nothing to one that has ended

        return grpc.stream_stream_rpc_method_handler(passed, **UNTOUCHED)


async def serve(target: str, added: tuple[tuple[str, str], ...]) -> int:
    """Listens on loopback, for as long as the process lives; the port."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Through(grpc.aio.insecure_channel(target), added),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    SERVING.append(server)
    return port


SERVING: list[grpc.aio.Server] = []  # one that nobody refers to stops
