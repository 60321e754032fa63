// The line to the server: its event stream, and what the page says of it.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { duration } from "./format.js";

const SILENT_MS = 5000; // the server says that it is alive every second
const RETRY_MS = [500, 1000, 2000, 4000];

// `onFleet` is called whenever the fleet may have changed, `onEvents` with all events after
// each new start and `onEvent` with each later one.
export function startLive({ onFleet, onEvents, onEvent }) {
  let source = null;
  let heard_ms = 0;
  let began_ms = 0; // the present stream
  let failures = 0;
  let tag = null;

  async function connect() {
    try {
      const told = (await api.events()).events;
      onEvents(told);
      listen(told.at(-1)?.id ?? "");
    } catch {
      lost();
    }
  }

  function listen(after) {
    began_ms = Date.now();
    source = new EventSource(`v1/events?${new URLSearchParams({ after })}`);
    source.addEventListener("alive", (beat) => hear(beat.data));
    source.addEventListener("message", (event) => {
      onEvent({ id: event.lastEventId, ...JSON.parse(event.data) });
      onFleet();
    });
    source.addEventListener("error", lost);
  }

  function hear(told) {
    heard_ms = Date.now();
    failures = 0;
    if (told !== tag) onFleet();
    tag = told;
    show();
  }

  function lost() {
    source?.close();
    source = null;
    tag = null;
    show();
    setTimeout(connect, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
  }

  function show() {
    const silent_ms = Date.now() - heard_ms;
    const isLive = source !== null && silent_ms < SILENT_MS;
    const state = isLive ? "live" : heard_ms === 0 ? "connecting" : "reconnecting";
    say(state, isLive || heard_ms === 0 ? "" : `last update ${duration(silent_ms / 1000)} ago`);
    const waited_ms = Date.now() - Math.max(heard_ms, began_ms);
    if (source !== null && waited_ms >= SILENT_MS) lost();
  }

  setInterval(show, 1000);
  connect();
}

function say(state, age) {
  const text = state[0].toUpperCase() + state.slice(1);
  if (byId("live").dataset.state !== state) {
    byId("live").dataset.state = state;
    byId("live-state").textContent = text;
  }
  byId("live-age").textContent = age;
}
