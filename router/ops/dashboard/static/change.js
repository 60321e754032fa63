// The dialog that drains, disables or enables an edge, after showing what would move.

import * as api from "./api.js";
import { byId, h, meter } from "./dom.js";
import { held } from "./edges.js";
import { ago, percent } from "./format.js";

const VERBS = { draining: "Drain", disabled: "Disable", enabled: "Enable" };
const ACTOR = "autorouter-actor";
const PEOPLE = "Weighed by population: too few answers were given lately to go by.";
const ANSWERS = "Weighed by the answers of the last 5 minutes.";

export class ChangeDialog {
  #edge = null;
  #asked = null; // the preview asked for last: the answer to an earlier one is not shown
  #shown = null; // the preview that the operator sees: nothing else can be confirmed
  #token = ""; // as long as the page lives, nowhere else

  constructor({ onDone, nameOf }) {
    this.onDone = onDone;
    this.nameOf = nameOf;
    this.dialog = byId("change");
    this.form = byId("change-form");
    byId("change-close").addEventListener("click", () => this.dialog.close());
    byId("change-cancel").addEventListener("click", () => this.dialog.close());
    byId("change-states").addEventListener("change", () => this.#preview());
    this.form.addEventListener("input", () => this.#allow());
    this.form.addEventListener("submit", (event) => this.#submit(event));
  }

  open(edge, changes, wish = null) {
    this.#edge = edge;
    const isOut = edge.intent !== "enabled";
    const state = wish ?? (isOut ? "enabled" : "draining");
    byId("change-title").textContent = `${edge.id} ${edge.name}`;
    byId("change-facts").replaceChildren(...facts(edge));
    for (const input of this.form.elements.state) {
      input.checked = input.value === state;
      input.closest("label").hidden = input.value === "enabled" && !isOut;
    }
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
    this.#preview();
  }

  get #state() {
    return this.form.elements.state.value;
  }

  #say(fault) {
    byId("change-fault").textContent = fault;
  }

  async #preview() {
    const [edge, state] = [this.#edge, this.#state];
    const asked = Symbol(state);
    this.#asked = asked;
    this.#shown = null;
    byId("change-terms").hidden = state === "enabled";
    byId("change-reason").required = state !== "enabled";
    byId("change-submit").textContent = `${VERBS[state]} ${edge.id}`;
    byId("change-submit").classList.toggle("danger", state !== "enabled");
    byId("change-force-field").hidden = true;
    byId("change-force").checked = false;
    byId("preview").replaceChildren(h("p", { class: "none" }, "Working it out …"));
    this.#allow();
    try {
      const told = await api.preview(edge.id, state);
      if (asked !== this.#asked) return;
      this.#shown = told;
      byId("preview").replaceChildren(...this.#describe(told));
      byId("change-force-field").hidden = !told.needs_force;
      byId("change-force-text").textContent =
        `Leave ${this.#countries(told.countries_left)} without an edge anyway`;
    } catch (error) {
      if (asked !== this.#asked) return;
      byId("preview").replaceChildren(h("p", { class: "fault" }, `Not known: ${error.message}`));
    }
    this.#allow();
  }

  #countries(codes) {
    return codes.map((code) => this.nameOf(code)).join(", ");
  }

  #describe(told) {
    const total = told.moves.reduce((sum, move) => sum + move.share, 0);
    const most = Math.max(...told.moves.map((move) => move.share), 0.0001);
    const items = told.moves.slice(0, 8).map((move) => {
      const more = move.more_countries ? ` and ${move.more_countries} more` : "";
      return h(
        "li",
        {},
        h("span", { class: "id" }, `${move.from ?? "no edge"} → ${move.to ?? "no edge"}`),
        meter(move.share / most),
        h("span", { class: "number" }, percent(move.share)),
        h(
          "small",
          {},
          `${this.#countries(move.countries.slice(0, 5))}${move.countries.length > 5 ? " …" : ""}${more}`,
        ),
      );
    });
    const left = told.countries_left;
    return [
      h("p", {}, total === 0 ? "Nobody moves." : `${percent(total)} of all viewers get another edge.`),
      h("ul", { class: "moves" }, items),
      left.length === 0
        ? h("p", { class: "none" }, "Every country that has an edge keeps one.")
        : h("p", { class: "left" }, `Left without an edge: ${this.#countries(left)}. Viewers there go abroad; those who must stay get none.`),
      h("p", { class: "note" }, told.basis === "people" ? PEOPLE : ANSWERS),
    ];
  }

  #allow() {
    const isForced = this.#shown?.needs_force === false || byId("change-force").checked;
    byId("change-submit").disabled = this.#shown === null || !isForced || !this.form.checkValidity();
  }

  async #submit(event) {
    event.preventDefault();
    const { id } = this.#edge;
    const [asked, shown] = [this.#asked, this.#shown];
    const actor = byId("change-actor").value.trim();
    this.#token = byId("change-token").value;
    sessionStorage.setItem(ACTOR, actor);
    this.#shown = null;
    this.#allow();
    try {
      if (this.#state === "enabled") await api.bringBack(id, actor, this.#token);
      else await api.takeOut(id, this.#wish(actor), this.#token);
      if (asked === this.#asked) this.dialog.close();
      this.onDone();
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#shown = shown;
      this.#say(error.status === 403 ? `Refused: ${error.message}` : error.message);
      this.#allow();
    }
  }

  #wish(actor) {
    return {
      state: this.#state,
      for: byId("change-for").value,
      reason: byId("change-reason").value.trim(),
      actor,
      force: byId("change-force").checked,
    };
  }
}

function facts(edge) {
  const out = held(edge);
  const rows = [
    ["State", [edge.state, edge.since === null ? null : [" ", ago(edge.since, h, "for ")]].flat()],
    ["Endpoint", edge.endpoint],
    ["Models", edge.models === null ? "unknown" : edge.models.join(", ") || "none"],
    [
      "Votes",
      Object.entries(edge.votes)
        .map(([vantage, state]) => `${vantage}: ${state}`)
        .join(", ") || "none",
    ],
  ];
  if (out) rows.push(["Held out", `${out.phase}, until ${out.until}, by ${out.actor}: ${out.reason}`]);
  return rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
}
