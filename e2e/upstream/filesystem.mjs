/**
 * The real @modelcontextprotocol/server-filesystem, which speaks stdio only, over streamable HTTP at /mcp (2025 eras).
 * A bridge of the official SDK's transports: each HTTP session has its own server process, and messages pass unread.
 *
 *   --root DIR   what the server may touch; default: a fresh temporary directory with one file, hello.txt
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { flags, listen, ready } from "./_serve.mjs";

const { port, root = temporary() } = flags({ root: { type: "string" } });
const program = createRequire(`${process.env.VIDIMUS_E2E}/node/`).resolve("@modelcontextprotocol/server-filesystem/dist/index.js");
const sessions = new Map();

function temporary() {
  const directory = mkdtempSync(join(tmpdir(), "vidimus-e2e-files-"));
  writeFileSync(join(directory, "hello.txt"), "Hello from a real file.\n");
  return directory;
}

/** A new session: a server process and the HTTP side, joined. */
async function open() {
  const stdio = new StdioClientTransport({ command: process.execPath, args: [program, root], stderr: "ignore" });
  const web = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, web),
  });
  web.onmessage = (message) => stdio.send(message);
  stdio.onmessage = (message) => web.send(message).catch(() => {}); // the client may be gone
  web.onclose = () => {
    sessions.delete(web.sessionId);
    stdio.close();
  };
  stdio.onclose = () => web.close();
  await stdio.start();
  await web.start();
  return web;
}

function refuse(response, status, message) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify({ jsonrpc: "2.0", id: null, error: { code: -32000, message } }));
}

const server = http.createServer(async (request, response) => {
  const id = request.headers["mcp-session-id"];
  if (new URL(request.url, "http://_").pathname !== "/mcp") return refuse(response, 404, "Not found");
  if (id && !sessions.has(id)) return refuse(response, 404, "Session not found");
  if (!id && request.method !== "POST") return refuse(response, 400, "Bad Request: no session");
  const web = sessions.get(id) ?? (await open());
  await web.handleRequest(request, response);
  if (!id && !web.sessionId) await web.close(); // it was no initialize: nothing was opened
});

process.on("SIGTERM", () => process.exit(0)); // the children end with their stdin
process.on("SIGINT", () => process.exit(0));
console.error(`root ${root}`);
ready(await listen(server, port));
