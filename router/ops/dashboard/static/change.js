// The dialog that drains, disables, dials or enables edges, after showing what would move.

import * as api from "./api.js";
import { bdi, byId, h } from "./dom.js";
import { dialled, held } from "./edge_cells.js";
import { ago } from "./format.js";
import { described, essence, forceText } from "./preview.js";

const VERBS = { draining: "Drain", disabled: "Disable", dial: "Dial", enabled: "Enable" };
const ACTOR = "autorouter-actor";
const RETRY_MS = 2000;
const DIAL_WAIT_MS = 250;

export class ChangeDialog {
  #edges = [];
  #asked = null; // the preview asked for last: the answer to an earlier one is not shown
  #shown = null; // the preview that the operator sees: nothing else can be confirmed
  #changes = ""; // what the server wants of changes: `token`, `open` or `refused`
  #token = ""; // as long as the page lives, nowhere else
  #sending = false;
  #soon = null;

  constructor({ onDone }) {
    this.onDone = onDone;
    this.dialog = byId("change");
    this.form = byId("change-form");
    byId("change-close").addEventListener("click", () => this.dialog.close());
    byId("change-cancel").addEventListener("click", () => this.dialog.close());
    byId("change-states").addEventListener("change", () => this.#start());
    byId("change-share").addEventListener("input", () => this.#slide());
    this.form.addEventListener("input", () => this.#allow());
    this.form.addEventListener("submit", (event) => this.#submit(event));
  }

  open(edges, changes, wish = null, isNow = false) {
    this.#edges = edges;
    this.#changes = changes;
    this.#sending = false;
    const isOut = edges.some((edge) => edge.intent !== "enabled");
    const canEnd = isNow || edges.some(isWaiting);
    const isChanged = isOut || canEnd || edges.some((edge) => edge.dial !== null);
    const state = wish ?? (isOut ? "enabled" : "draining");
    byId("change-title").replaceChildren(...this.#title());
    byId("change-facts").replaceChildren(...(edges.length === 1 ? facts(edges[0]) : listed(edges)));
    for (const input of this.form.elements.state) {
      input.checked = input.value === state;
      input.closest("label").hidden = input.value === "enabled" && !isChanged;
    }
    byId("change-now-field").dataset.offered = String(canEnd);
    byId("change-now").checked = isNow;
    byId("change-share").value = String(Math.round((edges[0].dial?.to ?? 0.7) * 100));
    byId("change-reason").value = "";
    byId("change-actor").value = sessionStorage.getItem(ACTOR) ?? "";
    byId("change-token").value = this.#token;
    byId("change-token-field").hidden = changes !== "token";
    this.#say(
      changes === "refused"
        ? "This server refuses changes: it has no AUTOROUTER_OPS_TOKEN and is not on loopback."
        : "",
    );
    this.dialog.showModal();
    this.#start();
  }

  // The fleet changed while the dialog is open: what would move may be different now.
  async refresh() {
    if (!this.dialog.open || this.#sending || this.#shown === null) return;
    const asked = this.#asked;
    try {
      const told = await api.preview(this.#ids, this.#wish);
      if (asked === this.#asked && !this.#sending) this.#show(told);
    } catch {
      // The preview stays; it is asked for again before the act.
    }
  }

  get #ids() {
    return this.#edges.map(({ id }) => id);
  }

  get #state() {
    return this.form.elements.state.value;
  }

  get #share() {
    return Number(byId("change-share").value) / 100;
  }

  // What a preview is asked for.
  get #wish() {
    return this.#state === "dial" ? { state: "enabled", dial: this.#share } : { state: this.#state };
  }

  get #isNow() {
    return !byId("change-now-field").hidden && byId("change-now").checked;
  }

  get #subject() {
    return this.#edges.length === 1 ? this.#edges[0].id : `${this.#edges.length} edges`;
  }

  #title() {
    if (this.#edges.length > 1) return [`${this.#edges.length} edges`];
    const [{ id, name }] = this.#edges;
    return [`${id} `, bdi(name)];
  }

  #say(fault) {
    byId("change-fault").textContent = fault;
  }

  #slide() {
    byId("change-share-text").textContent = `${byId("change-share").value} %`;
    clearTimeout(this.#soon);
    this.#shown = null;
    this.#asked = Symbol("slide");
    this.#soon = setTimeout(() => this.#start(), DIAL_WAIT_MS);
  }

