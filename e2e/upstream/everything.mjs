/**
 * The real @modelcontextprotocol/server-everything over streamable HTTP at /mcp (2025 eras), unmodified.
 * The package listens on every interface and prints to stdout; here it gets loopback, and stdout keeps only `ready PORT`.
 */
import { createRequire } from "node:module";
import net from "node:net";
import { pathToFileURL } from "node:url";
import { flags } from "./_serve.mjs";

const { port } = flags();
console.log = console.error;
const { listen } = net.Server.prototype;
net.Server.prototype.listen = function (wanted, then) {
  return listen.call(this, { port: Number(wanted), host: "127.0.0.1" }, () => {
    process.stdout.write(`ready ${this.address().port}\n`);
    then?.();
  });
};
process.env.PORT = port;
const packages = createRequire(`${process.env.VIDIMUS_E2E}/node/`);
await import(pathToFileURL(packages.resolve("@modelcontextprotocol/server-everything/dist/transports/streamableHttp.js")));
