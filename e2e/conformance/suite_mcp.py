"""The official MCP conformance suite against the everything-server alone, then through the gateway."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from front import Front
from stage_of_suite import gateway, serving

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


def main() -> int:
    from compare import table

    alone: dict[str, str] = {}
    through: dict[str, str] = {}
    with serving("everything") as port, gateway(port) as stage:
        front = Front(stage.listen, stage.token("suite"))
        for version in VERSIONS:
            alone |= run(f"http://127.0.0.1:{port}/mcp", version)
            through |= run(f"http://127.0.0.1:{front.port}/mcp/conformance/everything", version)
    return 1 if table("mcp", alone, through) else 0


if __name__ == "__main__":
    sys.exit(main())
