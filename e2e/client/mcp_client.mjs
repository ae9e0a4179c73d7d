/**
 * The unmodified official TypeScript MCP clients, driven through one session.
 *
 * --era 2025:    @modelcontextprotocol/sdk 1.x, the `initialize` handshake.
 * --era 2025-v2: @modelcontextprotocol/client 2.x as it comes (its default is the handshake, too).
 * --era auto:    2.x, `server/discover` with fall-back. --era 2026: 2.x pinned to 2026-07-28, no fall-back.
 * --versions 2025-06-18 offers only these versions (2025-v2 and auto).
 * --elicit ACTION: the client says that it leads its user to addresses, and answers so when it is asked to; each time is a step `elicited`.
 * Steps: connect, list_tools, call_tool, list_resources, read_resource, list_prompts, get_prompt, progress, cancel, close.
 */
import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import * as v2 from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { Report } from "./_report.mjs";

const { values: flags } = parseArgs({
  options: {
    url: { type: "string" },
    token: { type: "string", default: process.env.VIDIMUS_TOKEN },
    steps: { type: "string" },
    era: { type: "string", default: "auto" },
    versions: { type: "string" },
    call: { type: "string", multiple: true, default: [`get_invoice={"id":"INV-1"}`] }, // TOOL=JSON, repeatable
    resource: { type: "string" },
    elicit: { type: "string" },
    prompt: { type: "string", default: `summarize={"id":"INV-1"}` },
    slow: { type: "string", default: `slow_report={"steps":3}` },
    "slow-cancel": { type: "string", default: `slow_report={"steps":100,"delay_ms":100}` },
  },
});

/** `NAME=JSON` as the params of tools/call and prompts/get. */
function named(text) {
  const at = text.indexOf("=");
  return { name: text.slice(0, at), arguments: JSON.parse(text.slice(at + 1)) };
}

const CAPABILITIES = flags.elicit ? { elicitation: { form: {}, url: {} } } : {};
const INFO = { name: "vidimus-e2e", version: "1.0.0" };
const MODES = { "2025-v2": "legacy", auto: "auto", 2026: { pin: "2026-07-28" } };

function open() {
  const url = new URL(flags.url);
  const requestInit = flags.token ? { headers: { Authorization: `Bearer ${flags.token}` } } : {};
  if (flags.era === "2025") {
    const client = new ClientV1(INFO, { capabilities: CAPABILITIES });
    return { client, transport: new TransportV1(url, { requestInit }), call: (p, o) => client.callTool(p, undefined, o) };
  }
  const client = new v2.Client(INFO, {
    capabilities: CAPABILITIES,
    versionNegotiation: { mode: MODES[flags.era] },
    supportedProtocolVersions: flags.versions?.split(","),
  });
  const transport = new v2.StreamableHTTPClientTransport(url, { requestInit });
  return { client, transport, call: (p, o) => client.callTool(p, o) };
}

const report = new Report(flags.steps);
const { client, transport, call } = open();
if (flags.elicit && client instanceof v2.Client) {
  client.setRequestHandler("elicitation/create", ({ params }) => {
    report.line("elicited", { ok: true, result: params });
    return { action: flags.elicit };
  });
}

async function progress() {
  const seen = [];
  const result = await call(named(flags.slow), { onprogress: (p) => seen.push(p) });
  return { progress: seen, result };
}

/** Aborts a call after 500 ms: 2025 posts notifications/cancelled, 2026 closes the response stream. */
async function cancel() {
  const abort = new AbortController();
  setTimeout(() => abort.abort("enough"), 500);
  const cancelled = await call(named(flags["slow-cancel"]), { signal: abort.signal }).then(() => false, () => true);
  await sleep(200);
  return { cancelled };
}

async function drive() {
  await report.step("list_tools", () => client.listTools(), (r) => r.tools.map((t) => t.name));
  for (const params of flags.call.map(named)) {
    await report.step("call_tool", () => call(params), (r) => ({ tool: params.name, ...r }));
  }
  const listed = await report.step("list_resources", () => client.listResources(), (r) => r.resources.map((x) => x.uri));
  const uri = flags.resource ?? listed?.resources[0]?.uri;
  if (uri) await report.step("read_resource", () => client.readResource({ uri }));
  await report.step("list_prompts", () => client.listPrompts(), (r) => r.prompts.map((p) => p.name));
  await report.step("get_prompt", () => client.getPrompt(named(flags.prompt)));
  await report.step("progress", progress);
  await report.step("cancel", cancel);
}

report.wanted?.push("connect", "close");
const connected = await report.step("connect", () => client.connect(transport).then(() => true), () => ({
  protocol_version: transport.protocolVersion ?? client.getNegotiatedProtocolVersion?.(),
  server: client.getServerVersion(),
}));
if (connected) {
  await drive();
  await report.step("close", async () => {
    if (transport.sessionId) await transport.terminateSession();
    await client.close();
  });
}
process.exit(0);
