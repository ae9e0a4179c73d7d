"""Spans that an agent sends of itself by OpenTelemetry's own SDK, over HTTP and gRPC, and the gateway's calls: one tree."""

import json
import unittest

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from message import call, modern
from stage import Stage

LEDGER = "/mcp/finance/ledger"


def setUpModule():
    global STAGE
    STAGE = Stage("ledger", flags=("--traces",))
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def by_http(token, **options):
    return Http(endpoint=f"{STAGE.url}/v1/traces", headers={"authorization": f"Bearer {token}"}, **options)


def by_grpc(token):
    return Grpc(endpoint=f"127.0.0.1:{STAGE.listen}", insecure=True, headers=(("authorization", f"Bearer {token}"),))


class Noted(SpanExporter):
    """An exporter that notes what came of each export."""

    def __init__(self, exporter):
        self.exporter, self.results = exporter, []

    def export(self, spans):
        self.results.append(self.exporter.export(spans))
        return self.results[-1]

    def shutdown(self):
        self.exporter.shutdown()

    def force_flush(self, timeout_millis=30000):
        return True


def tracer(exporter):
    provider = TracerProvider(resource=Resource.create({"service.name": "whatever-it-says"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("agent")


def at_work(exporter, token):
    """An agent that does something, and calls a tool meanwhile: its trace, and the call."""
    noted = Noted(exporter)
    with tracer(noted).start_as_current_span("invoke_agent invoice-bot", attributes={"gen_ai.agent.name": "boss"}) as root:
        with tracer(noted).start_as_current_span("execute_tool get_invoice"):
            message, headers = modern(call("get_invoice", {"id": "INV-1"}))
            carrier = {}
            propagate.inject(carrier)
            status, answer, _ = STAGE.post(LEDGER, message, token, [*headers, *carrier.items()])
            assert status == 200, status
    exporter.shutdown()
    assert noted.results == [SpanExportResult.SUCCESS] * 2, noted.results
    return f"{root.get_span_context().trace_id:032x}", answer["vidimus-call"]


def shown(id, *flags):
    return STAGE.vidimus("trace", "show", "--data", str(STAGE.data), id, *flags)


class Traces(unittest.TestCase):
    def test_spans_and_calls_are_one_tree_by_each_way(self):
        token = STAGE.token("invoice-bot", "--user", "grace@example.com")
        for exporter in (by_http(token), by_http(token, compression=Compression.Gzip), by_grpc(token)):
            trace, made = at_work(exporter, token)
            for id in (trace, made):
                found = json.loads(shown(id, "-o", "json").stdout)
                self.assertEqual((found["traces"], found["altered"], found["damage"]), ([trace], 0, []))
                self.assertEqual([(node["depth"], node["name"]) for node in found["nodes"]], [
                    (0, "invoke_agent invoice-bot"), (1, "execute_tool get_invoice"), (2, "tools/call Tool/finance/ledger/get_invoice")])
                root, tool, called = found["nodes"]
                self.assertEqual({node["principal"] for node in found["nodes"]}, {"Agent/finance/invoice-bot"})
                self.assertEqual((root["claims"]["agent"], root["claims"]["service"]), ("boss", "whatever-it-says"))
                self.assertFalse(tool["claims"]["stranger"])
                self.assertEqual((called["call"]["id"], called["call"]["outcome"], called["call"]["result"]), (made, "allow", "ok"))
                self.assertEqual(called["parent"], tool["span"])
            text = shown(trace).stdout
            self.assertIn("1 call, 2 spans", text)
            self.assertIn('says agent "boss"', text)
            self.assertIn("finance/finance-read", text)

    def test_who_took_no_part_is_shown_as_that_and_nobody_unknown_is_heard(self):
        token = STAGE.token("invoice-bot", "--user", "grace@example.com")
        trace, _ = at_work(by_http(token), token)
        foreign = by_http(STAGE.token("stranger"))
        with tracer(foreign).start_as_current_span("mine", context=propagate.extract({"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})):
            pass
        foreign.shutdown()
        [span] = [node for node in json.loads(shown(trace, "-o", "json").stdout)["nodes"] if node["name"] == "mine"]
        self.assertEqual((span["principal"], span["claims"]["stranger"], span["parent_missing"]), ("Agent/marketing/stranger", True, True))
        nobody = Noted(by_http("a.b.c"))
        with tracer(nobody).start_as_current_span("forged", context=propagate.extract({"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})):
            pass
        nobody.shutdown()
        self.assertEqual(nobody.results, [SpanExportResult.FAILURE])
        self.assertNotIn("forged", shown(trace).stdout)


if __name__ == "__main__":
    unittest.main()
