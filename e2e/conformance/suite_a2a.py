"""A suite for A2A agents, in a working copy of its own, against the agent alone and then through the gateway.

    suite_a2a.py --suite 'COMMAND with {url}' --report FILE [--keep recorded/a2a.jsonl.gz] [--bindings JSONRPC,HTTP+JSON]

COMMAND is run twice; it writes FILE, in the JUnit format. What it sends to the agent alone, and what the agent answers, is
kept with --keep, so that `replay.py` can do it again without the suite.
"""

import argparse
import base64
import gzip
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from compare import table
from front import Front
from stage_of_suite import gateway, serving

WELL_KNOWN = "/.well-known/"


def run(command: str, url: str, report: pathlib.Path) -> dict[str, str]:
    """Each test of the suite and what came of it."""
    report.unlink(missing_ok=True)
    done = subprocess.run(command.replace("{url}", url), shell=True, capture_output=True, text=True)
    if not report.exists():
        sys.exit(f"the suite left no report: {done.stdout}{done.stderr}")
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[f"{case.get('classname')}::{case.get('name')}"] = result
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--report", required=True, type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--bindings", default="JSONRPC", help="what the agent's card names")
    args = parser.parse_args()
    bindings = ("--bindings", args.bindings)

    exchanges: list[dict] = []
    front = Front(0, record=exchanges)  # its port has to be known before the agent's card is made
    with serving("sut", *bindings, "--public-url", f"http://127.0.0.1:{front.port}/") as port:
        front.target = port
        alone = run(args.suite, f"http://127.0.0.1:{front.port}", args.report)
    if args.keep:
        args.keep.parent.mkdir(exist_ok=True)
        args.keep.write_bytes(kept(exchanges))

    below = lambda path: "/a2a/conformance/sut" + path if path.startswith(WELL_KNOWN) else path
    front = Front(0, paths=below)
    public = ("--public-url", f"http://127.0.0.1:{front.port}")
    with serving("sut", *bindings, "--public-url", "http://127.0.0.1:1/") as port, gateway(port, flags=public) as stage:
        front.target, front.token = stage.listen, stage.token("suite")
        through = run(args.suite, f"http://127.0.0.1:{front.port}", args.report)
    return 1 if table("a2a", alone, through) else 0


if __name__ == "__main__":
    sys.exit(main())
