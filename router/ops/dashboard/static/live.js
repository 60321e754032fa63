// The connection to the server, and its state at the top of the page. It is an event stream, or
// polling if the server has no free stream.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { duration } from "./format.js";

const SILENT_MS = 5000; // the server sends something every second
const RETRY_MS = [500, 1000, 2000, 4000];
const POLL_MS = 2000;
const STREAM_AGAIN_MS = 30000;
const WORDS = {
  connecting: "Connecting",
  live: "Live",
  polling: "Polling: this server has no free event stream",
  reconnecting: "Reconnecting",
};

// `onFleet` is called when the fleet may have changed, `onEvents` with all events after each
// connect, `onEvent` with each later event, and `onState` with the state every second.
export function startLive({ onFleet, onEvents, onEvent, onState }) {
  let source = null;
  let poller = null;
  let after = "";
  let heard_ms = 0;
  let began_ms = 0; // when the present stream was opened
  let failures = 0;
  let tag = null;
  let wasClosed = false; // whether the last stream ended before it sent anything

  async function connect() {
    try {
      const { events } = await api.events();
      onEvents(events);
      after = events.at(-1)?.id ?? "";
      if (wasClosed && (await api.isStreamRefused())) poll();
      else listen();
    } catch {
      lost();
    }
  }

  function listen() {
    began_ms = Date.now();
    source = new EventSource(`v1/events?${new URLSearchParams({ after })}`);
    source.addEventListener("alive", (beat) => receive(beat.data));
    source.addEventListener("message", (event) => {
      onEvent({ id: event.lastEventId, ...JSON.parse(event.data) });
      onFleet();
    });
    source.addEventListener("error", lost);
  }

  function receive(newTag) {
    heard_ms = Date.now();
    failures = 0;
    if (newTag !== tag) onFleet();
    tag = newTag;
    show();
  }

  function poll() {
    const ends_ms = Date.now() + STREAM_AGAIN_MS;
    const ask = async () => {
      try {
        for (const event of (await api.events(after)).events) {
          after = event.id;
          onEvent(event);
        }
      } catch {
        return lost();
      }
      heard_ms = Date.now();
      failures = 0;
      onFleet();
      show();
      if (Date.now() < ends_ms) poller = setTimeout(ask, POLL_MS);
      else connect();
    };
    poller = setTimeout(ask, 0);
  }

  function lost() {
    wasClosed = source?.readyState === EventSource.CLOSED && heard_ms < began_ms;
    source?.close();
    source = null;
    clearTimeout(poller);
    poller = null;
    tag = null;
    show();
    setTimeout(connect, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
  }

  function show() {
    const silent_ms = Date.now() - heard_ms;
    const isConnected = silent_ms < SILENT_MS && (source !== null || poller !== null);
    const working = poller === null ? "live" : "polling";
    const state = isConnected ? working : heard_ms === 0 ? "connecting" : "reconnecting";
    showState(state, isConnected || heard_ms === 0 ? "" : `last update ${duration(silent_ms / 1000)} ago`);
    onState(state, failures);
    const waited_ms = Date.now() - Math.max(heard_ms, began_ms);
    if (source !== null && waited_ms >= SILENT_MS) lost();
  }

  setInterval(show, 1000);
  connect();
}

function showState(state, age) {
  if (byId("live").dataset.state !== state) {
    byId("live").dataset.state = state;
    byId("live-state").textContent = WORDS[state];
  }
  byId("live-age").textContent = age;
}
