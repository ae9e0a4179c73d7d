"""The A2A compatibility kit, in all three bindings: against the agent alone, through the gateway, and through it to the same agent where it speaks
one of them alone, so that the gateway translates what is asked in the two others.

    suite_a2a.py --kit DIRECTORY --python INTERPRETER [--bindings JSONRPC,HTTP+JSON,GRPC] [--keep recorded/a2a.jsonl.gz]

DIRECTORY is a copy of the kit, INTERPRETER has its packages (kit.sh prints both). The five run at once: the kit mostly waits. What it sends to the
agent alone over HTTP, and what the agent answers, is kept with --keep (with `--bindings JSONRPC`), so that `replay.py` can do it again without the kit.
"""

import argparse
import base64
import concurrent.futures
import contextlib
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

from compare import table
from front import Front
from stage_of_suite import free_port, gateway, serving

WELL_KNOWN = "/.well-known/"
ROUTE = "conformance/sut"
ALONE = {"a2a_to_jsonrpc": "JSONRPC", "a2a_to_grpc": "GRPC", "a2a_to_rest": "HTTP+JSON"}


def run(kit: pathlib.Path, python: str, url: str) -> dict[str, str]:
    """Each test of the kit and what came of it."""
    with tempfile.TemporaryDirectory() as directory:
        report = pathlib.Path(directory) / "junit.xml"
        command = [python, "-m", "pytest", "tests/compatibility/", "-q", "-p", "no:cacheprovider", f"--sut-host={url}", f"--junitxml={report}"]
        done = subprocess.run(command, cwd=kit, capture_output=True, text=True, timeout=900)
        if not report.exists():
            sys.exit(f"the kit left no report: {done.stdout}{done.stderr}")
        found = {}
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            found[f"{case.get('classname')}::{case.get('name')}".removeprefix("tests.compatibility.")] = result
        return found


def kept(exchanges: list[dict]) -> bytes:
    lines = []
    for one in exchanges:
        body = one["body"].decode("utf-8", "surrogateescape")
        try:
            answer = {"answer": one["answer"].decode()}
        except UnicodeDecodeError:
            answer = {"answer_base64": base64.b64encode(one["answer"]).decode()}
        wanted = {"content-type", "a2a-version", "a2a-extensions", "accept"}
        fields = [field for field in one["headers"] if field[0] in wanted]
        kind = dict(one["answer_headers"]).get("content-type", "")
        row = {"method": one["method"], "path": one["path"], "headers": fields, "body": body,
               "status": one["status"], "content_type": kind, **answer}
        lines.append(json.dumps(row, separators=(",", ":")))
    return gzip.compress("\n".join(lines).encode() + b"\n", mtime=0)


@contextlib.contextmanager
def agent(bindings: str, public: str = "http://127.0.0.1:1"):
    """The agent as it serves: its port over HTTP, and its endpoint in the record."""
    over_grpc = free_port()
    flags = ("--grpc-port", str(over_grpc)) if "GRPC" in bindings else ()
    with serving("sut", "--bindings", bindings, "--public-url", public, *flags) as port:
        http, grpc = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{over_grpc}"
        at = {"JSONRPC": {"url": f"{http}/"}, "HTTP+JSON": {"rest": f"{http}/"}, "GRPC": {"grpc": grpc}}
        only = {"GRPC": {"url": f"{grpc}/", "card": f"{http}{WELL_KNOWN}agent-card.json"}, "HTTP+JSON": {"restAlone": True}}
        endpoint = only.get(bindings, {})
        for binding in bindings.split(","):
            endpoint |= at[binding]
        yield port, endpoint


def alone(args) -> dict[str, str]:
    exchanges: list[dict] = []
    front = Front(0, record=exchanges)  # its port has to be known before the agent's card is made
    with agent(args.bindings, f"http://127.0.0.1:{front.port}") as (port, _):
        front.target = port
        found = run(args.kit, args.python, f"http://127.0.0.1:{front.port}")
    if args.keep:
        args.keep.parent.mkdir(exist_ok=True)
        args.keep.write_bytes(kept(exchanges))
    return found


def through(args, bindings: str) -> dict[str, str]:
    """By a gateway behind which the agent speaks these bindings."""
    below = lambda path: f"/a2a/{ROUTE}{path}" if path.startswith(WELL_KNOWN) else path
    front = Front(0, paths=below, route=ROUTE)
    public = ("--public-url", f"http://127.0.0.1:{front.port}")
    with agent(bindings) as (port, endpoint), gateway(port, flags=public, **endpoint) as stage:
        front.target, front.token = stage.listen, stage.token("suite")
        return run(args.kit, args.python, f"http://127.0.0.1:{front.port}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kit", required=True, type=pathlib.Path)
    parser.add_argument("--python", required=True)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--bindings", default="JSONRPC,HTTP+JSON,GRPC", help="what the agent's card names")
    args = parser.parse_args()
    with concurrent.futures.ThreadPoolExecutor() as at_once:
        before = at_once.submit(alone, args)
        after = at_once.submit(through, args, args.bindings)
        between = {name: at_once.submit(through, args, binding) for name, binding in ALONE.items()}
        lost = table("a2a", before.result(), after.result())
        for name, found in between.items():
            lost += table(name, before.result(), found.result())
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
