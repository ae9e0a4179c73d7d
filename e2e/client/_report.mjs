/** What the Node client drivers share: the report. One JSON object per line; refusals are data. */

/** What a refusal said: type and message, plus the protocol code, HTTP status and body where the SDK keeps them. */
export function describe(error) {
  const said = { type: error?.name ?? typeof error, message: error?.message ?? String(error) };
  for (const key of ["code", "data", "status"]) if (error?.[key] !== undefined) said[key] = error[key];
  return said;
}

/** Runs the steps asked for and prints what came of each. */
export class Report {
  constructor(steps) {
    this.wanted = steps?.split(",");
  }

  wants(step) {
    return !this.wanted || this.wanted.includes(step);
  }

  line(step, outcome) {
    console.log(JSON.stringify({ step, ...outcome }));
  }

  /** Awaits `action()` if the step is wanted; its result or undefined. */
  async step(step, action, show = (result) => result) {
    if (!this.wants(step)) return undefined;
    try {
      const result = await action();
      this.line(step, { ok: true, result: show(result) ?? null });
      return result;
    } catch (error) {
      this.line(step, { ok: false, error: describe(error) });
      return undefined;
    }
  }
}
