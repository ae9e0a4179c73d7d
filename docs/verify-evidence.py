#!/usr/bin/env python3
"""Checks evidence that `vidimus audit export` wrote, without Vidimus; verify-ledger.py beside it checks a whole ledger.

    python3 verify-evidence.py evidence.jsonl --key 'NAME+ID+BASE64' [--checkpoint OLDER]... [--witness KEY]... [--quorum N]

Written from docs/ledger-format.md alone. Needs Python 3.9 and `cryptography` (48: ML-DSA). Exit status: 0 proven, 1 not proven, 2 not checked,
3 nothing is wrong, but it has no records, or not all configurations: that these are missing is the word of whoever made it."""
import argparse, base64, hashlib, json, sys
try: from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm; from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError as missing: sys.exit(print(f"not checked: {missing}; install it: pip install 'cryptography>=48'", file=sys.stderr) or 2)
class Wrong(ValueError, argparse.ArgumentTypeError): """Why it is not believed; of a flag, what is wrong with it."""
def require(holds, why):
    if not holds: raise Wrong(why)
def array(it): return require(type(it) is list, "not an array") or it
def shown(text): return "".join(c if c.isprintable() else "\ufffd" for c in text)  # what a file says draws nothing
def text(path): return argparse.FileType(encoding="utf-8")(path).read()  # what cannot be read as text is told by argparse
def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()
def node(left, right): return sha(b"\x01", left, right)
def dumped(value): return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
def plain(it, deep=0):
    """Whether there are no numbers but whole ones below 2^53, which all readers read as the same, and nothing is nested 64 deep."""
    inner = it.values() if type(it) is dict else it if type(it) is list else None
    return type(it) is not float and (type(it) is not int or abs(it) < 1 << 53) if inner is None else deep < 64 and all(plain(one, deep + 1) for one in inner)
def b64(text, length=None):  # in its one form: what decodes to the same and is written otherwise is refused
    try: raw = base64.b64decode(text, validate=True)
    except (ValueError, TypeError): raise Wrong("not base64") from None
    require(base64.b64encode(raw).decode() == text and length in (None, len(raw)), "not base64 of that length")
    return raw
def ml_dsa(raw):
    try: from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey as its; return its.from_public_bytes(raw)
    except (ImportError, UnsupportedAlgorithm): raise Wrong("for a key of ML-DSA this needs cryptography 48") from None
WITNESS = {4: 33, 6: 1313}  # kinds of keys (Ed25519, ML-DSA-44), with their lengths, that of the kind included
class Key:
    """A C2SP vkey, `name+id+base64`: of a log (kind 1), or of a witness. Keys that it followed are on further lines, `vkey until N`."""
    def __init__(self, text, kinds={1: 33}):
        text, *older = text.strip().split("\n")
        self.former = [(Key(one.partition(" until ")[0]), int(one.partition(" until ")[2])) for one in older]
        name, number, encoded = (text.strip().split("+", 2) + ["", ""])[:3]
        raw = b64(encoded) or b"\0"
        self.text, self.name, self.kind, self.id = text.strip(), name, raw[0], sha(name.encode(), b"\n", raw)[:4]
        require(name and not any(c.isspace() or c < " " or "\x7f" <= c < "\xa0" for c in name), "not a key's name")
        require(kinds.get(raw[0]) == len(raw) and self.id.hex() == number, "not a key of this kind, or its id is another one")
        self.public = ml_dsa(raw[1:]) if raw[0] == 6 else Ed25519PublicKey.from_public_bytes(raw[1:])
    def signed(self, note):
        """The text of a signed note; None where this key did not sign it. Lines of other keys are passed over."""
        fits = note.endswith("\n") and "\n\n" in note[:-1] and all(c >= " " or c == "\n" for c in note)
        require(fits and len(note.encode()) <= 128 * 1024, "not a signed note")
        head, _, lines = note[:-1].rpartition("\n\n")
        found = False
        for line in lines.split("\n"):
            dash, name, encoded = (line.split(" ", 2) + ["", ""])[:3]
            raw = b64(encoded)
            require(dash == "\u2014" and len(raw) >= 4, "not a signature line")
            if (name, raw[:4]) == (self.name, self.id):
                message, signature = (head + "\n").encode(), raw[4:]
                if self.kind > 1:  # a cosignature: its time, then the signature
                    time, signature = signature[:8], signature[8:]
                    require(bytes(8) < time < b"\x80", "not a time")
                if self.kind == 4: message = b"cosignature/v1\ntime %d\n" % int.from_bytes(time, "big") + message
                if self.kind == 6:
                    (origin, size, root), sized = head.split("\n"), lambda name: bytes([len(name.encode())]) + name.encode()
                    message = b"subtree/v1\n\0" + sized(self.name) + time + sized(origin) + bytes(8) + int(size).to_bytes(8, "big") + b64(root, 32)
                try: self.public.verify(signature, message)
                except InvalidSignature: raise Wrong(f"the signature of {self.name} is wrong") from None
                found = True
        return head + "\n" if found else None
