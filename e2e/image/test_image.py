"""The image as an OCI layout: deterministic, whole, with nothing in it that is not needed; its root runs the binary as nobody in particular."""

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import tempfile
import time
import tomllib
import unittest
import urllib.request
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from stage import free_port

ROOT = Path(__file__).parents[2]
USER = 65532
AGENT = """apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a}
spec: {owner: ada.l@example.com, team: t, purpose: p, riskLevel: low, identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}]}
"""


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        cls.at = Path(cls.directory.name)
        # Its lines of code are half a gigabyte, and no part of what is asked here.
        cls.binary = cls.at / "vidimus"
        subprocess.run(["objcopy", "--strip-all", os.environ["VIDIMUS_BIN"], cls.binary], check=True)
        cls.digest = cls.write("image")
        cls.layout = cls.at / "image"
        index = json.loads((cls.layout / "index.json").read_text())
        cls.descriptors = index["manifests"]
        cls.manifest = cls.document(cls.descriptors[0])
        cls.config = cls.document(cls.manifest["config"])
        cls.tar = gzip.decompress(cls.blob(cls.manifest["layers"][0]))

    @classmethod
    def write(cls, name):
        ran = subprocess.run([ROOT / "scripts" / "image.py", "--binary", cls.binary, "--out", cls.at / name], capture_output=True, text=True, cwd="/")
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    @classmethod
    def blob(cls, descriptor):
        content = (cls.layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
        assert len(content) == descriptor["size"] and "sha256:" + hashlib.sha256(content).hexdigest() == descriptor["digest"], descriptor
        return content

    @classmethod
    def document(cls, descriptor):
        return json.loads(cls.blob(descriptor))

    def test_two_builds_give_the_same_bytes(self):
        self.assertEqual(self.write("again"), self.digest)
        files = [{path.relative_to(at): path.read_bytes() for path in at.rglob("*") if path.is_file()} for at in (self.layout, self.at / "again")]
        self.assertEqual(*files)
        self.assertEqual(self.descriptors[0]["digest"], self.digest)
        # And another binary another one.
        with open(self.binary, "ab") as file:
            file.write(b"\0")
        try:
            self.assertNotEqual(self.write("again"), self.digest)
        finally:
            os.truncate(self.binary, self.binary.stat().st_size - 1)

    def test_every_blob_is_named_and_whole(self):
        self.assertEqual(json.loads((self.layout / "oci-layout").read_text()), {"imageLayoutVersion": "1.0.0"})
        named = set()
        for descriptor in self.descriptors:
            manifest = self.document(descriptor)
            self.assertEqual(manifest["mediaType"], descriptor["mediaType"])
            for one in (descriptor, manifest["config"], *manifest["layers"]):
                self.blob(one)
                named.add(one["digest"].removeprefix("sha256:"))
        self.assertEqual({path.name for path in (self.layout / "blobs" / "sha256").iterdir()}, named)
        self.assertEqual(self.config["rootfs"]["diff_ids"], ["sha256:" + hashlib.sha256(self.tar).hexdigest()])

    def test_there_is_the_binary_what_it_needs_and_nothing_else(self):
        self.assertEqual(self.config["config"]["User"], f"{USER}:{USER}")
        self.assertEqual(self.config["config"]["Entrypoint"], ["/usr/bin/vidimus"])
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as tar:
            members = {member.name: member for member in tar}
        files = {name for name, member in members.items() if member.isfile()}
        libraries = {name for name in files if name.startswith(("lib", "usr/lib"))}
        self.assertEqual(files - libraries, {"usr/bin/vidimus", "etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ssl/certs/ca-certificates.crt"})
        self.assertEqual({Path(name).name.split(".so")[0].split("-")[0] for name in libraries}, {"libc", "libm", "libgcc_s", "ld"})
        self.assertTrue(all(member.isfile() or member.isdir() for member in members.values()), "no link and no device")
        writable = {name: (member.uid, member.mode) for name, member in members.items() if member.uid or member.mode & 0o7022}
        self.assertEqual(writable, {"tmp": (0, 0o1777), "var/lib/vidimus": (USER, 0o700)}, "nothing of it can be changed by who runs it, and nothing is setuid")

    def test_the_bill_of_materials_is_of_this_image_and_has_what_is_in_it(self):
        referrer = self.document(self.descriptors[1])
        self.assertEqual(referrer["artifactType"], "application/vnd.cyclonedx+json")
        self.assertEqual(referrer["subject"]["digest"], self.digest)
        text = self.blob(referrer["layers"][0]).decode()
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text))
        bom = json.loads(text)
        self.assertEqual(bom["metadata"]["component"]["hashes"][0]["content"], hashlib.sha256(self.binary.read_bytes()).hexdigest())
        locked = {f"pkg:cargo/{one['name']}@{one['version'].replace('+', '%2B')}" for one in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
        crates = {one["purl"] for one in bom["components"] if one["type"] == "library"}
        self.assertEqual(crates - locked, set())
        for one in ("rustls", "cedar-policy", "tokio", "vidimus-core"):
            self.assertTrue(any(crate.startswith(f"pkg:cargo/{one}@") for crate in crates), one)
        for one in ("proptest", "loom", "vidimus-testkit", "vidimus-bench"):
            self.assertFalse(any(crate.startswith(f"pkg:cargo/{one}@") for crate in crates), f"{one} is of tests")
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as tar:
            libraries = {f"/{member.name}" for member in tar if member.isfile() and member.name.startswith(("lib", "usr/lib"))}
        self.assertEqual({one["name"] for one in bom["components"] if one["type"] == "file"}, libraries | {"/etc/ssl/certs/ca-certificates.crt"})

    def test_its_root_runs_the_binary_as_its_user(self):
        if os.geteuid():
            self.fail("chroot(8) takes root; run this as root")
        root = self.at / "root"
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as tar:
            tar.extractall(root, filter="fully_trusted")
        inside = ["chroot", f"--userspec={USER}:{USER}", root, "/usr/bin/vidimus"]
        environment = dict(one.split("=", 1) for one in self.config["config"]["Env"])
        environment["PATH"] += ":" + os.environ["PATH"]
        said = subprocess.run([*inside, "--version"], capture_output=True, text=True, check=True, env=environment).stdout
        self.assertEqual(said.split(), ["vidimus", tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]])
        objects = root / "etc" / "vidimus" / "objects"
        objects.mkdir(parents=True)
        (objects / "a.yaml").write_text(AGENT)
        admin = free_port()
        serve = ["serve", "--resources=/etc/vidimus/objects", "--data=/var/lib/vidimus", f"--listen=127.0.0.1:{free_port()}",
                 f"--tls-listen=127.0.0.1:{free_port()}", f"--admin=127.0.0.1:{admin}"]
        with open(self.at / "log", "w") as log:
            gateway = subprocess.Popen([*inside, *serve], stderr=log, env=environment)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz") as answer:
                        self.assertEqual(answer.read(), b"ready\n")
                        break
                except OSError:
                    self.assertLess(time.monotonic(), deadline, (self.at / "log").read_text())
                    time.sleep(0.1)
            gateway.send_signal(signal.SIGTERM)
            self.assertEqual(gateway.wait(30), 0)
        finally:
            gateway.kill()
            gateway.wait()
        self.assertEqual((root / "var/lib/vidimus/ledger").stat().st_uid, USER)


if __name__ == "__main__":
    unittest.main()
