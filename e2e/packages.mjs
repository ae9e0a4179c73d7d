/** Preloaded by `run`: lets the modules of e2e/ import the packages that setup.sh installed outside the tree. */
import { register } from "node:module";
import { pathToFileURL } from "node:url";

if (!process.env.VIDIMUS_E2E) throw new Error("VIDIMUS_E2E is not set; start this through e2e/run");
const parent = pathToFileURL(`${process.env.VIDIMUS_E2E}/node/`).href;
const hook = `
  const here = ${JSON.stringify(new URL(".", import.meta.url).href)};
  export const resolve = (name, context, next) =>
    next(name, context.parentURL?.startsWith(here) && /^[@a-z]/.test(name) ? { ...context, parentURL: ${JSON.stringify(parent)} } : context);
`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
