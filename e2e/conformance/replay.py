"""Exchanges that a suite once had with an agent alone, had again through the gateway: a recorded request goes in, the recorded
answer stands behind, and what comes out is compared with it.

Ids are others through the gateway (it seals them), so each is learned from the first answer that names it, and written into the
requests that use it.
"""

import gzip
import http.client
import json
import pathlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RECORDED = pathlib.Path(__file__).with_name("recorded")
ROUTE = "/a2a/conformance/sut"
IDS = {"id", "taskId", "contextId", "nextPageToken", "referenceTaskIds", "pushNotificationConfigId"}


def recorded(name: str) -> list[dict]:
    with gzip.open(RECORDED / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


class Agent:
    """Stands for the agent: it answers what it is told to, and keeps what it was asked."""

    def __init__(self):
        agent = self
        self.answer, self.asked = None, []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                agent.asked.append(body)
                status, kind, answer = agent.answer
                self.send_response(status)
                if kind:
                    self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def messages(kind: str, body: str) -> list:
    """A document, or the data of each event that came whole."""
    if "text/event-stream" not in kind:
        return [json.loads(body)] if body.strip() else []
    events = body.replace("\r\n", "\n").split("\n\n")[:-1]
    data = ["\n".join(line[5:].lstrip() for line in event.split("\n") if line.startswith("data:")) for event in events]
    return [json.loads(text) for text in data if text]


def in_json(params: dict) -> dict:
    """Members by the names that JSON has: `taskId` for `task_id`, as the gateway writes them."""
    camel = lambda first, *words: first + "".join(word.capitalize() for word in words)
    return {camel(*name.split("_")): value for name, value in params.items()}


def webhooks(configuration) -> list[dict]:
    """The configurations of push notifications of a sent message."""
    found = [configuration.get(name) for name in ("taskPushNotificationConfig", "pushNotificationConfig")] if isinstance(configuration, dict) else []
    return [config for config in found if isinstance(config, dict)]


class Replay:
    """One run over all exchanges."""

    def __init__(self, agent: Agent, port: int, token: str):
        self.agent, self.port, self.token = agent, port, token
        self.sealed: dict[str, str] = {}

    def outcome(self, exchange: dict) -> str:
        """`same`, the code of the gateway's own refusal, or what is different."""
        kind, answer = exchange["content_type"], exchange.get("answer", "")
        if "text/event-stream" in kind:
            whole = answer.replace("\r\n", "\n").rfind("\n\n")
            answer = answer.replace("\r\n", "\n")[: whole + 2]
        self.agent.answer = (exchange["status"], kind, answer.encode())
        self.agent.asked.clear()
        status, fields, body = self.exchange(exchange)
        told = messages(fields.get("content-type", ""), body)
        expected = messages(kind, answer)
        if code := fields.get("vidimus-code"):
            return "same" if self.same_error(expected, told) and not self.agent.asked else code
        if not self.agent.asked:
            return "nothing reached the agent"
        if status != exchange["status"]:
            return f"status {status}, {exchange['status']} expected"
        if len(told) != len(expected):
            return f"{len(told)} messages, {len(expected)} expected"
        for before, after in zip(expected, told):
            if difference := self.difference(before, after, ""):
                return difference
        return self.request_difference(exchange["body"])

    def exchange(self, exchange: dict):
        path, body = exchange["path"], exchange["body"]
        for raw, sealed in self.sealed.items():
            body = body.replace(json.dumps(raw), json.dumps(sealed))
        fields = {**dict(exchange["headers"]), "authorization": f"Bearer {self.token}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        target = ROUTE + (path if path != "/" else "")
        data = body.encode("utf-8", "surrogateescape") if exchange["method"] == "POST" else None
        connection.request(exchange["method"], target, data, fields)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text

    @staticmethod
    def same_error(expected: list, told: list) -> bool:
        """Whether the gateway refuses by the very error that the agent had: the caller cannot tell the two apart by it."""
        code = lambda found: found[0].get("error", {}).get("code") if found and isinstance(found[0], dict) else None
        return code(expected) is not None and code(expected) == code(told)

    def difference(self, before, after, at: str) -> str | None:
        name = at.rsplit("/", 1)[-1]
        if isinstance(before, dict) and isinstance(after, dict):
            if "supportedInterfaces" in before and "signatures" not in before:
                after = {key: value for key, value in after.items() if key != "signatures"}  # the gateway signs cards
                own = [one.get("protocolBinding") for one in before["supportedInterfaces"]]
                served = [one for one in after.get("supportedInterfaces", []) if one.get("protocolBinding") in own]
                after["supportedInterfaces"] = served  # and speaks the other bindings for every agent
            if before.keys() != after.keys():
                return f"{at}: members {sorted(before.keys() ^ after.keys())}"
            return next(filter(None, (self.difference(before[key], after[key], f"{at}/{key}") for key in before)), None)
        if isinstance(before, list) and isinstance(after, list):
            if len(before) != len(after):
                return f"{at}: {len(after)}, {len(before)} expected"
            return next(filter(None, (self.difference(*pair, at) for pair in zip(before, after))), None)
        if before == after:
            return None
        if name in IDS and isinstance(before, str) and isinstance(after, str):
            return None if self.sealed.setdefault(before, after) == after else f"{at}: one id has two forms"
        if name == "url":
            return None  # the card names the gateway
        return f"{at}: {after!r}, {before!r} expected"

    def request_difference(self, body: str) -> str:
        """What the agent was asked, beside what it was asked alone."""
        if not body:
            return "same"
        came = json.loads(self.agent.asked[0])
        asked = json.loads(body)
        # A context that the caller names itself goes up sealed, and of a webhook the agent is told the gateway's address alone.
        for message in (came, asked):
            params = message.get("params")
            if isinstance(params, dict):
                params = message["params"] = in_json(params)
                params.pop("contextId", None)
                for config in (params, *webhooks(params.get("configuration"))):
                    for member in ("url", "token", "authentication"):
                        config.pop(member, None)
                if isinstance(params.get("message"), dict):
                    params["message"].pop("contextId", None)
        return "same" if came == asked else f"the agent was asked {came}, {asked} expected"


def main() -> int:
    """All recorded exchanges, as a table of how often each came out how."""
    import collections
    import sys

    import compare
    from stage_of_suite import gateway

    agent = Agent()
    with gateway(agent.port, rest=f"http://127.0.0.1:{agent.port}/") as stage:
        run = Replay(agent, stage.listen, stage.token("suite"))
        outcomes = collections.Counter(run.outcome(exchange) for exchange in recorded("a2a"))
    agent.close()
    explained = compare.known("replay")
    for outcome, count in outcomes.most_common():
        print(f"{count:4}  {outcome}  {'' if outcome == 'same' else compare.why(explained, outcome) or 'LOST'}")
    lost = [outcome for outcome in outcomes if outcome != "same" and compare.why(explained, outcome) is None]
    print(f"a2a, replayed: {outcomes.total()} exchanges; {outcomes['same']} as by the agent alone, {len(lost)} kinds lost without a reason")
    sys.stdout.flush()
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