  // Another edge or another state: all that was agreed to before is void.
  #start() {
    const state = this.#state;
    byId("change-dial").hidden = state !== "dial";
    byId("change-share-text").textContent = `${byId("change-share").value} %`;
    byId("change-terms").hidden = state === "enabled";
    byId("change-now-field").hidden = state !== "enabled" || byId("change-now-field").dataset.offered !== "true";
    byId("change-reason").required = state !== "enabled";
    byId("change-submit").textContent = `${VERBS[state]} ${this.#subject}`;
    byId("change-submit").classList.toggle("danger", state === "draining" || state === "disabled");
    byId("change-force-field").hidden = true;
    byId("change-force").checked = false;
    byId("preview").replaceChildren(h("p", { class: "none" }, "Working it out …"));
    this.#preview();
  }

  async #preview() {
    const asked = Symbol(this.#state);
    this.#asked = asked;
    this.#shown = null;
    this.#allow();
    try {
      const told = await api.preview(this.#ids, this.#wish);
      if (asked === this.#asked) this.#show(told);
    } catch (error) {
      if (asked !== this.#asked) return;
      byId("preview").replaceChildren(h("p", { class: "fault" }, `Not known: ${error.message}. Asking again …`));
      this.#allow();
      this.#soon = setTimeout(() => this.dialog.open && asked === this.#asked && this.#preview(), RETRY_MS);
    }
  }

  #show(told) {
    if (this.#shown !== null && essence(told) !== essence(this.#shown)) byId("change-force").checked = false;
    this.#shown = told;
    byId("preview").replaceChildren(...described(told));
    this.#offerForce(told.needs_force, forceText(told));
    this.#allow();
  }

  #offerForce(isNeeded, text) {
    byId("change-force-field").hidden = !isNeeded;
    byId("change-force-text").textContent = text;
  }

  #allow() {
    const isForced = byId("change-force-field").hidden || byId("change-force").checked;
    const isReady = this.#shown !== null && !this.#sending && isForced;
    byId("change-submit").disabled = !isReady || !this.form.checkValidity();
  }

  async #submit(event) {
    event.preventDefault();
    const [asked, shown] = [this.#asked, this.#shown];
    const actor = byId("change-actor").value.trim();
    this.#token = byId("change-token").value;
    sessionStorage.setItem(ACTOR, actor);
    this.#sending = true;
    this.#allow();
    try {
      if (await this.#isAsShown(asked, shown)) {
        await this.#act(actor);
        if (asked === this.#asked) this.dialog.close();
        this.onDone();
      }
    } catch (error) {
      if (asked === this.#asked) this.#explain(error);
    }
    if (asked !== this.#asked) return;
    this.#sending = false;
    this.#allow();
  }

  // Asked again right before the act. If more would move now, the operator agrees once more.
  async #isAsShown(asked, shown) {
    const told = await api.preview(this.#ids, this.#wish);
    if (asked !== this.#asked) return false;
    if (essence(told) === essence(shown)) return true;
    this.#show(told);
    this.#say("What would move has changed since. Look again, then confirm.");
    return false;
  }

  #act(actor) {
    if (this.#state === "enabled") return api.bringBack(this.#ids, actor, this.#token, this.#isNow);
    return api.takeOut(this.#ids, this.#intent(actor), this.#token);
  }

  #explain(error) {
    if (error.canForce && byId("change-force-field").hidden)
      this.#offerForce(true, "Do it anyway");
    if (error.status !== 403) return this.#say(error.message);
    const isToken = this.#changes === "token";
    if (isToken && this.#token === "")
      return this.#say("Refused: a token is needed. Enter the AUTOROUTER_OPS_TOKEN of this server.");
    this.#say(`Refused: ${error.message}`);
  }

  #intent(actor) {
    const over = byId("change-over").value;
    const terms = {
      for: byId("change-for").value,
      reason: byId("change-reason").value.trim(),
      actor,
    };
    if (this.#state === "dial") return { ...terms, dial: this.#share, ...(over ? { over } : {}) };
    return { ...terms, state: this.#state, force: byId("change-force").checked };
  }
}

// Whether it passes its probes and waits to come back.
const isWaiting = ({ back_at, calm_at, reason }) =>
  calm_at !== null || (back_at !== null && reason === "hold_down");

function listed(edges) {
  return [h("dt", {}, "Edges"), h("dd", {}, bdi(edges.map(({ id, state }) => `${id} (${state})`).join(", ")))];
}

function facts(edge) {
  const [out, dial] = [held(edge), dialled(edge)];
  const rows = [
    ["State", [edge.state, edge.since === null ? null : [" ", ago(edge.since, h, "for ")]].flat()],
    ["Endpoint", bdi(edge.endpoint)],
    ["Models", edge.models === null ? "unknown" : bdi(edge.models.join(", ") || "none")],
    [
      "Votes",
      bdi(
        Object.entries(edge.votes)
          .map(([vantage, state]) => `${vantage}: ${state}`)
          .join(", ") || "none",
      ),
    ],
  ];
  const wish = out ?? dial;
  if (wish) {
    const text = `${wish.phase}, until ${wish.until}, by ${wish.actor}: ${wish.reason}`;
    rows.push([out ? "Held out" : "Dial", bdi(text)]);
  }
  return rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
}
