"""Who takes records: a collector, an rsyslog, and a syslog server of the standard library. Each gives what it took, as (index, body) pairs."""

import contextlib
import json
import os
import re
import socket
import socketserver
import ssl
import subprocess
import threading

COLLECTOR = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{file: {{path: "{file}", append: true}}}}
service:
  pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}
  telemetry: {{metrics: {{level: none}}}}
"""
RSYSLOG = """
global(workDirectory="{root}" maxMessageSize="128k" defaultNetstreamDriverCAFile="{cert}" defaultNetstreamDriverCertFile="{cert}"
       defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp")
template(name="whole" type="string" string="%STRUCTURED-DATA% %msg%\\n")
ruleset(name="all") {{ action(type="omfile" file="{file}" template="whole") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="all" {tls})
"""
INDEX = re.compile(r'^\[vidimus@32473 origin="[^"]+" index="(\d+)"')


def pair(data_and_body):
    """Of `[structured data] body`, where no value has a bracket that is not escaped."""
    data, body = re.match(r'(\[(?:[^\]\\]|\\.)*\]) ?(.*)$', data_and_body, re.S).groups()
    return int(INDEX.match(data).group(1)), body


class Process:
    """A receiver that is a process, which can be stopped and started again."""

    def __init__(self, stage, port, name):
        self.stage, self.port, self.process, self.name = stage, port, None, name
        self.file = stage.root / f"{name}.out"
        stage.processes.callback(self.stop)
        self.start()

    def start(self):
        with open(self.stage.root / f"{self.name}.err", "a") as errors:
            self.process = subprocess.Popen(self.command(), stdout=errors, stderr=errors)
        self.stage.until(self.listens)

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended: " + (self.stage.root / f"{self.name}.err").read_text())
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self):
        """By SIGTERM: each writes out what it has acknowledged."""
        if self.process and self.process.poll() is None:
            self.stage.stop(self.process)

    def text(self):
        return self.file.read_text() if self.file.exists() else ""


class Collector(Process):
    def __init__(self, stage, port):
        self.configuration = stage.root / "collector.yaml"
        self.configuration.write_text(COLLECTOR.format(port=port, file=stage.root / "collector.out"))
        super().__init__(stage, port, "collector")

    def command(self):
        return [os.environ["VIDIMUS_OTELCOL"], "--config", str(self.configuration)]

    def records(self):
        """The log records that it wrote whole so far."""
        for line in self.text().splitlines(keepends=True):
            if line.endswith("\n"):
                for resource in json.loads(line)["resourceLogs"]:
                    for scope in resource["scopeLogs"]:
                        yield from scope["logRecords"]

    def taken(self):
        for record in self.records():
            attributes = {one["key"]: one["value"] for one in record["attributes"]}
            yield int(attributes["vidimus.ledger.index"]["intValue"]), record["body"]["stringValue"]


class Rsyslog(Process):
    def __init__(self, stage, port, driver=None, files=("", "")):
        name = f"rsyslog-{driver or 'tcp'}"
        tls = f'streamDriver.name="{driver}" streamDriver.mode="1" streamDriver.authMode="anon"' if driver else ""
        self.configuration, self.pid = stage.root / f"{name}.conf", stage.root / f"{name}.pid"
        text = RSYSLOG.format(root=stage.root, cert=files[0], key=files[1], file=stage.root / f"{name}.out", port=port, tls=tls)
        self.configuration.write_text(text)
        super().__init__(stage, port, name)

    def command(self):
        self.pid.unlink(missing_ok=True)
        return [os.environ["VIDIMUS_RSYSLOGD"], "-n", "-i", str(self.pid), "-f", str(self.configuration)]

    def taken(self):
        return [pair(line) for line in self.text().splitlines()]


class Siem:
    """A syslog server (RFC 5424, counted by octets), over TLS where it has a certificate. `breaks`: it reads a part of each connection and
    closes it, as a server that is killed. `polite`: it answers the end of TLS, as RFC 5425 says it must."""

    def __init__(self, port, files=None, polite=True):
        self.port, self.polite, self.breaks, self.frames, self.broken, self.server = port, polite, False, [], 0, None
        self.tls = None
        if files:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*files)
        self.start()

    def start(self):
        siem = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError):
                    siem.take(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def take(self, connection):
        if self.breaks:
            connection.recv(100)
            self.broken += 1
            # At once, as the system does for a process that is killed; `socketserver` would end its side in good order before.
            connection.close()
            return
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True)
        read = b""
        while part := connection.recv(65536):
            read += part
        # What was read to the end is taken, before the end is answered.
        while read:
            count, rest = read.split(b" ", 1)
            self.frames.append(rest[:int(count)].decode())
            assert len(self.frames[-1].encode()) == int(count), "a message is cut"
            read = rest[int(count):]
        if self.tls and self.polite:
            connection.unwrap()
        connection.close()

    def taken(self):
        """Of `<PRI>1 TIME HOST APP PROCID MSGID [DATA] BODY`."""
        return [pair(frame.split(" ", 6)[6]) for frame in list(self.frames)]
