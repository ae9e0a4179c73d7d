"""A stdio server of MCP that does what a test tells it to, by the method of a request. Python's own modules alone."""

import json
import os
import subprocess
import sys
import time

MODERN = "modern" in sys.argv
STUBBORN = "stubborn" in sys.argv  # says when its input ends, and stays
MUTE = "mute" in sys.argv  # does not answer initialize
INFO = {"name": "told", "version": "1"}
held = {}


def say(message):
    sys.stdout.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
    sys.stdout.flush()


def answer(request, result):
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})


def note(method, params):
    say({"jsonrpc": "2.0", "method": method, "params": params})


def steps(request):
    token = request["params"]["_meta"]["progressToken"]
    for step in range(1, 4):
        note("notifications/progress", {"progressToken": token, "progress": step})
    answer(request, {"steps": 3})


def ask(request):
    held["s-1"] = request
    say({"jsonrpc": "2.0", "id": "s-1", "method": "sampling/createMessage", "params": {"new": [1e2]}})


def child(request):
    held["child"] = subprocess.Popen(["sleep", "1000"])
    answer(request, {"pid": held["child"].pid})


def garbage(request):
    say("this is no message")
    say('{"jsonrpc":"2.0","id":1,"id":2,"result":{}}')
    say('{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"' + "x" * 3_000_000 + '"}}')
    sys.stderr.write("oh \x1b[31mno\n")
    sys.stderr.flush()
    answer(request, {"done": True})


def listen(request):
    held["listen"] = request["id"]
    meta = {"io.modelcontextprotocol/subscriptionId": request["id"]}
    note("notifications/subscriptions/acknowledged", {"_meta": meta, "notifications": {}})
    note("notifications/tools/list_changed", {"_meta": meta})


def initialize(request):
    if MUTE:
        return
    if request["params"].get("protocolVersion") is None:
        say({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": "no version"}})
    else:
        answer(request, {"protocolVersion": request["params"]["protocolVersion"], "capabilities": {}, "serverInfo": INFO})


METHODS = {
    "initialize": initialize,
    "pid": lambda r: answer(r, {"pid": os.getpid()}),
    "environment": lambda r: answer(r, {"names": sorted(os.environ)}),
    "steps": steps,
    "ask": ask,
    "child": child,
    "garbage": garbage,
    "die": lambda r: os._exit(3),
    "slow": lambda r: (time.sleep(4), answer(r, {"late": True})),
    "never": lambda r: None,
    "heard": lambda r: answer(r, {"heard": held.get("heard", [])}),
    "changed": lambda r: (note("notifications/tools/list_changed", {}), note("notifications/message", {"data": "of one"}), answer(r, {})),
    "subscriptions/listen": listen,
}
if MODERN:
    METHODS["server/discover"] = lambda r: answer(r, {"resultType": "complete", "supportedVersions": ["2026-07-28"], "serverInfo": INFO})

for line in sys.stdin:
    line = line.rstrip("\n")
    message = json.loads(line)
    if "method" not in message:  # an answer to what was asked
        answer(held[message["id"]], {"said": line})
    elif "id" not in message:
        held.setdefault("heard", []).append(line)
    elif message["method"] in METHODS:
        METHODS[message["method"]](message)
    elif message["method"].startswith("new/"):
        answer(message, {"line": line})
    else:
        say({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "Method not found"}})

if STUBBORN:
    sys.stderr.write("no more input\n")
    sys.stderr.flush()
    time.sleep(1000)
