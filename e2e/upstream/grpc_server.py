"""A real gRPC server (grpcio) of finance.v1.Invoices: GetInvoice, ListInvoices (a stream; without end where limit is negative).

It compresses what clients let it. --descriptors FILE: its FileDescriptorSet is written there, in base64.
"""

import base64
import pathlib
import signal
import threading
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from _serve import Log, arguments

PACKAGE = "finance.v1"
STRING, INT64, INT32, ENUM, MESSAGE = 9, 3, 5, 14, 11
INVOICES = {"INV-1": 1250, "INV-2": 9_007_199_254_740_993}


def described():
    """What protoc would write of the service."""
    file = descriptor_pb2.FileDescriptorProto(name="invoices.proto", package=PACKAGE, syntax="proto3")
    file.enum_type.add(name="Status").value.add(name="STATUS_UNSPECIFIED", number=0)
    file.enum_type[0].value.add(name="OPEN", number=1)
    messages = {
        "GetInvoiceRequest": [("invoice_id", STRING, None)],
        "ListInvoicesRequest": [("limit", INT32, None)],
        "Invoice": [("invoice_id", STRING, None), ("amount_cents", INT64, None), ("status", ENUM, "Status"), ("credit", MESSAGE, "Invoice")],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, (field, kind, of) in enumerate(fields, 1):
            added = message.field.add(name=field, number=number, type=kind, label=1)
            if of:
                added.type_name = f".{PACKAGE}.{of}"
    service = file.service.add(name="Invoices")
    for name, streams in (("GetInvoice", False), ("ListInvoices", True)):
        service.method.add(name=name, input_type=f".{PACKAGE}.{name}Request", output_type=f".{PACKAGE}.Invoice", server_streaming=streams)
    return file


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--descriptors", type=pathlib.Path)
    args = parser.parse_args()
    file, log = described(), Log(args.log)
    if args.descriptors:
        whole = descriptor_pb2.FileDescriptorSet(file=[file])
        args.descriptors.write_text(base64.b64encode(whole.SerializeToString()).decode())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    def of(name):
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def invoice(number):
        made = of("Invoice")(invoice_id=number, amount_cents=INVOICES[number], status=1)
        made.credit.invoice_id = "C-1"
        return made

    def note(name, context):
        log.write(method=name, headers=[[key, str(value)] for key, value in context.invocation_metadata()])

    def get(request, context):
        note("GetInvoice", context)
        if request.invoice_id not in INVOICES:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no invoice {request.invoice_id}: ü")
        return invoice(request.invoice_id)

    def listed(request, context):
        note("ListInvoices", context)
        yield from (invoice(number) for number in list(INVOICES)[: max(request.limit, 0)])
        while request.limit < 0 and context.is_active():
            yield invoice("INV-1")

    def handler(make, name, call):
        return make(call, request_deserializer=of(f"{name}Request").FromString, response_serializer=lambda made: made.SerializeToString())

    handlers = {
        "GetInvoice": handler(grpc.unary_unary_rpc_method_handler, "GetInvoice", get),
        "ListInvoices": handler(grpc.unary_stream_rpc_method_handler, "ListInvoices", listed),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4), compression=grpc.Compression.Gzip)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{PACKAGE}.Invoices", handlers),))
    port = server.add_insecure_port(f"127.0.0.1:{args.port}")
    server.start()
    print(f"ready {port}", flush=True)
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    ended.wait()
    server.stop(0)


if __name__ == "__main__":
    main()
