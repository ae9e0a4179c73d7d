"""Quarantine → last byte of N open streams: N SSE answers through a gateway, one act, and how long until the last of them has ended."""
import asyncio, json, os, pathlib, resource, subprocess, sys, tempfile, time, socket

# A measurement by hand: python3 bench/profile/quarantine_streams.py target/release/vidimus 1000
BINARY, N = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); return s.getsockname()[1]

async def upstream(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length")), 0)
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            event = b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"x\"}}\n\n"
            writer.write(b"%x\r\n%s\r\n" % (len(event), event)); await writer.drain()
            await asyncio.sleep(3600)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass

async def main():
    root = pathlib.Path(tempfile.mkdtemp(prefix="streams-"))
    (root / "resources").mkdir()
    up, listen, admin = port(), port(), port()
    server = await asyncio.start_server(upstream, "127.0.0.1", up, backlog=2048)
    agents = 16
    objects = [{"apiVersion": "vidimus.dev/v1alpha1", "kind": "Agent", "metadata": {"name": f"bot{i}", "namespace": "a"}, "spec": {
        "owner": "ada.l@example.com", "team": "t", "purpose": "p", "riskLevel": "low",
        "identities": [{"oidc": {"issuer": "urn:vidimus:local", "subject": f"bot{i}"}}]}} for i in range(agents)]
    objects.append({"apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"name": "tools", "namespace": "a"}, "spec": {
        "owner": "ada.l@example.com", "team": "t", "riskLevel": "low", "endpoint": {"url": f"http://127.0.0.1:{up}/mcp"}}})
    objects.append({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "open", "namespace": "a"}, "spec": {
        "description": "d", "cedar": "permit (principal, action, resource);"}})
    (root / "resources/all.yaml").write_text("\n---\n".join(json.dumps(o) for o in objects))
    run = lambda *words: subprocess.run([BINARY, *words], capture_output=True, text=True, check=True).stdout.strip()
    gateway = subprocess.Popen([BINARY, "serve", "--resources", str(root / "resources"), "--data", str(root / "data"), "--listen",
        f"127.0.0.1:{listen}", "--admin", f"127.0.0.1:{admin}", "--log", "warn"])
    try:
        while True:
            try:
                r, w = await asyncio.open_connection("127.0.0.1", admin)
                w.write(f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{admin}\r\nConnection: close\r\n\r\n".encode())
                if b" 200 " in await r.read(): break
            except ConnectionError: pass
            await asyncio.sleep(0.1)
        data = str(root / "data")
        tokens = [run("identity", "token", "--data", data, "--subject", f"bot{i}") for i in range(agents)]
        operator = run("identity", "operator", "--data", data)
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get", "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}})
        ended, seen, keep = [], [], []
        async def stream(i):
            r, w = await asyncio.open_connection("127.0.0.1", listen)
            w.write((f"POST /mcp/a/tools HTTP/1.1\r\nHost: 127.0.0.1:{listen}\r\nAuthorization: Bearer {tokens[i % agents]}\r\n"
                "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
                f"Mcp-Method: tools/call\r\nMcp-Name: get\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode())
            head = await r.readuntil(b"\r\n\r\n")
            assert b" 200 " in head and b"vidimus-code" not in head, head
            await r.readuntil(b"data: ")
            keep.append((r, w))
            async def end():
                try:
                    
                    while True:
                        b = await r.read(65536)
                        if not b: break
                        seen.append(b) if len(seen) < 3 else None
                except ConnectionError: pass
                ended.append(time.perf_counter())
            return asyncio.create_task(end())
        tasks = []
        for first in range(0, N, 100):
            tasks += await asyncio.gather(*(stream(i) for i in range(first, min(first + 100, N))))
        await asyncio.sleep(1)
        assert not ended, (len(ended), seen[:1])
        r, w = await asyncio.open_connection("127.0.0.1", admin)
        act = json.dumps({"subject": "MCPServer/a/tools", "why": "measured"})
        begun = time.perf_counter()
        w.write((f"POST /quarantine HTTP/1.1\r\nHost: 127.0.0.1:{admin}\r\nAuthorization: Bearer {operator}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(act)}\r\nConnection: close\r\n\r\n{act}").encode())
        async def answer():
            said = await r.read()
            return time.perf_counter(), said
        answered, said = await answer()
        assert b" 200 " in said, said
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        print(f"{N} open streams: act answered after {(answered - begun) * 1e3:.1f} ms; first ended {(min(ended) - begun) * 1e3:.1f} ms, last {(max(ended) - begun) * 1e3:.1f} ms")
    finally:
        gateway.terminate(); gateway.wait()

asyncio.run(main())
