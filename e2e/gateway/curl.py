"""curl as a client over TLS, with a client certificate or without."""

import json
import subprocess

from message import call, modern


def over_tls(stage, path, tool, token=None, svid=None, version="--http2"):
    """One call; `svid` is the files of certificate and key. What curl exited with and said, and what it got: `version`, `code`
    (`ok` where there is none), `call` and `body`."""
    authorities = stage.root / "gateway-ca.pem"
    authorities.write_text(stage.vidimus("identity", "bundle", "--data", str(stage.data)).stdout)
    message, headers = modern(call(tool, {"id": "INV-1"} if tool == "get_invoice" else {"region": "emea"}))
    command = ["curl", "-sS", version, "--max-time", "60", "--cacert", authorities, f"https://localhost:{stage.tls}{path}",
               "--data-binary", json.dumps(message), "-w", "\n%{http_version} %header{vidimus-code} %header{vidimus-call}"]
    command += ["--cert", svid[0], "--key", svid[1]] if svid else []
    headers += [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
    headers += [("Authorization", f"Bearer {token}")] if token else []
    for name, value in headers:
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"exit": done.returncode, "said": done.stderr}
    body, _, written = done.stdout.rpartition("\n")
    http, code, call_id = written.split(" ")
    return {"exit": 0, "version": http, "code": code or "ok", "call": call_id, "body": body}
