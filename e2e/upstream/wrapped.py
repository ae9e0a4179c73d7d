"""The published server-everything as it speaks stdio, behind `vidimus wrap` ($VIDIMUS_BIN). It logs no requests: `wrap` passes them on."""

import os
import pathlib
import signal
import subprocess
import time
import urllib.request

from _serve import arguments, listen


def main() -> None:
    args = arguments(__doc__).parse_args()
    with listen(args.port) as sock:
        port = sock.getsockname()[1]
    package = pathlib.Path(os.environ["VIDIMUS_E2E"]) / "node/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    command = [os.environ["VIDIMUS_BIN"], "wrap", "--listen", f"127.0.0.1:{port}", "--", "node", str(package), "stdio"]
    process = subprocess.Popen(command)
    for ends in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ends, lambda *_: process.terminate())
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                print(f"ready {port}", flush=True)
                break
        except OSError:
            time.sleep(0.02)
    raise SystemExit(process.wait())


if __name__ == "__main__":
    main()
