/**
 * The unmodified official TypeScript MCP clients in a page of a real Chromium (Debian's, or $CHROMIUM), served from another origin than
 * the gateway's: http://127.0.0.1:PORT, or where --port says.
 *
 * Steps, each by what the page itself can read: `2025` and `2026` (connect, list, call, by era), `refused` (a call without a
 * credential), `metadata` (of the route, as named in the challenge), `foreign` (the same call from a page of another origin).
 */
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import esbuild from "esbuild";
import { chromium } from "playwright-core";
import { Report } from "./_report.mjs";

const { values: flags } = parseArgs({
  options: {
    url: { type: "string" },
    token: { type: "string", default: process.env.VIDIMUS_TOKEN },
    port: { type: "string", default: "0" },
    steps: { type: "string" },
    call: { type: "string", default: `get_invoice={"id":"INV-1"}` }, // TOOL=JSON
  },
});

const PAGE = `
  import * as v2 from "@modelcontextprotocol/client";
  import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
  import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

  const INFO = { name: "vidimus-page", version: "1.0.0" };
  window.drive = async (era, url, token, tool) => {
    const requestInit = { headers: { Authorization: "Bearer " + token } };
    const [client, transport] = era === "2025"
      ? [new ClientV1(INFO), new TransportV1(new URL(url), { requestInit })]
      : [new v2.Client(INFO, { versionNegotiation: { mode: { pin: "2026-07-28" } } }), new v2.StreamableHTTPClientTransport(new URL(url), { requestInit })];
    await client.connect(transport);
    const { tools } = await client.listTools();
    const result = await client.callTool(tool);
    const session = transport.sessionId ?? null;
    if (session) await transport.terminateSession();
    await client.close();
    return { tools: tools.map((t) => t.name), result, session: session !== null };
  };
  window.look = async (url, init) => {
    const answer = await fetch(url, init);
    const headers = Object.fromEntries(answer.headers);
    return { status: answer.status, headers, body: await answer.text() };
  };
`;

const bundle = await esbuild.build({
  stdin: { contents: PAGE, resolveDir: `${process.env.VIDIMUS_E2E}/node`, loader: "js" },
  bundle: true, format: "esm", platform: "browser", write: false, logLevel: "silent",
});
const script = bundle.outputFiles[0].text;

/** Serves the page; its address is its origin. */
function origin(port) {
  const server = createServer((request, response) => {
    if (request.url === "/page.js") response.setHeader("content-type", "text/javascript").end(script);
    else response.setHeader("content-type", "text/html").end(`<script type="module" src="/page.js"></script>`);
  });
  return new Promise((ready) => server.listen(Number(port), "127.0.0.1", () => ready(`http://127.0.0.1:${server.address().port}`)));
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const open = async (port) => {
  const page = await browser.newPage();
  await page.goto(await origin(port));
  await page.waitForFunction(() => window.drive !== undefined);
  return page;
};

const report = new Report(flags.steps);
const page = await open(flags.port);
const at = flags.call.indexOf("=");
const tool = { name: flags.call.slice(0, at), arguments: JSON.parse(flags.call.slice(at + 1)) };
for (const era of ["2025", "2026"]) {
  await report.step(era, () => page.evaluate(([era, ...rest]) => window.drive(era, ...rest), [era, flags.url, flags.token, tool]));
}
const post = { method: "POST", headers: { "content-type": "application/json", accept: "application/json, text/event-stream" }, body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" }) };
const look = (page, url, init) => page.evaluate(([url, init]) => window.look(url, init), [url, init]);
const refused = await report.step("refused", () => look(page, flags.url, post));
const metadata = /resource_metadata="([^"]+)"/.exec(refused?.headers["www-authenticate"] ?? "")?.[1];
await report.step("metadata", () => look(page, metadata ?? "no address of metadata could be read", {}));
const stranger = await open("0");
const withToken = { ...post, headers: { ...post.headers, authorization: `Bearer ${flags.token}` } };
await report.step("foreign", () => look(stranger, flags.url, withToken));
await browser.close();
process.exit(0);
