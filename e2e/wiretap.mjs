/**
 * A transparent HTTP/1.1 proxy that prints every exchange: request line, headers and body, then status, headers and body.
 * Header names keep the case they had on the wire. WIRE.md was read off this; it is not part of any test.
 *
 *   run wiretap --port 9001 --to http://127.0.0.1:9000 [--status 404 --body '{}' --when server/discover]
 *
 * With --status, requests whose body contains --when are answered here, to see how a client takes a refusal.
 */
import http from "node:http";
import { parseArgs } from "node:util";

const { values: flags } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    to: { type: "string" },
    status: { type: "string" },
    body: { type: "string", default: "" },
    type: { type: "string", default: "application/json" },
    when: { type: "string", default: "" },
  },
});
const target = new URL(flags.to);
let count = 0;

const pairs = (raw) => {
  const lines = [];
  for (let i = 0; i < raw.length; i += 2) lines.push(`    ${raw[i]}: ${raw[i + 1]}`);
  return lines.join("\n");
};
const show = (text) => (text ? "\n    | " + text.trimEnd().replaceAll("\n", "\n    | ") : "");

const server = http.createServer((request, response) => {
  const id = ++count;
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    console.log(`#${id} > ${request.method} ${request.url}\n${pairs(request.rawHeaders)}${show(body.toString())}`);
    if (flags.status && body.includes(flags.when)) {
      const message = flags.body.replace("$ID", JSON.stringify(JSON.parse(body.toString() || "{}").id ?? null));
      console.log(`#${id} < ${flags.status} (answered by the tap)${show(message)}`);
      response.writeHead(Number(flags.status), { "content-type": flags.type }).end(message);
      return;
    }
    const upstream = http.request(
      { host: target.hostname, port: target.port, path: request.url, method: request.method, headers: request.headers },
      (answer) => {
        console.log(`#${id} < ${answer.statusCode}\n${pairs(answer.rawHeaders)}`);
        response.writeHead(answer.statusCode, answer.rawHeaders);
        response.flushHeaders();
        answer.on("data", (chunk) => {
          console.log(`#${id} <${show(chunk.toString())}`);
          response.write(chunk);
        });
        answer.on("end", () => response.end());
      },
    );
    response.on("close", () => {
      if (!response.writableEnded) console.log(`#${id} x client closed the stream`);
      upstream.destroy();
    });
    upstream.on("error", () => response.destroy());
    upstream.end(body);
  });
});
server.listen(Number(flags.port), "127.0.0.1", () => console.log(`ready ${server.address().port}`));
