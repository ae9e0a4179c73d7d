"""Envoy between the client and the upstream, on as many workers as there are cores; the access log goes to /dev/null.

    serve.py plain      one route to one cluster
    serve.py jwt-rbac   the caller's JWT (ES256) is verified with keys from the configuration, verified tokens are remembered
                        (jwt_cache_config), RBAC allows the paths to callers of a group, the token is not handed on

The contract of a peer is in ../README.md.
"""

import json
import os
import sys
import time
from pathlib import Path

import envoy
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

CALLERS = 16
ISSUER, AUDIENCE = "https://issuer.bench.example", "bench"
TYPE = "type.googleapis.com/envoy.extensions"


def main(variant: str) -> None:
    directory = Path(os.environ["DIR"])
    key = ec.generate_private_key(ec.SECP256R1())
    filters = [] if variant == "plain" else [jwt_authn(key), rbac()]
    filters.append({"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"}})
    path = directory / "envoy.json"
    path.write_text(json.dumps(bootstrap(filters, int(os.environ["PORT"]), int(os.environ["UPSTREAM"]))))
    binary = Path(envoy.__file__).with_name("_bin") / "envoy"
    command = [str(binary), "--config-path", str(path), "--concurrency", str(os.cpu_count()), "--log-level", "error", "--use-dynamic-base-id"]
    surface = {"mcp": "/mcp", "a2a": "/a2a/", "chat": "/v1/chat/completions", "exact": True}
    ready = {"product": "Envoy 1.40.0", "surface": surface, "tokens": [token(key, number) for number in range(CALLERS)]}
    (directory / "ready.json").write_text(json.dumps(ready))
    os.execv(binary, command)


def token(key: ec.EllipticCurvePrivateKey, number: int) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": f"caller-{number:02}", "group": "callers", "iat": now, "nbf": now, "exp": now + 6 * 3600}
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "bench"})


def jwt_authn(key: ec.EllipticCurvePrivateKey) -> dict:
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())) | {"kid": "bench", "alg": "ES256", "use": "sig"}
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": json.dumps({"keys": [jwk]})},
        "forward": False,
        "payload_in_metadata": "claims",
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": f"{TYPE}.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    }


def rbac() -> dict:
    group = {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "claims"}, {"key": "group"}], "value": {"string_match": {"exact": "callers"}}}}
    policies = {
        name: {"permissions": [{"url_path": {"path": {"prefix": prefix}}}], "principals": [group]}
        for name, prefix in {"mcp": "/mcp", "a2a": "/a2a/", "models": "/v1/"}.items()
    }
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {"@type": f"{TYPE}.filters.http.rbac.v3.RBAC", "rules": {"action": "ALLOW", "policies": policies}},
    }


def bootstrap(filters: list[dict], port: int, upstream: int) -> dict:
    manager = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]}]},
        "http_filters": filters,
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": {"@type": f"{TYPE}.access_loggers.file.v3.FileAccessLog", "path": "/dev/null"}}],
    }
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = {
        "name": "bench",
        "address": address(port),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


main(*sys.argv[1:])
