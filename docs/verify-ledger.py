#!/usr/bin/env python3
"""Checks a whole ledger directory, without Vidimus: every record against every signed checkpoint. Needs verify-evidence.py beside it.

    python3 verify-ledger.py DATA/ledger --key 'NAME+ID+BASE64' [--checkpoint SAVED]...

An archive (`vidimus serve --archive`) is checked the same way. Of records that were pruned, that this is on record, and their hashes.

Written from docs/ledger-format.md alone. Exit status: 0 intact, 1 not intact, 2 not checked. It reads one segment at a time.
Checksums, seals of the last second, which only the log's private key can tell, and whose the cosignatures are, are left to `vidimus audit verify`."""
import argparse, importlib.util, json, os, re, struct, sys

there = os.path.join(os.path.dirname(os.path.abspath(__file__)), "verify-evidence.py")
spec = importlib.util.spec_from_file_location("verify_evidence", there)
proof = importlib.util.module_from_spec(spec)
if not os.path.isfile(there):
    sys.exit(print(f"not checked: {there} is missing; put it beside this file", file=sys.stderr) or 2)
spec.loader.exec_module(proof)
Key, Wrong, checkpoint, node, require, sha = proof.Key, proof.Wrong, proof.checkpoint, proof.node, proof.require, proof.sha

class Tree:
    """Grows leaf by leaf. By level, the hashes of the tile that is not full yet; a full one must be the file in `tile/`."""
    def __init__(self, directory):
        self.size, self.levels, self.directory, self.tiles = 0, [[]], directory, 0

    def append(self, record, signed):
        self.levels[0].append(sha(b"\x00", record))
        self.size += 1
        for level in range(8):
            if len(self.levels[level]) < 256:
                break
            self.check(level, (self.size >> 8 * (level + 1)) - 1, signed)
            self.levels += [[]] if level + 1 == len(self.levels) else []
            self.levels[level + 1].append(self.complete(self.levels[level]))
            self.levels[level] = []

    def path(self, level, index):
        groups = [f"{index % 1000:03}"]
        while index >= 1000:
            index //= 1000
            groups.insert(0, f"x{index % 1000:03}")
        return os.path.join(self.directory, "tile", str(level), *groups)

    def check(self, level, index, signed):
        path = self.path(level, index)
        if self.size <= signed:  # of what is not signed for yet, a crash may have left anything
            stored = read(path) if os.path.exists(path) else b""
            require(stored == b"".join(self.levels[level]), f"{path} is not the tile of the records")
            self.tiles += 1

    def complete(self, hashes):
        while len(hashes) > 1:
            hashes = [node(*pair) for pair in zip(hashes[::2], hashes[1::2])]
        return hashes[0]

    def root(self):
        peaks = []
        for hashes in reversed(self.levels):
            at = 0
            while at < len(hashes):
                width = 1 << (len(hashes) - at).bit_length() - 1
                peaks.append(self.complete(hashes[at:at + width]))
                at += width
        while len(peaks) > 1:
            peaks[-2:] = [node(*peaks[-2:])]
        return peaks[0] if peaks else sha()

