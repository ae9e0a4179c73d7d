"""A real SPIRE server and agent on loopback, in a directory of their own."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

from stage import free_port

BIN = pathlib.Path(os.environ["VIDIMUS_SPIRE_BIN"])
DOMAIN = "corp.example"
SERVER = """
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  trust_domain = "{domain}"
  data_dir = "{dir}/server"
  socket_path = "{dir}/server.sock"
  log_level = "INFO"
  ca_ttl = "24h"
  default_x509_svid_ttl = "1h"
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3", connection_string = "{dir}/datastore.sqlite3" }} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
}}
health_checks {{ listener_enabled = true, bind_address = "127.0.0.1", bind_port = "{health}" }}
"""
AGENT = """
agent {{
  server_address = "127.0.0.1"
  server_port = "{port}"
  trust_domain = "{domain}"
  trust_bundle_path = "{dir}/bootstrap.pem"
  data_dir = "{dir}/agent"
  socket_path = "{dir}/agent.sock"
  log_level = "INFO"
}}
plugins {{
  KeyManager "memory" {{ plugin_data {{}} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{ discover_workload_path = true }} }}
}}
health_checks {{ listener_enabled = true, bind_address = "127.0.0.1", bind_port = "{health}" }}
"""


class Spire:
    """Server and agent, joined. They end with the stage."""

    def __init__(self, stage):
        self.stage, self.dir = stage, stage.root / "spire"
        self.dir.mkdir()
        for name in ("server", "agent"):
            (self.dir / name).mkdir()
        port = free_port()
        self.start("spire-server", SERVER, port)
        (self.dir / "bootstrap.pem").write_text(self.bundle())
        self.node = f"spiffe://{DOMAIN}/node"
        token = json.loads(self.server("token", "generate", "-spiffeID", self.node, "-output", "json"))["value"]
        self.start("spire-agent", AGENT, port, "-joinToken", token)

    def start(self, program, configuration, port, *flags):
        health = free_port()
        file = self.dir / f"{program}.conf"
        file.write_text(configuration.format(port=port, health=health, domain=DOMAIN, dir=self.dir))
        log = self.dir / f"{program}.log"
        with open(log, "w") as output:
            process = subprocess.Popen([BIN / program, "run", "-config", file, *flags], stdout=output, stderr=output)
        self.stage.processes.callback(self.stage.stop, process)

        def ready():
            if process.poll() is not None:
                raise AssertionError(f"{program} ended:\n" + log.read_text()[-4000:])
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{health}/ready").close()
                return True
            except (urllib.error.HTTPError, OSError):
                return False

        self.stage.until(ready, 90)

    def server(self, *command):
        """A command of `spire-server` that talks to the running one."""
        done = subprocess.run([BIN / "spire-server", *command, "-socketPath", self.dir / "server.sock"], capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"spire-server {' '.join(map(str, command))}: {done.stdout}{done.stderr}")
        return done.stdout

    def bundle(self, form="pem"):
        return self.server("bundle", "show", "-format", form)

    def workload(self, name, path):
        """Registers a workload, which is whoever runs the program of this name, and returns a function that fetches its SVID."""
        program = self.dir / name
        shutil.copy(BIN / "spire-agent", program)
        self.server("entry", "create", "-parentID", self.node, "-spiffeID", f"spiffe://{DOMAIN}/{path}", "-selector", f"unix:uid:{os.getuid()}",
                    "-selector", f"unix:path:{program}")

        def fetch():
            """Asks the agent's Workload API, as any workload does; None while the agent has no SVID for it."""
            out = self.dir / f"{name}-svid"
            out.mkdir(exist_ok=True)
            done = subprocess.run([program, "api", "fetch", "x509", "-socketPath", self.dir / "agent.sock", "-write", out, "-silent"],
                                  capture_output=True, text=True)
            return out if done.returncode == 0 else None

        return fetch

    def authority(self, *command):
        return json.loads(self.server("localauthority", "x509", *command, "-output", "json"))
