// Requests to the ops listener. Every address is relative, so that a proxy may add a prefix.

export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const response = await fetch(path, { cache: "no-cache", signal: AbortSignal.timeout(10000), ...options });
  const told = await response.json().catch(() => ({}));
  if (!response.ok)
    throw new Refusal(response.status, told.detail ?? `the server answers ${response.status}`);
  return told;
}

export const edges = () => ask("v1/edges");
export const events = () => ask("v1/events");
export const territory = () => ask("v1/territory");
export const outlines = () => ask("static/outlines.json");
export const explain = (asked) => ask(`v1/explain?${new URLSearchParams(asked)}`);
export const preview = (id, state) => ask(`v1/preview?${new URLSearchParams({ edges: id, state })}`);

const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});
const intent = (id) => `v1/edges/${encodeURIComponent(id)}/intent`;

export const takeOut = (id, wish, token) =>
  ask(intent(id), {
    method: "PUT",
    body: JSON.stringify(wish),
    headers: { "Content-Type": "application/json", ...bearer(token) },
  });

export const bringBack = (id, actor, token) =>
  ask(`${intent(id)}?${new URLSearchParams({ actor })}`, { method: "DELETE", headers: bearer(token) });
