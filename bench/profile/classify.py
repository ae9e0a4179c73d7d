"""Reads `perf script -F comm,ip,sym,dso` from standard input: where the samples of the gateway's threads are, in shares.

A sample in the kernel belongs to the system call that is on its stack; one in the program to the part that its function is of.
"""

import re
import sys
from collections import Counter

CALLS = [  # a symbol on a kernel stack, and what it is
    ("fdatasync|fsync", "fdatasync"),
    ("do_writev|sys_writev|sock_write_iter|tcp_sendmsg", "writev (sockets)"),
    ("recvfrom", "recvfrom"),
    ("ext4_.*write|ksys_write|vfs_write|sys_write", "write (ledger, wake-ups)"),
    ("futex", "futex"),
    ("epoll|ep_poll", "epoll_wait"),
    ("page_fault|exc_page", "page faults"),
]
PARTS = [  # a function of the program, and the part that it is of; the first that fits
    ("ecp_nistz|bignum|ecdsa|EVP_|EC_|ec_|BN_|bn_|sha256|sha512|SHA|aws_lc|p256|ring_core|digest|CRYPTO_|HMAC|hmac|RAND|rand|getrandom|jsonwebtoken|CBB|OPENSSL|base64", "cryptography (mint's ES256, SHA-256)"),
    ("issue::mint|vidimus_identity::issue", "mint, without its cryptography"),
    ("vidimus_identity", "authenticate"),
    ("vidimus_core::(decide|authorize|snapshot|decision)|cedar", "decision"),
    ("vidimus_ledger", "ledger"),
    ("hyper|http::|httparse|http_body|h2::", "HTTP (hyper, http, httparse)"),
    ("vidimus_gateway::protocol|vidimus_core::json|serde|itoa|ryu|memchr|simdutf", "JSON, search in bytes"),
    ("mi_|malloc|alloc::|free|_mi_|realloc|calloc|raw_vec", "allocation"),
    ("memmove|memcpy|memset|memcmp|bytes::", "copying, comparing bytes"),
    ("tokio|mio::|futures|want::|waker|parking_lot", "asynchronous runtime"),
    ("prometheus|meter|telemetry|tracing|opentelemetry", "metrics, traces"),
    ("vidimus_gateway", "gateway (its futures, with what was inlined)"),
    ("vidimus_core", "core, other"),
]


def classify(frames: list[tuple[str, str]]) -> str:
    symbol, dso = frames[0]
    if "kernel" in dso or dso == "unknown":
        for pattern, what in CALLS:
            if any(re.search(pattern, name) for name, of in frames if "kernel" in of):
                return "kernel: " + what
        return "kernel: other"
    if "libc" in dso and re.search("writev|recv|epoll|send|write|syscall|futex|pthread|clock|vdso", symbol):
        return "libc: entry to system calls"
    for pattern, what in PARTS:
        if re.search(pattern, symbol):
            return what
    return "other: " + ("libc" if "libc" in dso else "program")


def samples():
    comm, frames = "", []
    for line in sys.stdin:
        line = line.rstrip()
        if not line:
            if frames:
                yield comm, frames
            comm, frames = "", []
        elif not line.startswith((" ", "\t")):
            comm = line.strip()
        else:
            found = re.match(r"\s+[0-9a-f]+\s+(.*) \((.*)\)$", line)
            if found:
                frames.append((found[1], found[2]))
    if frames:
        yield comm, frames


def main() -> None:
    parts, threads, others = Counter(), Counter(), Counter()
    for comm, frames in samples():
        thread = re.sub(r"[-0-9]+$", "", comm.split()[0])
        threads[thread] += 1
        part = classify(frames)
        parts[(thread, part)] += 1
        if part.startswith(("other", "kernel: other")):
            others[frames[0][0]] += 1
    total = sum(threads.values())
    for (thread, part), count in parts.most_common():
        if count / total >= 0.003:
            print(f"{100 * count / total:5.1f} %  {thread:16} {part}")
    print(f"{total} samples;", ", ".join(f"{thread} {100 * count / total:.1f} %" for thread, count in threads.most_common()))
    print("unclassified:", ", ".join(f"{name} {100 * count / total:.1f} %" for name, count in others.most_common(25)), file=sys.stderr)


main()
