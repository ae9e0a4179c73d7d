"""The official MCP conformance suite against the everything-server alone, then through the gateway: as it is, as the one member of an endpoint with
members, and by the bridge as if it spoke the other era alone."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from front import Front
from names import Member
from stage_of_suite import MEMBER, gateway, serving

VERSIONS = ("2025-11-25", "2026-07-28")
MODULE = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
RESULTS = {"SUCCESS": "passed", "FAILURE": "failed", "WARNING": "warned", "SKIPPED": "skipped", "INFO": "passed"}


def run(url: str, version: str) -> dict[str, str]:
    """`version scenario check` and what came of it."""
    cache = pathlib.Path(os.environ["VIDIMUS_CONFORMANCE"])
    with tempfile.TemporaryDirectory() as directory:
        command = [str(cache / "node"), str(cache / MODULE), "server", "--url", url,
                   "--requirements", version, "-o", directory]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        found: dict[str, str] = {}
        for path in sorted(pathlib.Path(directory).glob("server-*/checks.json")):
            # server-SCENARIO-2026-11-27T09-28-57-089Z
            scenario = path.parent.name.removeprefix("server-").rsplit("-", 6)[0]
            for check in json.loads(path.read_text()):
                name = f"{version} {scenario} {check['id']}"
                result = RESULTS.get(check["status"], check["status"])
                # One id may be checked more than once; the worst counts.
                found[name] = result if found.get(name) in (None, "passed") else found[name]
    if not found:
        sys.exit(f"the suite found nothing at {url}: {done.stdout}{done.stderr}")
    return found


# What stands in the way, and the versions of clients that meet something there: a client of the server's own era passes a bridge as it is.
WAYS = {"everything": VERSIONS, "members": VERSIONS, "stateless": VERSIONS[:1], "sessions": VERSIONS[1:]}


def main() -> int:
    from compare import table

    lost = 0
    with serving("everything") as port, gateway(port) as stage:
        alone = {version: run(f"http://127.0.0.1:{port}/mcp", version) for version in VERSIONS}
        for way, versions in WAYS.items():
            front = Front(stage.listen, stage.token("suite"), member=Member(MEMBER) if way == "members" else None)
            before, through = {}, {}
            for version in versions:
                before |= alone[version]
                through |= run(f"http://127.0.0.1:{front.port}/mcp/conformance/{way}", version)
            lost += table("mcp" if way == "everything" else f"mcp_{way}", before, through)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
