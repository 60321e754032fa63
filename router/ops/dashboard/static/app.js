// Wires the parts of the page; holds what they share.

import * as api from "./api.js";
import { keepEdge, keepQuestion, keptEdge, keptQuestion } from "./address.js";
import { ChangeDialog } from "./change.js";
import { basis, nameOf, showCountries } from "./countries.js";
import { byId } from "./dom.js";
import { showEdges, startEdges } from "./edges.js";
import { addEvent, setEvents, startEvents } from "./events.js";
import { clock, now, setServerTime, tick } from "./format.js";
import { setHistory } from "./history.js";
import { startLive } from "./live.js";
import { tintsOf } from "./lands.js";
import { showLegend } from "./legend.js";
import { WorldMap } from "./map.js";
import { showOutdated, showSituation } from "./situation.js";
import { askAgain, askKept, explainPlace, setCountries, startWhy } from "./why.js";

const REFRESH_MS = 5000; // round trips and shares change without an event
const HISTORY_MS = 60000; // it has one sample a minute
const MOST_REST_MS = 2000; // between two drawings
const OLD_S = 12; // a fleet that was read longer ago is not shown as current

let fleet = null;
let territory = null;
let territoryText = "";
let selected = keptEdge();
let read_s = null; // when the fleet was read last, by the server's clock
let isHeard = false;
let failures = 0;
let ticks = 0; // seconds

const map = new WorldMap({ onSelect: select, onPlace: explainPlace });
const dialog = new ChangeDialog({ onDone: refresh });

function select(id) {
  selected = id;
  keepEdge(id);
  show();
}

// `isNow`: end a hold-down too.
function change(ids, state, isNow = false) {
  dialog.open(
    fleet.edges.filter((edge) => ids.includes(edge.id)),
    fleet.changes,
    state,
    isNow,
  );
}

const isCurrent = () => read_s !== null && isHeard && now() - read_s < OLD_S;

function showHeadline() {
  document.body.dataset.current = String(isCurrent());
  if (isCurrent()) showSituation(fleet, territory, change);
  else showOutdated(read_s, failures);
}

function show() {
  if (fleet === null) return;
  showHeadline();
  showEdges({ fleet, selected, nameOf, onSelect: select, onChange: change });
  map.setFleet(fleet, selected);
}

function showTerritory() {
  map.setTerritory(territory);
  showCountries(territory, tintsOf(territory));
  setCountries(territory);
  byId("map-note").textContent = `who is served from where now; ${basis(territory)}`;
}

// Reads both and draws once. What can be read is shown, even if the other cannot.
async function read() {
  const reads = await Promise.allSettled([api.edges(), api.territory()]);
  const [newFleet, newTerritory] = reads.map((one) => one.value);
  drawing_ms = performance.now();
  if (newFleet !== undefined) setFleet(newFleet);
  const isOther = newTerritory !== undefined && setTerritory(newTerritory);
  show();
  if (isOther) {
    dialog.refresh();
    askAgain();
  }
  const failed = reads.find((one) => one.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

function setFleet(newFleet) {
  fleet = newFleet;
  setServerTime(fleet.now);
  read_s = fleet.now;
  failures = 0;
  byId("version").textContent = fleet.version;
}

// Returns whether the territory has changed.
function setTerritory(newTerritory) {
  const text = JSON.stringify(newTerritory);
  if (text === territoryText) return false;
  territory = newTerritory;
  territoryText = text;
  showTerritory();
  return true;
}

async function readHistory() {
  try {
    setHistory(await api.history());
    show();
  } catch {
    // The charts stay as they are; what cannot be read is said at the top.
  }
}

function showTime() {
  byId("clock").textContent = clock(now());
  // Hundreds of ages in the table take long to paint: they may be 5 s behind.
  tick(++ticks % 5 === 0 ? "[data-since]" : "[data-since]:not(#edge-rows *)");
  showHeadline();
}

let reading = false;
let again = false;
let drawing_ms = 0; // when the last drawing began

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

// Waits for three times as long as the last drawing took. So the page takes a quarter of the
// browser's main thread at most, whatever the size of the fleet. Hidden pages are not painted.
async function rest() {
  await Promise.race([painted(), wait(MOST_REST_MS / 3)]);
  await wait(Math.min(MOST_REST_MS, 3 * (performance.now() - drawing_ms)));
}

// One reading at a time; a wish that comes meanwhile leads to one more.
async function refresh() {
  again = true;
  if (reading) return;
  reading = true;
  while (again) {
    again = false;
    try {
      await read();
    } catch {
      failures++;
      break; // the page says that it is not up to date
    }
    await rest();
  }
  reading = false;
}

function hear(state, lost) {
  isHeard = state === "live" || state === "polling";
  failures = Math.max(failures, lost);
  showHeadline();
}

showLegend();
startWhy({ onAsk: keepQuestion });
askKept(keptQuestion());
startEdges();
startEvents();
startLive({ onFleet: refresh, onEvents: setEvents, onEvent: addEvent, onState: hear });
api
  .outlines()
  .then((topology) => {
    map.setWorld(topology);
    if (territory !== null) showTerritory();
    show();
  })
  .catch(() => {});
setInterval(refresh, REFRESH_MS);
readHistory();
setInterval(readHistory, HISTORY_MS);
setInterval(showTime, 1000);
showTime();