def checkpoint(note, key):
    """(size, root) of a checkpoint that the log signed: of a former key, none of more records than were there."""
    signed = ((one.signed(note), most) for one, most in [(key, (1 << 64) - 1), *key.former])
    lines, most = next(((head.split("\n"), most) for head, most in signed if head), ([""], 0))
    require(len(lines) >= 4 and lines[0] == key.name and all(lines[3:-1]), "not a checkpoint of this log")
    require(lines[1].isascii() and lines[1].isdigit() and str(int(lines[1])) == lines[1] and int(lines[1]) <= most, "not a size of this key")
    return int(lines[1]), b64(lines[2], 32)
def climb(at, last, first, second, path):
    """Up a tree by the hashes of a proof: of `first` only what is to the left of it, of `second` all (RFC 9162, 2.1.3.2, 2.1.4.2)."""
    for sibling in path:
        require(last > 0, "the proof is too long")
        if at & 1 or at == last:
            first, second = node(sibling, first), node(sibling, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node(second, sibling)
        at, last = at >> 1, last >> 1
    require(last == 0, "the proof is too short")
    return first, second
def root_of(index, size, record, proof): return require(0 <= index < size, "the index is not in the tree") or climb(index, size - 1, b"", sha(b"\x00", record), proof)[1]
def continues(older, newer, proof):
    """Whether the tree `newer` begins with `older`, each (size, root)."""
    if older[0] == 0 or older[0] >= newer[0]:
        return not proof and (older == newer or older[0] == 0 < newer[0] and older[1] == sha())
    path, at, last = ([] if older[0] & (older[0] - 1) else [older[1]]) + proof, older[0] - 1, newer[0] - 1
    while at & 1: at, last = at >> 1, last >> 1
    return climb(at, last, path[0], path[0], path[1:]) == (older[1], newer[1])
def snapshot(objects, beside):
    """The digest of a configuration, as records name it. `objects` are lines of its lists."""
    version, closed, standing = beside["version"], beside["closed"], beside.get("standing", {"key": "", "policies": {}})
    refusing, withdrawn = [one["digest"] for one in array(beside["refusing"])], beside["withdrawn"].items()
    require(set(beside) <= {"version", "refusing", "withdrawn", "closed", "standing"}, "more beside than there can be")
    exact = all(bytes.fromhex(one).hex() == one for one in refusing) and all(left == sorted({*left}) for _, left in withdrawn)
    require(exact and dumped(version) == "1" and type(closed) is bool and set(standing) == {"key", "policies"}, "of another form")
    lines, stood = "\n" + standing["key"], standing["policies"].items()  # each policy that stood is of one of these lines
    named = lambda kind, of: {"vidimus/grant": f"\ngrant {of.partition('~')[0]} ", "vidimus/quarantine": f"\nquarantine {of}\n"}.get(kind, lines + ".") in lines
    ids = [name.replace("vidimus/quarantine#operator/", "vidimus/quarantine#User/", 1) for name, words in stood if type(words) is str]
    require(len(ids) == len(stood) and all(named(*name.partition("#")[::2]) for name in ids), "what stood has a policy that its key does not name")
    parts = [sha(b"quarantined " if one[64:] else b"object ", bytes.fromhex(one[:64])) for one in objects]
    parts += [sha(b"refusing ", bytes.fromhex(one)) for one in refusing]
    parts += [sha(b"withdrawn ", dumped([name, left]).encode()) for name, left in withdrawn] + [b"\xff" * 32] * closed
    if "standing" in beside: parts += [sha(b"standing ", standing["key"].encode())]
    return "sha256:" + sha(*sorted(parts)).hex()
KINDS = "evidence", "since", "record", "object", "list", "configuration", "end"
class Evidence:
    """What a file proves. Wrong says what it does not, and in which line; `given` are checkpoints that are known from elsewhere."""
    def __init__(self, file, key=None, given=(), witnesses=(), quorum=None):
        self.file, self.key, self.key_given, self.number, self.hash, self.before = file, key, key is not None, 0, hashlib.sha256(), ""
        self.newer, self.older, self.missing, self.first, self.last = None, [], {}, None, None
        self.records, self.restated, self.pruned, place = 0, 0, None, -1
        self.proof, self.named, self.met, self.objects, self.lists, self.used = [], set(), [], {}, {}, set()
        self.witnesses = {one.text.split("+", 2)[2]: one for one in witnesses}.values()  # given twice, a key counts once
        self.quorum = len(self.witnesses) if quorum is None else quorum
        try:
            while place < len(KINDS) - 1:
                line = json.loads(raw := self.line())
                require(dumped(line).encode() == raw and len(line) == 1 and plain(line), "not canonical JSON, or not a line of evidence")
                (kind, it), = line.items()
                require((place < 0) == (kind == "evidence") and KINDS.index(kind) >= place, "it does not belong here")
                place = KINDS.index(kind)
                getattr(self, kind)(**it)
            require(not file.read(1), "something follows the end")
            require(set(self.met) == self.named and self.used == {*self.objects, *self.lists}, "texts are missing, or too many")
            for note in given: require(checkpoint(note, self.key) in [self.newer, *self.older], "that the log continues a given checkpoint")
        except (Wrong, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise Wrong(f"line {self.number}: {error if isinstance(error, Wrong) else 'malformed: ' + repr(error)}") from None
    def line(self):
        self.number, self.before, raw = self.number + 1, self.hash.hexdigest(), self.file.readline(256 << 20)
        require(raw.endswith(b"\n"), "the file is cut off here")
        self.hash.update(raw)
        return raw[:-1]
    def evidence(self, asked, checkpoint, exported, format, key):
        fits = set(exported) == {"at", "by"} and all(type(exported[one]) is str for one in exported)
        require(fits and format == "vidimus-evidence@v1", "another format")
        self.asked, self.exported, self.key = asked, exported, self.key or Key(key)
        require(key in [self.key.text, *(one.text for one, _ in self.key.former)], "it is of a log with another key")
        self.newer = globals()["checkpoint"](checkpoint, self.key)
        self.cosigned = sum(witness.signed(checkpoint) is not None for witness in self.witnesses)
        require(self.cosigned >= self.quorum, f"{self.cosigned} of the witnesses cosigned it, not {self.quorum}")
    def since(self, checkpoint, proof):
        self.older += [globals()["checkpoint"](checkpoint, self.key)]
        require(continues(self.older[-1], self.newer, [b64(one, 32) for one in array(proof)]), "the log does not continue it")

    def record(self, index, proof, shared):
        require(type(index) is int and type(shared) is int and 0 <= shared <= len(self.proof), "not an index")
        require(self.last is None or self.last < index, "not in the order of the log")
        self.proof = [b64(one, 32) for one in array(proof)] + self.proof[len(self.proof) - shared:]
        raw = self.line()
        require(root_of(index, self.newer[0], raw, self.proof) == self.newer[1], f"this is not record {index} of the log")
        record, self.first, self.last = json.loads(raw), index if self.first is None else self.first, index
        if record["kind"] == "act" and "shared" not in record: self.pruned = record["act"].get("prune", self.pruned)
        self.records, _ = self.records + 1, self.named.update([record["snapshot"]] if record["kind"] == "decision" else [])
    def object(self, sha256):
        require(sha256 > next(reversed(self.objects), "") and sha(self.line()).hex() == sha256, "not in order, or not that text")
        self.objects[sha256] = True
    def list(self, objects, sha256):
        lines = "".join(one + "\n" for one in array(objects))
        require(sha256 > next(reversed(self.lists), "") and sha(lines.encode()).hex() == sha256, "not in order, or not that list")
        require(all(one[:64] in self.objects and one[64:] in ("", " quarantined") for one in objects), "not a list")
        self.lists[sha256] = objects
        self.used.update(one[:64] for one in objects)

    def configuration(self, snapshot, **its):
        require(snapshot in self.named and snapshot > "".join(self.met[-1:]), "no record names it, or not in order")
        require(set(its) == {"lists", "beside"} or set(its) == {"missing"} and type(its["missing"]) is str, "neither here nor missing")
        self.met.append(snapshot)
        if "missing" in its: return self.missing.update({snapshot: its["missing"]})
        digest = globals()["snapshot"]([one for name in array(its["lists"]) for one in self.lists[name]], its["beside"])
        require(digest == snapshot, "these are not the texts of that configuration")
        self.restated += bool(its["beside"]["refusing"] or "standing" in its["beside"])
        self.used.update(its["lists"])
    def end(self, records, sha256): require(dumped([records, sha256]) == dumped([self.records, self.before]), "it is not as it was written")
def main():
    parser = argparse.ArgumentParser(description="Checks a file of `vidimus audit export`.")
    parser.add_argument("file", type=argparse.FileType("rb"))
    parser.add_argument("--key", type=Key, help="the log's public key, from somebody you trust")
    parser.add_argument("--checkpoint", action="append", type=text, default=[], help="an older checkpoint that the log must continue")
    parser.add_argument("--witness", action="append", type=lambda key: Key(key, WITNESS), default=[], help="the key of a witness")
    parser.add_argument("--quorum", type=int, help="so many witnesses must have cosigned [all]")
    flags = parser.parse_args()
    most = len({one.text.split("+", 2)[2] for one in flags.witness})
    if flags.quorum is not None and not 0 < flags.quorum <= most: parser.error(f"--quorum {flags.quorum}: there are {most} witnesses")
    try: it = Evidence(flags.file, flags.key, flags.checkpoint, flags.witness, flags.quorum)
    except Wrong as wrong: sys.exit(print(f"NOT PROVEN: {shown(str(wrong))}") or 1)
    except OSError as error: sys.exit(print(f"not checked: {error}", file=sys.stderr) or 2)
    print(f"log       {shown(it.key.name)}\nkey       {shown(it.key.text)}{'' if it.key_given else ' (the file says so itself; give --key)'}")
    print(f"asked     {shown(dumped(it.asked))}\nexported  {shown(it.exported['at'])} by {shown(it.exported['by'])}, as the file says")
    pruned = f", where those before {shown(dumped(it.pruned['minimum']))} were pruned, as one of them says" if it.pruned else ""
    print(f"records   {it.records}, from {it.first} to {it.last}, of {it.newer[0]}{pruned}; continues {[size for size, _ in it.older]}")
    print(f"decided   by {len(it.met)} configurations; not in the file, as it says: {shown(dumped(it.missing)) if it.missing else 'none'}")
    left = f", but for {len(it.missing)} configurations (of {len(it.met)}) that decided: no text of them is in the file" * bool(it.missing) + f", but the words beside what {it.restated} of these name: they are restated" * bool(it.restated)
    print(f"proven{left}" if it.records else "nothing is proven: no records") or sys.exit(3 if it.missing or not it.records else 0)
if __name__ == "__main__": main()
