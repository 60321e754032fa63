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
  #asked = null; // identifies the last preview request; answers to earlier ones are not shown
  #shown = null; // the preview that the operator sees and can confirm
  #changes = ""; // how the server accepts changes: `token`, `open` or `refused`
  #token = ""; // stored only here, so it is lost when the page is closed
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

  open(edges, changes, wanted = null, isNow = false) {
    this.#edges = edges;
    this.#changes = changes;
    this.#sending = false;
    const isOut = edges.some((edge) => edge.intent !== "enabled");
    const canEnd = isNow || edges.some(isWaiting);
    const isChanged = isOut || canEnd || edges.some((edge) => edge.dial !== null);
    const state = wanted ?? (isOut ? "enabled" : "draining");
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

  // Called if the fleet changes while the dialog is open, because the preview may change.
  async refresh() {
    if (!this.dialog.open || this.#sending || this.#shown === null) return;
    const asked = this.#asked;
    try {
      const preview = await api.preview(this.#ids, this.#change);
      if (asked === this.#asked && !this.#sending) this.#show(preview);
    } catch {
      // The old preview stays. It is requested again before the change is made.
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

  // The change, as parameters of a preview.
  get #change() {
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

  // Called for another edge or state: the operator has to confirm again.
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
    byId("preview").replaceChildren(h("p", { class: "none" }, "Calculating …"));
    this.#preview();
  }

  async #preview() {
    const asked = Symbol(this.#state);
    this.#asked = asked;
    this.#shown = null;
    this.#allow();
    try {
      const preview = await api.preview(this.#ids, this.#change);
      if (asked === this.#asked) this.#show(preview);
    } catch (error) {
      if (asked !== this.#asked) return;
      byId("preview").replaceChildren(h("p", { class: "fault" }, `The preview failed: ${error.message}. Trying again …`));
      this.#allow();
      this.#soon = setTimeout(() => this.dialog.open && asked === this.#asked && this.#preview(), RETRY_MS);
    }
  }

  #show(preview) {
    if (this.#shown !== null && essence(preview) !== essence(this.#shown)) byId("change-force").checked = false;
    this.#shown = preview;
    byId("preview").replaceChildren(...described(preview));
    this.#offerForce(preview.needs_force, forceText(preview));
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

  // Requests the preview again right before the change. If it differs, the operator has to confirm
  // again.
  async #isAsShown(asked, shown) {
    const preview = await api.preview(this.#ids, this.#change);
    if (asked !== this.#asked) return false;
    if (essence(preview) === essence(shown)) return true;
    this.#show(preview);
    this.#say("The preview has changed. Check it again, then confirm.");
    return false;
  }

  #act(actor) {
    if (this.#state === "enabled") return api.deleteIntent(this.#ids, actor, this.#token, this.#isNow);
    return api.putIntent(this.#ids, this.#intent(actor), this.#token);
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

// Whether the edge is held down or flapping.
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
  const intent = out ?? dial;
  if (intent) {
    const text = `${intent.phase}, until ${intent.until}, by ${intent.actor}: ${intent.reason}`;
    rows.push([out ? "Taken out" : "Dial", bdi(text)]);
  }
  return rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
}
