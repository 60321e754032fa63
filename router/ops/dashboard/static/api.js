// Requests to the ops listener. All URLs are relative, so that a proxy can add a prefix.

export class Refusal extends Error {
  constructor(status, detail, canForce = false) {
    super(detail);
    this.status = status;
    this.canForce = canForce;
  }
}

async function ask(path, options = {}) {
  const response = await fetch(path, { cache: "no-cache", signal: AbortSignal.timeout(10000), ...options });
  if (response.ok) return response.json();
  const body = await response.json().catch(() => ({}));
  throw new Refusal(response.status, body.detail ?? `the server returned ${response.status}`, body.can_force);
}

export const edges = () => ask("v1/edges");
export const history = () => ask("v1/history");
export const events = (after = "", which = {}) => ask(`v1/events?${new URLSearchParams({ after, ...which })}`);
export const territory = () => ask("v1/territory");
export const outlines = () => ask("static/outlines.json");
export const explain = (asked) => ask(`v1/explain?${new URLSearchParams(asked)}`);
export const preview = (ids, change) => ask(`v1/preview?${new URLSearchParams({ edges: ids.join(","), ...change })}`);

// Whether the server has no free event stream. EventSource does not report why it failed.
export async function isStreamRefused() {
  const stop = new AbortController();
  const headers = { Accept: "text/event-stream" };
  const response = await fetch("v1/events", { headers, signal: stop.signal });
  stop.abort();
  return response.status === 503;
}

const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});
const intent = (ids) => `v1/edges/${ids.map(encodeURIComponent).join(",")}/intent`;

export const putIntent = (ids, body, token) =>
  ask(intent(ids), {
    method: "PUT",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", ...bearer(token) },
  });

// `isNow`: pollers also end the hold-down and the flapping.
export const deleteIntent = (ids, actor, token, isNow) =>
  ask(`${intent(ids)}?${new URLSearchParams({ actor, ...(isNow ? { now: "true" } : {}) })}`, { method: "DELETE", headers: bearer(token) });
