// What is chosen, in one place; whoever shows it asks to be told when it changes.  The address keeps it.
import { data, linesOf } from "./data.js";

export const VIEWS = ["step", "heat", "compare", "share", "bug", "table"];

export const state = { cell: 0, t: 0, unit: 0, line: 0, view: "step", weight: 0, bug: 0, what: "step", radius: 2, forget: 2, length: 2, reach: 99 };

export const cell = () => data.cells[state.cell];

const listeners = [];
export const onChange = (listener) => listeners.push(listener);

const clamp = (value, most) => Math.max(0, Math.min(most, Math.round(value) || 0));

/** The largest value of each number in the state. */
function limits() {
  const sweeps = data.sweeps;
  return {
    cell: data.cells.length - 1,
    t: cell().steps - 1,
    unit: cell().units.length - 1,
    line: linesOf(cell()).backward.length,
    weight: Object.keys(cell().shares).length - 1,
    bug: Math.max(0, data.bugs.length - 1),
    radius: sweeps.radii.length - 1,
    forget: sweeps.forget.length - 1,
    length: sweeps.lengths.length - 1,
    reach: sweeps.reaches.filter((k2) => k2 < sweeps.lengths[clamp(state.length, sweeps.lengths.length - 1)]).length,
  };
}

/** Change what is chosen. */
export function set(changes) {
  const before = { ...state };
  Object.assign(state, changes);
  state.cell = clamp(state.cell, data.cells.length - 1);
  if (before.cell !== state.cell) {
    if (!("t" in changes)) state.t = cell().steps - 1;
    if (!("line" in changes)) state.line = 0;
    if (!("what" in changes)) state.what = "step";
  }
  const most = limits();
  for (const name of Object.keys(most)) state[name] = clamp(state[name], most[name]);
  if (!VIEWS.includes(state.view)) state.view = "step";
  const changed = new Set(Object.keys(state).filter((name) => state[name] !== before[name]));
  if (!changed.size) return;
  remember();
  for (const listener of listeners) listener(changed);
}

const KEPT = ["cell", "t", "unit", "line", "view", "weight", "bug", "radius", "forget", "length", "reach"];

function remember() {
  const words = KEPT.map((name) => `${name}=${name === "cell" ? encodeURIComponent(cell().name) : state[name]}`);
  try {
    history.replaceState(null, "", `#${words.join("&")}`);
  } catch {
    // a page inside another one may not change the address
  }
}

/** Choose what the address says; anything else stays as it is. */
export function recall() {
  const wanted = {};
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (name === "cell") {
      const found = data.cells.findIndex((one) => one.name === value);
      if (found >= 0) wanted.cell = found;
    } else if (name === "view") wanted.view = value;
    else if (KEPT.includes(name) && Number.isFinite(Number(value))) wanted[name] = Number(value);
  }
  set({ t: cell().steps - 1, ...wanted });
}
