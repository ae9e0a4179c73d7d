"""The names that a suite asks for, at an endpoint that stands for several servers: there each begins with its member's (ADR 82)."""

import json

NAMED = {"tools/call", "prompts/get"}


class Member:
    """What a client of a suite would have to say for it to be about one member, and to hear as if there were no other."""

    def __init__(self, name: str):
        self.tool, self.uri = f"{name}__", f"{name}+"

    def asked(self, body: bytes) -> bytes:
        """A request, with the names at the endpoint; what is no such request stays as it is."""
        try:
            message = json.loads(body)
        except ValueError:
            return body
        params = message.get("params") if isinstance(message, dict) else None
        if not isinstance(params, dict):
            return body
        self._prefixed(params, "name", self.tool if message.get("method") in NAMED else None)
        self._prefixed(params, "uri", self.uri if str(message.get("method")).startswith("resources/") else None)
        if isinstance(params.get("ref"), dict):
            self._prefixed(params["ref"], "name", self.tool)
            self._prefixed(params["ref"], "uri", self.uri)
        return json.dumps(message).encode()

    @staticmethod
    def _prefixed(of: dict, member: str, prefix: str | None) -> None:
        if prefix and isinstance(of.get(member), str):
            of[member] = prefix + of[member]

    def field(self, name: str, value: str) -> str:
        """A field of a request: `Mcp-Name` says the name or the URI again."""
        if name.lower() != "mcp-name":
            return value
        return (self.uri if "://" in value else self.tool) + value

    def told(self, line: bytes) -> bytes:
        """A line of an answer, with the names of the server."""
        return line.replace(self.tool.encode(), b"").replace(self.uri.encode(), b"")
