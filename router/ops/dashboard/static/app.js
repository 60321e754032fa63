// Wires the parts of the page; holds what they share.

import * as api from "./api.js";
import { ChangeDialog } from "./change.js";
import { basis, showCountries } from "./countries.js";
import { byId } from "./dom.js";
import { showEdges } from "./edges.js";
import { addEvent, setEvents } from "./events.js";
import { clock, now, setServerTime, tick } from "./format.js";
import { startLive } from "./live.js";
import { tintsOf } from "./lands.js";
import { showLegend } from "./legend.js";
import { WorldMap } from "./map.js";
import { countryName, showSituation } from "./situation.js";
import { explainPlace, setCountries, startWhy } from "./why.js";

const REFRESH_MS = 5000; // round trips and shares change without an event

let fleet = null;
let territory = null;
let selected = null;

const map = new WorldMap({ onSelect: select, onPlace: explainPlace });
const dialog = new ChangeDialog({
  onDone: refresh,
  nameOf: (code) => (territory ? countryName(territory, code) : code),
});

function select(id) {
  selected = id;
  show();
}

function change(id, state) {
  dialog.open(
    fleet.edges.find((edge) => edge.id === id),
    fleet.changes,
    state,
  );
}

function show() {
  if (fleet === null) return;
  showSituation(fleet, territory, change);
  showEdges(fleet, { selected, onSelect: select, onChange: change });
  map.setFleet(fleet, selected);
}

function showTerritory() {
  map.setTerritory(territory);
  showCountries(territory, tintsOf(territory));
  setCountries(territory);
  byId("map-note").textContent = `who is served from where now; ${basis(territory)}`;
}

async function readFleet() {
  fleet = await api.edges();
  setServerTime(fleet.now);
  byId("version").textContent = fleet.version;
  show();
}

async function readTerritory() {
  const told = await api.territory();
  if (JSON.stringify(told) === JSON.stringify(territory)) return;
  territory = told;
  showTerritory();
  show();
}

function showTime() {
  byId("clock").textContent = clock(now());
  tick(document);
}

let reading = false;
let again = false;

// One reading at a time; a wish that comes meanwhile leads to one more.
async function refresh() {
  again = true;
  if (reading) return;
  reading = true;
  while (again) {
    again = false;
    try {
      await readFleet();
      await readTerritory();
    } catch {
      break; // the line tells that the server is away
    }
  }
  reading = false;
}

showLegend();
startWhy();
startLive({ onFleet: refresh, onEvents: setEvents, onEvent: addEvent });
api
  .outlines()
  .then((topology) => {
    map.setWorld(topology);
    if (territory !== null) showTerritory();
    show();
  })
  .catch(() => {});
setInterval(refresh, REFRESH_MS);
setInterval(showTime, 1000);
showTime();
