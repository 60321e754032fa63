// A reference client of autorouter for browsers and Node: ask once, keep the pick, fail over
// to its alternates. Copy this file; it needs fetch only. docs/clients.md has the reasons.

const KEEP_S = 86_400; // how long a pick is used past its ttl while the router does not answer
const SHUN_S = 30, MAX_SHUN_S = 300, MAX_RETRY_AFTER_S = 3_600;
const NO_EDGE = new Set(["model_unavailable", "no_edge_in_country"]);
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);
// Node's codes for "no byte of the request was sent"; browsers do not say, so there only
// idempotent requests go to an alternate.
const UNREACHED = new Set([
  "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN",
  "UND_ERR_CONNECT_TIMEOUT",
]);

// No edge to use: `code` is the router's, or router_unreachable without a fallback.
export class NoEdgeError extends Error {
  constructor(code) {
    super(`no edge: ${code}`);
    this.code = code;
  }
}

export class Autorouter {
  #picks = []; #waitS = 5; #shunned = new Map(); // #shunned: endpoint to until when
  #askAt = -Infinity; #askedAt = -Infinity; #keepUntil = -Infinity;

  // `now`: seconds of a clock that never jumps.
  constructor(router, { fallback, model, scope, now = () => performance.now() / 1000 } = {}) {
    const query = `${new URLSearchParams(Object.entries({ model, scope }).filter(([, v]) => v))}`;
    this.url = `${router}/v1/route${query && `?${query}`}`;
    this.fallback = fallback;
    this.now = now;
  }

  // Like fetch, with a path. `idempotent: true` allows another try after a failure; a body
  // must be one that can be sent twice (no stream).
  async request(path, { idempotent, ...init } = {}) {
    const mayRepeat = idempotent ?? IDEMPOTENT.has((init.method ?? "GET").toUpperCase());
    const tried = new Set();
    let outcome;
    for (;;) {
      const left = (await this.#endpoints()).filter((one) => !tried.has(one));
      if (!left.length) break;
      tried.add(left[0]);
      init.signal?.throwIfAborted();
      const request = new Request(left[0] + path, init); // throws if the application is at fault
      outcome = await fetch(request).catch((error) => error);
      const isOver = init.signal?.aborted; // by a timeout, or else the application gave up
      if (isOver && init.signal.reason?.name !== "TimeoutError") break;
      if (!this.#mayGoElsewhere(left[0], outcome, mayRepeat) || isOver) break;
      if (left.length === 1 && this.now() - this.#askedAt > 5) this.#askAt = this.now();
    }
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }

  // The edges to try, in order; those that failed lately come last.
  async #endpoints() {
    if (this.now() >= this.#askAt) await this.#ask();
    const picks = this.#picks.length ? this.#picks : [this.fallback].filter(Boolean);
    if (!picks.length) throw new NoEdgeError("router_unreachable");
    const now = this.now();
    const until = (one) => Math.max(now, this.#shunned.get(one) ?? now);
    return [...picks].sort((a, b) => until(a) - until(b));
  }

  async #ask() {
    let answer = null, status = 0, body = {};
    // Other requests use what is known until the answer comes.
    if (this.#picks.length) this.#askAt = this.now() + 5;
    try {
      const options = { cache: "no-cache", redirect: "error", signal: AbortSignal.timeout(2000) };
      answer = await fetch(this.url, options);
      body = (await answer.json()) ?? {};
      status = answer.status;
    } catch {} // no answer, or none that can be read
    const now = (this.#askedAt = this.now());
    if (status === 404 && NO_EDGE.has(body.code)) {
      [this.#picks, this.#askAt] = [[], now];
      throw new NoEdgeError(body.code);
    }
    const picks = status === 200 ? picksOf(body) : [];
    if (picks.length && picks[0] === body.endpoint) {
      const isTtl = Number.isInteger(body.ttl) && body.ttl >= 1 && body.ttl <= 86_400;
      const fresh = Math.max(1, (isTtl ? body.ttl : 300) - seconds(answer, "age"));
      [this.#picks, this.#waitS, this.#keepUntil] = [picks, 5, now + fresh + KEEP_S];
      this.#askAt = now + fresh * (0.8 + Math.random() / 5);
    } else { // keep what is known; ask again later, each client at its own time
      if (now >= this.#keepUntil) this.#picks = [];
      const wait = this.#waitS * (0.5 + Math.random() / 2);
      const retry = Math.min(MAX_RETRY_AFTER_S, seconds(answer, "retry-after"));
      this.#askAt = now + Math.max(wait, retry);
      this.#waitS = Math.min(300, 2 * this.#waitS);
    }
  }

  #mayGoElsewhere(endpoint, outcome, mayRepeat) {
    const retry = seconds(outcome, "retry-after");
    const limited = outcome.status === 429 && retry > 0; // refused before any work was done
    if (![undefined, 502, 503, 504].includes(outcome.status) && !limited) {
      this.#shunned.delete(endpoint);
      return false;
    }
    this.#shunned.set(endpoint, this.now() + Math.min(MAX_SHUN_S, retry || SHUN_S));
    this.#askAt = Math.min(this.#askAt, this.now() + 5 + 10 * Math.random());
    return limited || mayRepeat || UNREACHED.has(outcome.cause?.code);
  }
}

function picksOf(body) {
  return [body, ...(Array.isArray(body.alternates) ? body.alternates : [])]
    .map((entry) => entry?.endpoint)
    .filter((one) => typeof one === "string" && one);
}

function seconds(answer, header) {
  const text = answer?.headers?.get(header) ?? "";
  return /^\d+$/.test(text) ? Number(text) : 0;
}
