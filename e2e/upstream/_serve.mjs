/** What every Node upstream shares: the flags, the request log, and the `ready PORT` line. */
import diagnostics from "node:diagnostics_channel";
import { appendFileSync } from "node:fs";
import { parseArgs } from "node:util";

const BODY_LIMIT = 64 * 1024;

/** The flags that every upstream has, and `extra` ones; starts the log. */
export function flags(extra = {}) {
  const { values } = parseArgs({
    options: { port: { type: "string", default: "0" }, log: { type: "string" }, ...extra },
  });
  if (values.log) logRequests(values.log);
  return values;
}

/** One JSON line per request to any HTTP server of this process, written when its body is complete. */
function logRequests(path) {
  diagnostics.subscribe("http.server.request.start", ({ request }) => {
    const chunks = [];
    let length = 0;
    const push = request.push;
    request.push = (chunk, ...rest) => {
      if (chunk) {
        length += chunk.length;
        chunks.push(chunk);
      }
      return push.call(request, chunk, ...rest);
    };
    const write = () => {
      request.off("end", write).off("close", write);
      const headers = [];
      for (let i = 0; i < request.rawHeaders.length; i += 2) {
        headers.push([request.rawHeaders[i].toLowerCase(), request.rawHeaders[i + 1]]);
      }
      const body = Buffer.concat(chunks).subarray(0, BODY_LIMIT).toString();
      const line = { time: Date.now() / 1000, method: request.method, path: request.url, headers, body_length: length, body };
      appendFileSync(path, `${JSON.stringify(line)}\n`);
    };
    request.on("end", write).on("close", write);
  });
}

/** Listens on 127.0.0.1 and says so. */
export function listen(server, port) {
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(Number(port), "127.0.0.1", () => resolve(server.address().port));
  });
}

/** The one line on stdout. */
export const ready = (port) => console.log(`ready ${port}`);
