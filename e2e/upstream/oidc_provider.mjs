/**
 * The real npm oidc-provider: client_credentials with resource indicators, giving JWT access tokens.
 *
 *   --client ID:SECRET[:SUBJECT]   repeatable; the token's `sub` is SUBJECT, else ID
 *   --alg RS256|ES256   --ttl SECONDS
 *
 *   curl -u ID:SECRET -d grant_type=client_credentials -d resource=urn:vidimus ISSUER/token
 *
 * `resource` becomes `aud`; without it the token is opaque. The keys rotate on SIGHUP or `POST /admin/rotate`: the new one
 * signs, the old one stays published; with `?keep=false` it is gone from the JWKS at once.
 */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import http from "node:http";
import Provider from "oidc-provider";
import { flags, listen } from "./_serve.mjs";

const options = flags({
  client: { type: "string", multiple: true, default: ["agent:secret"] },
  alg: { type: "string", default: "RS256" },
  ttl: { type: "string", default: "300" },
});
const clients = options.client.map((text) => {
  const [id, secret, ...subject] = text.split(":");
  return { id, secret, subject: subject.join(":") || id };
});

/** A fresh signing key as a JWK. */
function newKey() {
  const pair = options.alg === "ES256" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...pair.privateKey.export({ format: "jwk" }), kid: randomBytes(8).toString("hex"), alg: options.alg, use: "sig" };
}

/** The provider with these keys, the newest first: it signs. */
function provider(issuer, keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: clients.map(({ id, secret }) => ({
      client_id: id,
      client_secret: secret,
      grant_types: ["client_credentials"],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: options.alg,
    })),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => ({
          audience: resource,
          scope: "",
          accessTokenTTL: Number(options.ttl),
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: options.alg, kid: keys[0].kid } },
        }),
      },
    },
    formats: {
      customizers: {
        jwt(_ctx, token, parts) {
          parts.payload.sub = clients.find((client) => client.id === token.clientId).subject;
          return parts;
        },
      },
    },
  });
}

console.info = console.warn = console.log = console.error; // the provider warns of http and of in-memory storage
let keys = [newKey()];
let handle;
function rotate(issuer, keep) {
  keys = [newKey(), ...(keep ? keys : [])];
  handle = provider(issuer, keys).callback();
  return { kid: keys[0].kid, published: keys.map((key) => key.kid) };
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, issuer);
  if (request.method !== "POST" || url.pathname !== "/admin/rotate") return handle(request, response);
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(rotate(issuer, url.searchParams.get("keep") !== "false")));
});
const port = await listen(server, options.port);
const issuer = `http://127.0.0.1:${port}`;
handle = provider(issuer, keys).callback();
process.on("SIGHUP", () => rotate(issuer, true));
process.stdout.write(`ready ${port}\n`);
