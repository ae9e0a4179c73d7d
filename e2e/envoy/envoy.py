"""A real Envoy with the configuration of deploy/envoy, between agents and the upstreams of a stage."""

import os
import pathlib
import socket
import subprocess

from stage import E2E, Stage, free_port

EXAMPLE = E2E.parent / "deploy/envoy/envoy.yaml"
ENVOY = os.environ["VIDIMUS_ENVOY"]
PLAIN = "      connect_timeout: 1s\n      typed_extension_protocol_options:"

# How Envoy shows who it is, and looks who it asks.
MUTUAL = """      connect_timeout: 1s
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          common_tls_context:
            tls_certificates:
              - certificate_chain: {{filename: {svid}/svid.pem}}
                private_key: {{filename: {svid}/svid-key.pem}}
            validation_context:
              trusted_ca: {{filename: {svid}/bundle.pem}}
              match_typed_subject_alt_names:
                - {{san_type: IP_ADDRESS, matcher: {{exact: 127.0.0.1}}}}
      typed_extension_protocol_options:"""

# How its callers show it who they are.
CALLERS = """      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              require_client_certificate: true
              common_tls_context:
                tls_certificates:
                  - certificate_chain: {{filename: {svid}/svid.pem}}
                    private_key: {{filename: {svid}/svid-key.pem}}
                validation_context:
                  trusted_ca: {{filename: {svid}/bundle.pem}}
          filters:"""
PEER = "validate_mutations: true"


class Envoy:
    """Envoy before a stage's upstreams, which asks at `asks`. With `svid`, a directory, it does so over mutual TLS; with `callers`, one too, its
    callers have to present a certificate, which it says in its questions."""

    def __init__(self, stage: Stage, asks: int, svid: pathlib.Path | None = None, callers: pathlib.Path | None = None):
        self.listen = free_port()
        self.url = f"http://127.0.0.1:{self.listen}"
        text = EXAMPLE.read_text()
        ports = {10000: self.listen, 9191: asks, 9001: stage.ports["ledger"], 9002: stage.ports["echo"], 9003: stage.ports["model"]}
        for example, real in ports.items():
            assert text.count(f"port_value: {example}") == 1, example
            text = text.replace(f"port_value: {example}", f"port_value: {real}")
        if svid:
            assert text.count(PLAIN) == 1
            text = text.replace(PLAIN, MUTUAL.format(svid=svid))
        if callers:
            assert text.count("      filter_chains:\n        - filters:") == 1 and text.count(PEER) == 1
            text = text.replace("      filter_chains:\n        - filters:", CALLERS.format(svid=callers))
            text = text.replace(PEER, f"{PEER}\n                      include_peer_certificate: true")
        config = stage.root / f"envoy-{self.listen}.yaml"
        config.write_text(text)
        self.log = stage.root / f"envoy-{self.listen}.err"
        command = [ENVOY, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
        with open(self.log, "w") as errors:
            process = subprocess.Popen(command, stderr=errors, stdout=errors)
        stage.processes.callback(Stage.stop, process)
        Stage.until(lambda: self.listens() or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.listen)) == 0
