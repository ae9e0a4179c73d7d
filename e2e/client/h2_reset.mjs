/**
 * One HTTP/2 connection (prior knowledge) with two calls: the first is reset when a line comes on stdin, then the second is made.
 *
 *   --url BASE --first PATH --second PATH --token T --headers JSON --body JSON     prints the second's status
 */
import http2 from "node:http2";
import { parseArgs } from "node:util";

const names = ["url", "first", "second", "token", "headers", "body"];
const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });
const session = http2.connect(values.url);

function call(path) {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    authorization: `Bearer ${values.token}`,
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    ...JSON.parse(values.headers),
  });
  stream.resume();
  stream.end(values.body);
  return stream;
}

const first = call(values.first);
process.stdin.once("end", () => process.exit(1)); // whoever started it is gone
process.stdin.once("data", () => {
  process.stdin.destroy();
  first.close(http2.constants.NGHTTP2_CANCEL);
  call(values.second).on("response", (headers) => console.log(headers[":status"])).on("close", () => session.close());
});
