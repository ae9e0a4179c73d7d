#!/usr/bin/env python3
"""Writes the image of a binary as an OCI layout, from scratch and without a daemon: the binary, the libraries that it is linked with, the roots of TLS,
and nothing else; beside it its bill of materials (CycloneDX), as a referrer of the image.

The same binary, libraries, roots and Cargo.lock give the same digests: nothing in it is of the time or of the place. Needs ldd and cargo.

    scripts/image.py --binary target/release/vidimus --out target/image
    skopeo copy oci:target/image:latest docker://registry.example/vidimus
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USER = 65532
# What name resolution of glibc reads, and who the process is.
FILES = {
    "etc/passwd": f"root:x:0:0:root:/:/none\nvidimus:x:{USER}:{USER}:vidimus:/var/lib/vidimus:/none\n",
    "etc/group": f"root:x:0:\nvidimus:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
ROOTS = "etc/ssl/certs/ca-certificates.crt"
MACHINES = {62: ("amd64", "x86_64"), 183: ("arm64", "aarch64")}


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def machine(binary):
    with open(binary, "rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF":
        raise SystemExit(f"{binary}: not an ELF file")
    return MACHINES[int.from_bytes(head[18:20], "little")]


def libraries(binary):
    """Where each library and the loader are: as the binary looks for them. None of one that is linked statically."""
    ran = subprocess.run(["ldd", binary], capture_output=True, text=True)
    if ran.returncode:
        if "not a dynamic executable" in ran.stdout + ran.stderr or "statically linked" in ran.stdout + ran.stderr:
            return []
        raise SystemExit(f"ldd {binary}: {ran.stderr}")
    if "not found" in ran.stdout:
        raise SystemExit(f"ldd {binary}: {ran.stdout}")
    return sorted({path for path in re.findall(r"(?:=>\s+|^\s+)(/\S+)", ran.stdout, re.MULTILINE)})


def layer(binary, roots):
    """The one layer, as a tar whose entries have an order, an owner and no time; and what is in it."""
    entries = {"usr/bin/vidimus": (Path(binary).read_bytes(), 0o755)}
    entries.update({path.lstrip("/"): (Path(path).read_bytes(), 0o755) for path in libraries(binary)})
    entries.update({path: (text.encode(), 0o644) for path, text in FILES.items()})
    entries[ROOTS] = (Path(roots).read_bytes(), 0o644)
    directories = {"tmp": (0o1777, 0), "var/lib/vidimus": (0o700, USER)}
    for path in [*entries, *list(directories)]:
        for above in Path(path).parents:
            if str(above) != ".":
                directories.setdefault(str(above), (0o755, 0))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted([*entries, *directories]):
            info = tarfile.TarInfo(path)
            info.mtime = 0
            if path in directories:
                info.type, (info.mode, info.uid) = tarfile.DIRTYPE, directories[path]
                info.gid = info.uid
                tar.addfile(info)
            else:
                content, info.mode = entries[path]
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue(), {path: content for path, (content, _) in entries.items()}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def packages(files):
    """Of which packages of Debian the files are that are not ours; a file of none is one by itself."""
    found = []
    for path, content in sorted(files.items()):
        if path == "usr/bin/vidimus" or path in FILES:
            continue
        component = {"type": "file", "name": f"/{path}", "hashes": [{"alg": "SHA-256", "content": sha256(content)}]}
        # A merged /usr has two names for one file; the list of packages has one of them.
        for name in (f"/{path}", f"/usr/{path}", os.path.realpath(f"/{path}")):
            ran = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True) if shutil.which("dpkg-query") else None
            if ran and not ran.returncode:
                package = ran.stdout.split(": ")[0].split(", ")[0]
                version = run("dpkg-query", "-W", "-f=${Version}", package)
                name, _, arch = package.partition(":")
                component["purl"] = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}" + (f"?arch={arch}" if arch else "")
                component["version"] = version
                break
        component["bom-ref"] = f"file:/{path}"
        found.append(component)
    return found


def crates(target):
    """What the binary is made of, of Cargo.lock: its normal dependencies for this target, with the sums of the registry."""
    metadata = json.loads(run("cargo", "metadata", "--manifest-path", str(ROOT / "Cargo.toml"), "--locked", "--format-version", "1",
                              "--filter-platform", f"{target}-unknown-linux-gnu"))
    sums = {(one["name"], one["version"]): one.get("checksum") for one in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    by_id = {package["id"]: package for package in metadata["packages"]}
    root = next(package["id"] for package in metadata["packages"] if package["name"] == "vidimus")
    # Features are chosen for the binary alone: `cargo metadata` has those that any member of the workspace asks for.
    tree = run("cargo", "tree", "--manifest-path", str(ROOT / "Cargo.toml"), "--locked", "-p", "vidimus", "-e", "normal", "--prefix", "none",
               "--format", "{p}", "--target", f"{target}-unknown-linux-gnu")
    linked = {tuple(line.split()[:2]) for line in tree.splitlines()}
    members = {one for one, package in by_id.items() if (package["name"], f"v{package['version']}") in linked}
    dependencies = {}
    for one in members:
        uses = (dep["pkg"] for dep in nodes[one]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"]))
        dependencies[one] = [used for used in uses if used in members]

    def ref(one):
        package = by_id[one]
        return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"

    components = []
    for one in members - {root}:
        package = by_id[one]
        component = {"type": "library", "bom-ref": ref(one), "name": package["name"], "version": package["version"], "purl": ref(one)}
        if sums.get((package["name"], package["version"])):
            component["hashes"] = [{"alg": "SHA-256", "content": sums[package["name"], package["version"]]}]
        if package["license"]:
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        components.append(component)
    graph = [{"ref": ref(one), "dependsOn": sorted({ref(used) for used in uses})} for one, uses in dependencies.items()]
    package = by_id[root]
    own = {"type": "application", "bom-ref": ref(root), "name": "vidimus", "version": package["version"], "purl": ref(root),
           "licenses": [{"expression": package["license"]}]}
    return own, sorted(components, key=lambda it: it["bom-ref"]), sorted(graph, key=lambda it: it["ref"])


def bill(files, target):
    own, components, graph = crates(target)
    own["hashes"] = [{"alg": "SHA-256", "content": sha256(files["usr/bin/vidimus"])}]
    document = {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
                "metadata": {"component": own}, "components": components + packages(files), "dependencies": graph}
    # Named by what is in it, so that it is the same for the same.
    named = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, sha256(named.encode()))}"
    return document


class Layout:
    """https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md"""

    def __init__(self, out):
        self.out = out
        shutil.rmtree(out, ignore_errors=True)
        (out / "blobs" / "sha256").mkdir(parents=True)
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})

    def write(self, name, document):
        (self.out / name).write_bytes(self.text(document))

    @staticmethod
    def text(document):
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    def blob(self, kind, content, **more):
        content = content if isinstance(content, bytes) else self.text(content)
        (self.out / "blobs" / "sha256" / sha256(content)).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{sha256(content)}", "size": len(content), **more}


def write(binary, out, roots):
    """The digest of the image."""
    arch, target = machine(binary)
    tar, files = layer(binary, roots)
    sbom = bill(files, target)
    labels = {
        "org.opencontainers.image.title": "vidimus", "org.opencontainers.image.version": sbom["metadata"]["component"]["version"],
        "org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.source": "https://github.com/vidimus/vidimus",
    }
    oci, epoch = "application/vnd.oci.image", "1970-01-01T00:00:00Z"
    layout = Layout(out)
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=6, mtime=0) as file:
        file.write(tar)
    layers = [layout.blob(f"{oci}.layer.v1.tar+gzip", packed.getvalue())]
    config = layout.blob(f"{oci}.config.v1+json", {
        "created": epoch, "architecture": arch, "os": "linux",
        "config": {"User": f"{USER}:{USER}", "Entrypoint": ["/usr/bin/vidimus"], "Cmd": ["--help"], "WorkingDir": "/", "Labels": labels,
                   "Env": ["PATH=/usr/bin", f"SSL_CERT_FILE=/{ROOTS}"], "ExposedPorts": {"8443/tcp": {}, "9901/tcp": {}}, "Volumes": {"/var/lib/vidimus": {}}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(tar)}"]},
        "history": [{"created": epoch, "created_by": "scripts/image.py"}],
    })
    manifest = f"{oci}.manifest.v1+json"
    image = layout.blob(manifest, {"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": layers, "annotations": labels})
    kind = "application/vnd.cyclonedx+json"
    empty = layout.blob("application/vnd.oci.empty.v1+json", b"{}")
    referrer = layout.blob(manifest, {
        "schemaVersion": 2, "mediaType": manifest, "artifactType": kind, "config": empty, "layers": [layout.blob(kind, sbom)], "subject": image}, artifactType=kind)
    named = {**image, "annotations": {"org.opencontainers.image.ref.name": "latest"}, "platform": {"architecture": arch, "os": "linux"}}
    layout.write("index.json", {"schemaVersion": 2, "mediaType": f"{oci}.index.v1+json", "manifests": [named, referrer]})
    return image["digest"]


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--binary", type=Path, default=ROOT / "target/release/vidimus")
    asked.add_argument("--out", type=Path, default=ROOT / "target/image")
    asked.add_argument("--roots", type=Path, default=Path("/") / ROOTS, help="PEM roots that upstreams' certificates chain to")
    asked = asked.parse_args()
    print(write(asked.binary, asked.out, asked.roots))


if __name__ == "__main__":
    main()
