"""Records go out: nothing is lost whoever stops or is killed, and what comes twice has one index."""

import datetime
import json
import pathlib
import signal
import subprocess
import tempfile
import unittest
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from load import Load
from receivers import Collector, Rsyslog, Siem
from stage import BINARY, Stage, free_port


def certificate(root):
    """Of 127.0.0.1, signed by itself; the paths of it and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1)).add_extension(names, False).sign(key, hashes.SHA256()))
    paths = root / "cert.pem", root / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return tuple(map(str, paths))


class Sinks(unittest.TestCase):
    def stage(self, *sinks, flags=("--sink-from", "0")):
        stage = Stage("ledger", flags=[*(part for sink in sinks for part in ("--sink", sink)), *flags])
        self.addCleanup(stage.close)
        return stage

    def size(self, stage):
        return len(stage.records("--kind", "all"))

    def has_all(self, stage, receiver, seconds=60):
        """Waits until it has every record, and sees that one index is one record; how many it has twice."""
        size = self.size(stage)
        try:
            stage.until(lambda: len({index for index, _ in receiver.taken()}) >= size, seconds)
        except AssertionError as late:
            lacks = sorted(set(range(size)) - {index for index, _ in receiver.taken()})
            raise AssertionError(f"{receiver} lacks {len(lacks)} of {size}: {lacks[:20]}; {late}") from None
        taken = list(receiver.taken())
        self.assertEqual({index for index, _ in taken}, set(range(size)), "all, and no other")
        self.assertEqual(len(set(taken)), size, "one index is one record")
        return len(taken) - size

    def metric(self, stage, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{stage.admin}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return [line for line in lines if line.startswith(name)]

    def test_nothing_is_lost_whoever_stops_or_is_killed(self):
        ports = [free_port() for _ in range(3)]
        otlp, tcp, real = (f"otlp+http://127.0.0.1:{ports[0]}/v1/logs", f"syslog+tcp://127.0.0.1:{ports[1]}",
                           f"syslog+tcp://127.0.0.1:{ports[2]}?body=record")
        stage = self.stage(otlp, tcp, real)
        collector, siem, rsyslog = Collector(stage, ports[0]), Siem(ports[1]), Rsyslog(stage, ports[2])
        self.addCleanup(lambda: siem.stop())
        stage.serve()
        load = Load(stage)
        self.addCleanup(load.end)
        load.more(30)
        # One breaks connections in their midst, the others are away; the calls go on.
        siem.breaks = True
        collector.stop()
        rsyslog.stop()
        load.more(60)
        stage.until(lambda: siem.broken >= 2)
        self.assertTrue(self.metric(stage, f'vidimus_sink_lag_records{{sink="{otlp.removesuffix("/v1/logs")}"}}'))
        stage.gateway.send_signal(signal.SIGKILL)
        stage.gateway.wait()
        stage.serve()
        load.more(30)
        collector.start()
        rsyslog.start()
        siem.breaks = False
        load.more(30)
        # And once more while all are sent what they have missed.
        stage.gateway.send_signal(signal.SIGKILL)
        stage.gateway.wait()
        stage.serve()
        load.more(30)
        load.end()
        stage.until(lambda: sum(line.endswith(" 0") for line in self.metric(stage, "vidimus_sink_lag_records{")) == 3, 90)
        for receiver in (collector, siem, rsyslog):
            self.has_all(stage, receiver)
        # Word for word, so that it can be proven.
        bodies = dict(collector.taken())
        self.assertEqual(bodies, dict(rsyslog.taken()))
        for row in stage.records("--kind", "decision")[:20]:
            self.assertIn(row["id"], {json.loads(body)["id"] for body in bodies.values()})
        for _, body in siem.taken():
            self.assertTrue(body.startswith("CEF:0|Vidimus|Vidimus|"), body)
        record = next(one for one in collector.records() if one.get("eventName") == "vidimus.decision")
        attributes = {one["key"]: one["value"] for one in record["attributes"]}
        self.assertEqual(attributes["vidimus.principal"], {"stringValue": "Agent/finance/invoice-bot"})
        self.assertEqual(len(record["traceId"]), 32)
        self.assertNotIn("eyJ", collector.text() + rsyslog.text() + str(siem.frames), "no token")

    def test_tls_and_an_end_that_nobody_signed(self):
        root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        files = certificate(root)
        ports = {name: free_port() for name in ("ossl", "gtls", "bare", "rude", "polite")}
        address = lambda name, more="": f"syslog+tls://localhost:{ports[name]}?body=ocsf&ca={files[0]}{more}"
        stage = self.stage(address("ossl"), address("gtls", "&end=tcp"), address("bare"), address("rude", "&end=tcp"), address("polite"))
        ossl, gtls = (Rsyslog(stage, ports[driver], driver, files) for driver in ("ossl", "gtls"))
        bare, rude, polite = (Siem(ports[name], files, polite=name == "polite") for name in ("bare", "rude", "polite"))
        for siem in (bare, rude, polite):
            self.addCleanup(siem.stop)
        stage.serve()
        load = Load(stage)
        load.more(20)
        load.end()
        for receiver in (ossl, gtls, rude, polite):
            self.has_all(stage, receiver)
        for index, body in ossl.taken():
            event = json.loads(body)
            of_kind = 3004 if json.loads(event["raw_data"])["kind"] == "act" else 6003
            self.assertEqual((event["metadata"]["sequence"], event["class_uid"]), (index, of_kind))
        # It may have been somebody on the way who ended it.
        stage.until(lambda: stage.logged("without close_notify") > 0)
        [lag] = self.metric(stage, f'vidimus_sink_lag_records{{sink="syslog+tls://localhost:{ports["bare"]}"}}')
        self.assertGreater(int(lag.split()[-1]), 0)
        # Whose certificate is not to be believed has nothing.
        self.assertTrue(polite.frames)
        stranger = Siem(free_port(), certificate(root))
        self.addCleanup(stranger.stop)
        stage.stop(stage.gateway)
        stage.flags = ["--sink", f"syslog+tls://localhost:{stranger.port}", "--sink-from", "0"]
        stage.serve()
        stage.until(lambda: self.metric(stage, "vidimus_sink_requests_total{"))
        self.assertEqual(stranger.frames, [])

    def test_a_new_sink_begins_at_the_present_and_one_of_another_ledger_not_at_all(self):
        port = free_port()
        stage = self.stage(f"syslog+tcp://127.0.0.1:{port}", flags=())
        sinks, stage.flags = stage.flags, []
        stage.serve()
        load = Load(stage)
        load.more(5)
        load.end()
        stage.stop(stage.gateway)
        before = self.size(stage)
        stage.flags = sinks
        siem = Siem(port)
        self.addCleanup(lambda: siem.stop())
        stage.serve()
        load = Load(stage)
        load.more(5)
        load.end()
        size = self.size(stage)
        # The record of the start is there when the sink begins.
        stage.until(lambda: {index for index, _ in siem.taken()} == set(range(before + 1, size)))
        stage.stop(stage.gateway)
        # A ledger that was put back, here to its beginning.
        (stage.data / "ledger").rename(stage.data / "other")
        command = [BINARY, "serve", "--resources", str(stage.resources), "--data", str(stage.data), "--listen", "127.0.0.1:0",
                   "--admin", "127.0.0.1:0", *sinks]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0, done.stderr)
        self.assertIn("--sink", done.stderr)
        self.assertIn("remove the file", done.stderr)


if __name__ == "__main__":
    unittest.main()