class Stored(Tree):
    """The tree of the first records as the tiles have it, whose records need not be there."""
    def __init__(self, directory, size, roots=None):
        super().__init__(directory)
        self.size, self.roots, self.levels = size, {} if roots is None else roots, []
        for level in range(8):
            count = size >> 8 * level
            if level and not count:
                break
            self.levels.append([self.hash(level, n) for n in range(count // 256 * 256, count)])

    def tile(self, level, index):
        stored = there(self.path(level, index), "hashes of records that were pruned")
        require(len(stored) == 8192, f"{self.path(level, index)} is not a tile")
        return [stored[at:at + 32] for at in range(0, 8192, 32)]

    def hash(self, level, n):
        """Of level 0 a stored one; of others the root of the tile below."""
        if level == 0:
            if (0, n // 256) not in self.roots:
                self.roots[0, n // 256] = self.tile(0, n // 256)
            return self.roots[0, n // 256][n % 256]
        if (level, n) not in self.roots:
            self.roots[level, n] = self.complete(self.tile(level - 1, n))
        return self.roots[level, n]

    def fits(self):
        """Each full tile has the roots of those below it. The root alone is of some tiles only, and that of fewer records of others."""
        for level in range(1, 8):
            for n in range(self.size >> 8 * (level + 1)):
                below = [self.hash(level, one) for one in range(256 * n, 256 * n + 256)]
                require(self.tile(level, n) == below, f"{self.path(level, n)} is not the tile of those below it")

def proven(path, key=None):
    """(act, size of the checkpoint, its note) of a file with the record of an act of this log, and its proof; `key` may depend on the act."""
    record, _, text = read(path).decode().partition("\n")
    head, _, note = text.partition("\n\n")
    lines, act = head.split("\n"), json.loads(record)
    require(lines[0] == "c2sp.org/tlog-proof@v1" and len(lines) > 1 and lines[1].startswith("index "), f"{path}: not a proof")
    require(type(act) is dict and type(act.get("act")) is dict and "shared" not in act, f"{path}: its record is not of an act of this log")
    index, hashes = lines[1][6:], [proof.b64(line, 32) for line in lines[2:]]
    size, root = checkpoint(note, key or Key(act["act"]["rotateKey"]["to"]))
    require(index == str(int(index)), f"{path}: not an index")
    require(proof.root_of(int(index), size, record.encode(), hashes) == root, f"{path}: its record is not in the log")
    return act, size, note

def followed(directory, newest):
    """The keys that `newest` followed, each with the number of records that it may have signed alone, and the checkpoints that both signed, which
    the log continues; what does not prove it counts nothing."""
    place, former, signed, last = os.path.join(directory, "keys", "succession"), [], [], newest
    for name in sorted(filter(re.compile("[0-9]{20}").fullmatch, os.listdir(place) if os.path.isdir(place) else []), reverse=True):
        try:
            act, size, note = proven(os.path.join(place, name))
            require(int(name) == size, "it is not named after its checkpoint")
            before = Key(act["act"]["rotateKey"]["from"])
            require(act["act"]["rotateKey"]["to"] == last.text and before.name == last.name and before.signed(note), "another step")
        except (LookupError, TypeError, ValueError):
            continue
        signed.append(checkpoint(note, last))
        former.append((before, size))
        last = before
    return former, signed

def pruned(directory, key):
    """(minimum index, root, size of the checkpoint that proves it, the record) of what went from the front; None where nothing did."""
    path = os.path.join(directory, "pruned")
    if not os.path.exists(path):
        return None
    act, size, _ = proven(path, key)
    prune = act["act"].get("prune")
    require(prune, f"{path}: its record is not of an act of this log that prunes")
    minimum = prune["minimum"]
    require(type(minimum) is int and 0 < minimum <= -(-minimum // 256) * 256 <= size, f"{path}: it prunes what cannot have been pruned")
    return minimum, bytes.fromhex(prune["root"]), size, act

def read(path):
    with open(path, "rb") as file:
        return file.read()

def there(path, what):
    """The bytes of a file without which a log is not whole."""
    require(os.path.exists(path), f"{path} is missing: {what}")
    return read(path)

def left_of(written, found, offset):
    """Whether `found`, at byte `offset` of a file, is what a power loss left of `written`: of each sector all or zeros, or its end missing."""
    at, whole = 0, min(len(found), len(written))
    while at < whole:
        end = min(whole, (offset + at) // 512 * 512 + 512 - offset)
        if found[at:end] != written[at:end] and any(found[at:end]):
            return False
        at = end
    return not any(found[whole:])

def issued(directory, key, newest):
    """The checkpoints of the history. A crash may have cut the entry of the newest, or left it out, or a power loss lost parts of it."""
    path = os.path.join(directory, "checkpoints")
    parts = (read(path) if os.path.exists(path) else b"").split(b"\n\n")
    pairs = list(zip(parts[:-1:2], parts[1:-1:2]))
    notes = [text + b"\n\n" + lines + b"\n" for text, lines in pairs]
    while notes:
        try:
            checkpoint(notes[-1].decode(), key)
            break
        except ValueError:  # what is left of the newest, or damage
            notes.pop()
    rest = b"\n\n".join(parts[2 * len(notes):])
    offset = sum(len(note) + 1 for note in notes)
    require(left_of(newest + b"\n", rest, offset), "the history ends with what is no checkpoint")
    return [checkpoint(note.decode(), key) for note in notes]

def items(path, data, first, end):
    """What is in a segment: (record, None), or (None, how many are signed for) of a seal. Records that no seal follows are none (but in
    version 1, which has no seals). Behind record `end` a write may be unfinished, but not the header and the first seal of version 2."""
    at, index, unsealed = 24, first, []
    require(data[7] == 1 or data[24:28] == b"SEAL" and len(data) >= 72, f"{path}: its first seal is missing")
    while at < len(data):
        unfinished = index >= end and (data[7] == 1 or at > 24)
        if data[at:at + 4] == b"SEAL" and len(data) - at >= 48 and data[7] == 2:
            _, _, sequence, signed = struct.unpack_from("<4sIQQ", data, at)
            if unfinished and not (sequence == index and signed <= index):
                return
            require(sequence == index and signed <= index, f"{path} at byte {at}: a seal of other records")
            yield from unsealed
            unsealed = []
            yield None, signed
            at += 48
            continue
        length, _, sequence = struct.unpack_from("<IIQ", data, at) if len(data) - at >= 20 else (0, 0, index)
        whole = 0 < length <= min(65_535, len(data) - at - 20)
        if unfinished and not (whole and sequence == index):
            return
        require(whole and sequence == index, f"{path} at byte {at}: not the frame of record {index}")
        unsealed.append((data[at + 20:at + 20 + length], None))
        at, index = at + 20 + length, index + 1
        if data[7] == 1:
            yield unsealed.pop()

def version(path, data, first):
    """The version of a segment, by its header."""
    fits = len(data) >= 24 and data[:7] == b"VIDIMUS" and data[7] in (1, 2) and data[8:20] == struct.pack("<QI", first, 0)
    require(fits, f"{path}: not a segment")
    return data[7]

def ledger(directory, key=None, given=()):
    """(key, records that are signed for, records behind them, tree) of a log that is whole; Wrong says what is not."""
    line = there(os.path.join(directory, "keys", "checkpoint.vkey"), "the log's public key").decode()
    require(line == line.strip() + "\n" and line.count("\n") == 1, "keys/checkpoint.vkey is not one line that ends with a newline")
    own = Key(line)
    own.former, both = followed(directory, own)
    require(key is None or key.text in [own.text, *(one.text for one, _ in own.former)], "it is a log with another key")
    path = os.path.join(directory, "cosigned")  # before the newest, which is never older; whose the lines are is for who knows witnesses
    cosigned = [read(path).decode()] if os.path.exists(path) else []
    newest = there(os.path.join(directory, "checkpoint"), "the newest checkpoint")
    latest = checkpoint(newest.decode(), own)
    # That of no records is there for good before there is another.
    history = issued(directory, own, newest) or ([latest] if latest[0] == 0 else [])
    require(history and history[0][0] == 0, "the history does not begin with no records")
    require(all(one[0] < other[0] for one, other in zip(history, history[1:])), "the history is not in order")
    require(history[-1] == latest or history[-1][0] < latest[0], "the newest checkpoint is older than the history's last")
    is_archive = "archive" in newest.decode().partition("\n\n")[0].split("\n")[3:]
    gone = pruned(directory, own)
    require(not gone or is_archive or gone[2] <= latest[0], "the newest checkpoint is older than one that proves what was pruned")
    both = both if not is_archive else [one for one in both if one[0] <= latest[0]]
    anchors = sorted({*history, latest, *both, *(checkpoint(note, own) for note in [*cosigned, *given])}, reverse=True)
    require(anchors[0] == latest, "the newest checkpoint is older than one that was given, or that witnesses cosigned")
    names = sorted(filter(re.compile(r"[0-9]{20}\.log").fullmatch, os.listdir(os.path.join(directory, "segments"))))
    tree, said, newest_version, roots_of = Tree(directory), 0, 1, {}
    if gone:
        names = [name for name in names if int(name[:-4]) >= gone[0]]  # others may be left by a process that was killed
        tree = Stored(directory, gone[0], roots_of)
        require(tree.root() == gone[1], "the hashes of what was pruned are not what they were")
        tree.fits()
        while anchors and anchors[-1][0] < gone[0]:
            size, root = anchors.pop()
            require(Stored(directory, size, roots_of).root() == root, f"the first {size} records are not those that were signed for")

    def roots():
        while anchors and anchors[-1][0] == tree.size:
            require(anchors.pop()[1] == tree.root(), f"the first {tree.size} records are not those that were signed for")

    roots()
    for name in names:
        require(int(name[:-4]) == tree.size, f"{name} does not follow record {tree.size - 1}")
        end, path = latest[0] if name == names[-1] else 1 << 64, os.path.join(directory, "segments", name)
        data = read(path)
        require(version(path, data, tree.size) >= newest_version, f"{name} has no seals, and follows one that has")
        newest_version = data[7]
        for record, signed in items(path, data, tree.size, end):
            if record is None:
                said = max(said, signed)
            else:
                tree.append(record, latest[0])
                roots()
    require(not anchors, f"{tree.size} records are there, and {latest[0]} were signed for")
    require(said <= latest[0] and said <= history[-1][0], "checkpoints were taken away")
    tree.gone, tree.is_archive = gone, is_archive
    return own, latest[0], tree.size - latest[0], tree

def main():
    flags = argparse.ArgumentParser(description="Checks a whole ledger directory.")
    flags.add_argument("directory")
    flags.add_argument("--key", type=Key, help="the log's public key, from somebody you trust")
    flags.add_argument("--checkpoint", action="append", default=[], type=proof.text, help="one that was saved")
    flags = flags.parse_args()
    if not os.path.isdir(os.path.join(flags.directory, "segments")):
        sys.exit(print(f"not checked: {flags.directory} is no ledger: it has no segments/; give DATA/ledger", file=sys.stderr) or 2)
    try:
        key, signed, behind, tree = ledger(flags.directory, flags.key, flags.checkpoint)
    except OSError as error:
        sys.exit(print(f"not checked: {error}", file=sys.stderr) or 2)
    except (Wrong, struct.error, ValueError) as wrong:
        sys.exit(print(f"NOT INTACT: {proof.shown(str(wrong))}") or 1)
    print(f"log       {proof.shown(key.name)}\nkey       {proof.shown(key.text)}{'' if flags.key else ' (the log says so itself; give --key)'}")
    if tree.is_archive:
        print(f"note      an archive, which ends before record {signed}; the log goes on elsewhere")
    if tree.gone:
        minimum, _, _, act = tree.gone
        said = proof.shown(f"records 0 to {minimum - 1} were pruned; the last time on {act['time']} by {act['actor']}: {act['why']}")
        print(f"note      {said}")
    print(f"records   {signed} are what they were when they were signed for; {behind} behind them are not signed for yet\nintact")

if __name__ == "__main__": main()
