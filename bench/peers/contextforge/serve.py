"""ContextForge (mcp-contextforge-gateway): the MCP server registered, its tools in a virtual server, the caller's JWT checked.

SQLite, as many workers as cores; its rate limits are off, for they would refuse what is measured.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

DIRECTORY, PORT, UPSTREAM = Path(os.environ["DIR"]), os.environ["PORT"], os.environ["UPSTREAM"]
ADMIN, SECRET = "admin@example.com", "bench-7d1f0a-0c7a2f2e93d14a3c8a54-Signing-Key"
SETTINGS = {
    "DATABASE_URL": f"sqlite:///{DIRECTORY}/mcp.db",
    "JWT_SECRET_KEY": SECRET,
    "AUTH_ENCRYPTION_SECRET": SECRET + "-2",
    "BASIC_AUTH_PASSWORD": "Bench-7d1f0a-Basic!",
    "PLATFORM_ADMIN_EMAIL": ADMIN,
    "PLATFORM_ADMIN_PASSWORD": "Bench-7d1f0a-Admin!",
    "AUTH_REQUIRED": "true",
    "SSRF_ALLOW_LOCALHOST": "true",
    "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
    "RATE_LIMITING_ENABLED": "false",
    "TOOL_RATE_LIMIT": "1000000000",
    "MCPGATEWAY_UI_ENABLED": "false",
    "MCPGATEWAY_ADMIN_API_ENABLED": "true",
    "LOG_LEVEL": "ERROR",
}


def main() -> None:
    os.environ.update(SETTINGS)
    tools = Path(sys.executable).parent
    server = subprocess.Popen(
        [str(tools / "uvicorn"), "mcpgateway.main:app", "--host", "127.0.0.1", "--port", PORT, "--workers", str(os.cpu_count()), "--log-level", "error", "--timeout-worker-healthcheck", "120"]
    )
    token = subprocess.run(
        [sys.executable, "-m", "mcpgateway.utils.create_jwt_token", "--username", ADMIN, "--exp", "600", "--secret", SECRET, "--admin"],
        check=True, capture_output=True, text=True,
    ).stdout.split()[0]
    wait(server)
    call(token, "POST", "/gateways", {"name": "ledger", "url": f"http://127.0.0.1:{UPSTREAM}/mcp", "transport": "STREAMABLEHTTP"})
    registered = call(token, "GET", "/tools")
    registered = registered.get("data", registered) if isinstance(registered, dict) else registered
    ids = [tool["id"] for tool in registered]
    server_id = call(token, "POST", "/servers", {"server": {"name": "bench", "associated_tools": ids}})["id"]
    cannot = {
        "a2a_send": "ContextForge calls A2A agents as tools or by its own /a2a/NAME/invoke, not in the A2A protocol",
        "llm_chat": "ContextForge is not a proxy for models",
        "llm_chat_stream": "ContextForge is not a proxy for models",
    }
    names = [f"ledger-{tool.replace('_', '-')}" for tool in ("get_invoice", "list_invoices", "match_invoice", "get_purchase_order")]
    ready = {
        "product": f"ContextForge {version('mcp-contextforge-gateway')}",
        "surface": {"mcp": f"/servers/{server_id}/mcp", "tools": names, "exact": False},
        "tokens": [token],
        "cannot": cannot,
    }
    (DIRECTORY / "ready.json").write_text(json.dumps(ready))
    sys.exit(server.wait())


def wait(server: subprocess.Popen) -> None:
    while True:  # who started this does not wait for ever
        if server.poll() is not None:
            sys.exit("the gateway ended")
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5).close()
        except OSError:
            time.sleep(0.2)


def call(token: str, method: str, path: str, body: dict | None = None) -> dict | list:
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", method=method, data=body and json.dumps(body).encode())
    request.add_header("authorization", f"Bearer {token}")
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {path}: {error.code} {error.read()[:500]}")


main()
