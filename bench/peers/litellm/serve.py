"""LiteLLM's proxy: one model of an OpenAI-compatible provider, the callers' virtual key checked, as many workers as cores."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

directory, port, upstream = Path(os.environ["DIR"]), os.environ["PORT"], f"http://127.0.0.1:{os.environ['UPSTREAM']}"
KEY = "sk-bench-7d1f0a"
config = {
    "model_list": [
        {"model_name": "bench-model", "litellm_params": {"model": "openai/bench-model", "api_base": f"{upstream}/v1", "api_key": "sk-upstream"}}
    ],
    "mcp_servers": {"ledger": {"url": f"{upstream}/mcp", "transport": "http"}},
    "general_settings": {"master_key": KEY},
    "litellm_settings": {"telemetry": False, "set_verbose": False},
}
(directory / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
ready = {
    "product": f"LiteLLM {version('litellm')}",
    "surface": {
        "chat": "/v1/chat/completions",
        "mcp": "/ledger/mcp",
        "tools": [f"ledger-{tool}" for tool in ("get_invoice", "list_invoices", "match_invoice", "get_purchase_order")],
        "exact": False,
    },
    "tokens": [KEY],
    "cannot": {"a2a_send": "LiteLLM's A2A agents are registered in a database (PostgreSQL), which is not among what the registries bring"},
}
binary = Path(sys.executable).with_name("litellm")
arguments = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", port, "--num_workers", str(os.cpu_count())]
os.environ |= {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
# A worker imports for longer than the five seconds after which its server would replace it.
server = subprocess.Popen([str(binary), *arguments, "--timeout_worker_healthcheck", "120"])
while True:  # who started this does not wait for ever
    if server.poll() is not None:
        sys.exit("the proxy ended")
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=60).close()
        break
    except OSError:
        time.sleep(0.2)
(directory / "ready.json").write_text(json.dumps(ready))
sys.exit(server.wait())
