// Connects the parts of the page, and has the data that they share.

import * as api from "./api.js";
import { saveEdge, saveQuestion, savedEdge, savedQuestion } from "./address.js";
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
import { askAgain, askSaved, explainPlace, setCountries, startWhy } from "./why.js";

const REFRESH_MS = 5000; // round trips and shares change without an event
const HISTORY_MS = 60000; // the history has one sample a minute
const MOST_REST_MS = 2000; // between two drawings
const OLD_S = 12; // if the last reading is older, the page is "not up to date"

let fleet = null;
let territory = null;
let territoryText = "";
let selected = savedEdge();
let read_s = null; // when the fleet was last read, by the server's clock
let isConnected = false;
let failures = 0;
let seconds = 0; // since the page was loaded

const map = new WorldMap({ onSelect: select, onPlace: explainPlace });
const dialog = new ChangeDialog({ onDone: refresh });

function select(id) {
  selected = id;
  saveEdge(id);
  show();
}

// `isNow`: also end the hold-down.
function change(ids, state, isNow = false) {
  dialog.open(
    fleet.edges.filter((edge) => ids.includes(edge.id)),
    fleet.changes,
    state,
    isNow,
  );
}

const isCurrent = () => read_s !== null && isConnected && now() - read_s < OLD_S;

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
  byId("map-note").textContent = `which edge serves each place now; ${basis(territory)}`;
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
    // The charts stay as they are. The headline says if the server cannot be read.
  }
}

function showTime() {
  byId("clock").textContent = clock(now());
  // The table's ages are updated only every 5 s, because hundreds of them take long to paint.
  tick(++seconds % 5 === 0 ? "[data-since]" : "[data-since]:not(#edge-rows *)");
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

// One reading at a time. Calls during a reading cause one more.
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
      break; // the headline says that the page is not up to date
    }
    await rest();
  }
  reading = false;
}

function setConnection(state, lost) {
  isConnected = state === "live" || state === "polling";
  failures = Math.max(failures, lost);
  showHeadline();
}

showLegend();
startWhy({ onAsk: saveQuestion });
askSaved(savedQuestion());
startEdges();
startEvents();
startLive({ onFleet: refresh, onEvents: setEvents, onEvent: addEvent, onState: setConnection });
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
