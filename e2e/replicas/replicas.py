"""Three gateways of one installation behind a plain round robin, with one store and shared keys, each with a log of its own."""

import json
import os
import shutil
import subprocess
import urllib.request

from round_robin import RoundRobin
from stage import BINARY, E2E, Stage, free_port

# A binary that has no --shared-keys: the keys of the first replica are copied to the others before they start.
COPIED = bool(os.environ.get("VIDIMUS_REPLICAS_COPIED"))


class Replica:
    def __init__(self, stage, number, keys=None):
        self.stage, self.number, self.keys = stage, number, keys or stage.keys
        self.listen, self.admin = free_port(), free_port()
        self.data, self.err = stage.root / f"replica-{number}", stage.root / f"replica-{number}.err"
        self.process = None

    def start(self):
        stage = self.stage
        shared = () if COPIED else ("--shared-keys", str(self.keys), "--log-name", f"vidimus.test/replica-{self.number}")
        command = [BINARY, "serve", "--resources", str(stage.resources), "--data", str(self.data), "--secrets", str(stage.secrets),
                   "--listen", f"127.0.0.1:{self.listen}", "--admin", f"127.0.0.1:{self.admin}", "--public-url", stage.url,
                   "--threads", "1", "--standing", f"redis://127.0.0.1:{stage.redis_port}", *shared]
        with open(self.err, "a") as errors:
            self.process = subprocess.Popen(command, stderr=errors)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            if self.process.poll() is not None:
                raise RuntimeError(f"replica {self.number} ended: {self.err.read_text()[-2000:]}") from None
            return False

    def kill(self):
        """Kill -9; it is gone when this returns."""
        self.process.kill()
        self.process.wait()

    @property
    def ledger(self):
        return self.data / "ledger"


class Replicas(Stage):
    """`url` is the round robin. Whoever is called by name through it (an agent that calls on) goes there too."""

    def __init__(self, *only, count=3, resources=None):
        super().__init__(*only)
        self.keys = self.root / "keys"
        for name, text in (resources or {}).items():
            self.add(name, text.format(**self.ports))
        self.redis_port = free_port()
        server = subprocess.run([str(E2E / "redis/setup.sh")], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        self.redis = subprocess.Popen([server, "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                                      stdout=subprocess.DEVNULL)
        self.replicas = [Replica(self, number) for number in range(count)]
        self.front = None
        try:
            self.begin()
        except BaseException:
            self.close()
            raise

    def begin(self):
        first, *others = self.replicas
        if not COPIED:
            self.vidimus("keys", "generate", "--out", str(self.keys))
        first.start()
        self.until(first.is_ready)
        for replica in others:
            if COPIED:
                (replica.data / "identity").mkdir(parents=True, mode=0o700)
                for file in (first.data / "identity").iterdir():
                    if file.name != "refused.count" and file.suffix != ".lock":
                        shutil.copy2(file, replica.data / "identity")
            replica.start()
        for replica in others:
            self.until(replica.is_ready)
        self.front = RoundRobin(self.listen, [replica.listen for replica in self.replicas])

    @property
    def identity(self):
        """Where the built-in issuer is."""
        return ("--data", str(self.replicas[0].data), *(() if COPIED else ("--shared-keys", str(self.keys))))

    def token(self, subject, *flags):
        return self.vidimus("identity", "token", *self.identity, "--subject", subject, *flags).stdout.strip()

    def operate(self, replica, *words, check=True):
        """A command of a person at one replica."""
        return self.vidimus(*words, "--admin", f"127.0.0.1:{replica.admin}", *self.identity, check=check)

    def ledgers(self):
        return [word for replica in self.replicas for word in ("--ledger", str(replica.ledger))]

    def all_records(self, *flags):
        """The records of all logs, as one."""
        done = self.vidimus("audit", "search", *self.ledgers(), "--limit", "0", "-o", "json", *flags)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def close(self):
        if self.front:
            self.front.close()
        for replica in self.replicas:
            if replica.process:
                self.stop(replica.process)
        self.redis.kill()
        self.redis.wait()
        super().close()
