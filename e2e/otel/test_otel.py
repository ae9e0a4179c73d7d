"""Spans, as a real OpenTelemetry collector receives them over OTLP/HTTP and writes them to a file."""

import json
import os
import subprocess
import unittest
import urllib.request

from message import call, modern
from stage import Stage, free_port

LEDGER = "/mcp/finance/ledger"
TRACES = {name: f"{digit}" * 32 for name, digit in
          (("allowed", 1), ("denied", 2), ("refused", 3), ("model", 4), ("stream", 5), ("agent", 6), ("unsampled", 7), ("failed", 8))}
PARENT = "00f067aa0ba902b7"
CONFIGURATION = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{file: {{path: "{file}"}}}}
service:
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
  telemetry: {{metrics: {{level: none}}}}
"""


class Collector:
    def __init__(self, stage, port):
        self.stage, self.file, self.port = stage, stage.root / "spans.jsonl", port
        configuration = stage.root / "collector.yaml"
        configuration.write_text(CONFIGURATION.format(port=port, file=self.file))
        with open(stage.root / "collector.err", "w") as errors:
            self.process = subprocess.Popen([os.environ["VIDIMUS_OTELCOL"], "--config", str(configuration)], stderr=errors)
        stage.processes.callback(stage.stop, self.process)
        stage.until(self.listens)

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError("the collector ended: " + (self.stage.root / "collector.err").read_text())
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/traces").close()
        except urllib.error.HTTPError:
            return True  # it wants a POST
        except OSError:
            return False

    def spans(self):
        """All spans, with their attributes as a dictionary, by trace. The collector must have ended: then the file is whole."""
        found = {}
        for line in self.file.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                of = attributes(resource["resource"])
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        span.update(attributes=attributes(span), resource=of, scope=scope["scope"]["name"])
                        found.setdefault(span["traceId"], []).append(span)
        return found


def attributes(of):
    value = lambda any_value: int(any_value["intValue"]) if "intValue" in any_value else next(iter(any_value.values()))
    return {attribute["key"]: value(attribute["value"]) for attribute in of.get("attributes", [])}


def traceparent(name, sampled=True):
    return ("Traceparent", f"00-{TRACES[name]}-{PARENT}-0{int(sampled)}")


def setUpModule():
    """All calls, then the ends of the gateway and of the collector, each of which writes out what it still holds."""
    global STAGE, SPANS, CALLS
    port = free_port()
    STAGE = Stage("ledger", "model", "echo", flags=("--otlp-endpoint", f"http://127.0.0.1:{port}/v1/traces"))
    collector = Collector(STAGE, port)
    STAGE.serve()
    CALLS = {}
    token = STAGE.token("invoice-bot", "--user", "grace@example.com")

    def post(name, path, body, headers=(), token=token, sampled=True):
        CALLS[name] = STAGE.post(path, body, token, [*headers, traceparent(name, sampled)], raw=True)

    message, headers = modern(call("get_invoice", {"id": "INV-1"}))
    post("allowed", LEDGER, message, headers)
    post("unsampled", LEDGER, message, headers, sampled=False)
    post("refused", LEDGER, message, headers, token="a.b.c")
    message, headers = modern(call("echo", {"message": "INV-1"}))
    post("failed", "/mcp/platform/everything", message, headers)  # which is not running here
    message, headers = modern(call("delete_invoice", {"id": "INV-1"}))
    post("denied", LEDGER, message, headers)
    chat = {"model": "simulator-small", "messages": [{"role": "user", "content": "hi"}]}
    post("model", "/llm/platform/simulator/v1/chat/completions", chat)
    post("stream", "/llm/platform/claude-simulator/v1/messages", {**chat, "max_tokens": 50, "stream": True})
    post("agent", "/a2a/finance/echo", {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {
        "message": {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "go"}]}}}, [("A2A-Version", "1.0")])
    STAGE.stop(STAGE.gateway)
    STAGE.stop(collector.process)
    SPANS = collector.spans()


def tearDownModule():
    STAGE.close()


class Spans(unittest.TestCase):
    def span(self, name, status=None):
        [span] = SPANS[TRACES[name]]
        self.assertEqual(span["parentSpanId"], PARENT)
        self.assertNotIn(span["spanId"], (PARENT, "0" * 16, ""))
        self.assertEqual(span["kind"], 2, "server")
        self.assertLess(int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))
        self.assertEqual((span["resource"]["service.name"], span["scope"]), ("vidimus", "vidimus-gateway"))
        self.assertEqual(span["attributes"].get("http.response.status_code", 0), CALLS[name][0] if status is None else status)
        return span

    def has(self, span, **expected):
        expected = {key.replace("__", "."): value for key, value in expected.items()}
        self.assertEqual({key: span["attributes"].get(key) for key in expected}, expected)

    def test_an_allowed_tool_call(self):
        span = self.span("allowed")
        self.assertEqual((span["name"], span["status"]["code"]), ("tools/call get_invoice", 1))
        self.has(span, mcp__method__name="tools/call", gen_ai__operation__name="execute_tool", gen_ai__tool__name="get_invoice",
                 vidimus__principal="Agent/finance/invoice-bot", vidimus__resource="Tool/finance/ledger/get_invoice", vidimus__outcome="allow",
                 vidimus__policies="finance/finance-read", vidimus__result="ok", enduser__id="grace@example.com",
                 vidimus__call=CALLS["allowed"][1]["vidimus-call"], error__type=None)
        [record] = [row for row in STAGE.records("--kind", "decision") if row["id"] == span["attributes"]["vidimus.call"]]
        self.assertEqual(record["trace"], f"{span['traceId']}-{span['spanId']}")
        self.assertEqual(record["transaction"], span["attributes"]["vidimus.transaction"])
        [request] = [row for row in STAGE.seen("ledger") if dict(row["headers"])["traceparent"].split("-")[1] == span["traceId"]]
        self.assertEqual(dict(request["headers"])["traceparent"], f"00-{span['traceId']}-{span['spanId']}-01", "the upstream continues it")

    def test_a_denied_tool_call(self):
        span = self.span("denied")
        self.assertEqual((span["name"], span["status"]), ("tools/call delete_invoice", {"code": 2, "message": "no_permit"}))
        self.has(span, mcp__method__name="tools/call", gen_ai__tool__name="delete_invoice", vidimus__outcome="deny", vidimus__result="no_permit",
                 vidimus__principal="Agent/finance/invoice-bot", error__type="no_permit", vidimus__call=CALLS["denied"][1]["vidimus-call"])

    def test_a_call_that_was_allowed_and_failed(self):
        span = self.span("failed", 0)
        self.assertEqual((span["name"], span["status"]), ("tools/call echo", {"code": 2, "message": "upstream_unreachable"}))
        self.has(span, vidimus__outcome="allow", vidimus__result="failed", error__type="upstream_unreachable")

    def test_a_caller_that_is_not_known(self):
        span = self.span("refused")
        self.assertEqual(span["status"], {"code": 2, "message": CALLS["refused"][1]["vidimus-code"]})
        self.has(span, vidimus__principal=None, vidimus__result=CALLS["refused"][1]["vidimus-code"])

    def test_model_calls_whole_and_streamed(self):
        span = self.span("model")
        usage = json.loads(CALLS["model"][2])["usage"]
        self.assertEqual((span["name"], span["status"]["code"]), ("chat simulator-small", 1))
        self.has(span, gen_ai__operation__name="chat", gen_ai__request__model="simulator-small", gen_ai__provider__name="openai",
                 gen_ai__usage__input_tokens=usage["prompt_tokens"], gen_ai__usage__output_tokens=usage["completion_tokens"], vidimus__result="ok")
        span = self.span("stream")
        events = [json.loads(line[5:]) for line in CALLS["stream"][2].decode().splitlines() if line.startswith("data:")]
        [begun], [ended] = ([event for event in events if event["type"] == kind] for kind in ("message_start", "message_delta"))
        self.has(span, gen_ai__request__model="simulator-small", gen_ai__provider__name="anthropic", vidimus__result="ok",
                 gen_ai__usage__input_tokens=begun["message"]["usage"]["input_tokens"], gen_ai__usage__output_tokens=ended["usage"]["output_tokens"])

    def test_a_call_of_an_agent(self):
        span = self.span("agent")
        self.assertEqual((span["name"], span["status"]["code"]), ("invoke_agent echo", 1))
        self.has(span, gen_ai__operation__name="invoke_agent", gen_ai__agent__id="finance/echo", gen_ai__agent__name="echo",
                 vidimus__resource="Agent/finance/echo", vidimus__outcome="allow")

    def test_what_the_caller_does_not_sample_is_not_exported_and_nothing_secret_is(self):
        self.assertEqual(CALLS["unsampled"][0], 200)
        self.assertNotIn(TRACES["unsampled"], SPANS)
        text = json.dumps(SPANS)
        for secret in ("INV-1", "provider-key", "eyJ"):
            self.assertNotIn(secret, text)


if __name__ == "__main__":
    unittest.main()
