"""Messages and tokens, as they stand on the wire."""

import base64
import json


def claims(authorization):
    payload = authorization.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def call(name, arguments, request_id=1):
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def modern(message):
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    message["params"] = {**message.get("params", {}), "_meta": meta}
    headers = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", message["method"])]
    name = message["params"].get("name") or message["params"].get("uri")
    return message, headers + ([("Mcp-Name", name)] if name else [])
