"""A real OpenID Connect provider beside the stage: the certified oidc-provider."""

import base64
import json
import urllib.parse
import urllib.request


class Provider:
    """One provider, with a client for each subject; the first is whose token is given when none is asked for."""

    def __init__(self, stage, name, subjects, alg="ES256", port=0):
        self.stage, self.name, self.alg = stage, name, alg
        self.clients = {subject: f"client-{n}" for n, subject in enumerate(subjects)}
        flags = [flag for subject, client in self.clients.items() for flag in ("--client", f"{client}:secret:{subject}")]
        self.process = stage.start(name, "oidc_provider", "--alg", alg, "--port", str(port), *flags)
        self.number = stage.port(self.process)
        self.issuer = f"http://127.0.0.1:{self.number}"

    def token(self, subject=None, audience=None):
        """An access token, for the gateway where no audience is given."""
        client = self.clients[subject or next(iter(self.clients))]
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": audience or self.stage.url})
        request = urllib.request.Request(self.issuer + "/token", form.encode())
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{client}:secret".encode()).decode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["access_token"]

    def rotate(self, keep):
        """Signs with a new key from now on; the old one stays published, or does not."""
        url = f"{self.issuer}/admin/rotate?keep={'true' if keep else 'false'}"
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=30).close()

    def asked_for_keys(self):
        """The requests for metadata and keys that reached it."""
        return [row for row in self.stage.seen(self.name) if row["path"].startswith(("/.well-known", "/jwks"))]
