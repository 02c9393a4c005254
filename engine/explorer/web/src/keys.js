// Single keys.  They can be switched off, and they keep out of the way of the controls that need them.
import { data } from "./data.js";
import { set, state, VIEWS } from "./state.js";

const COMPARED = { r: ["radius", 1], R: ["radius", -1], f: ["forget", 1], F: ["forget", -1], t: ["length", 1], T: ["length", -1], k: ["reach", 1], K: ["reach", -1] };

/** Whether the focused control uses that key itself. */
function taken(target, key) {
  if (document.getElementById("keys").open) return true;
  const tagName = target.tagName;
  if (tagName === "SELECT" || tagName === "TEXTAREA") return true;
  if (tagName === "INPUT") return target.type === "radio" || target.type === "range" ? key.startsWith("Arrow") : target.type !== "checkbox";
  return target.getAttribute?.("role") === "tab" && key.startsWith("Arrow");
}

function turn(number, way, count) {
  return (number + way + count) % count;
}

/** What a key does; false if it does nothing here. */
function act(key, actions) {
  const { view } = state;
  if (view === "compare" && COMPARED[key]) {
    const [name, way] = COMPARED[key];
    set({ [name]: state[name] + way });
  } else if (key === "ArrowLeft") set({ t: state.t - 1 });
  else if (key === "ArrowRight") set({ t: state.t + 1 });
  else if (key === "[") set({ unit: state.unit - 1 });
  else if (key === "]") set({ unit: state.unit + 1 });
  else if (key === "n" || key === "p") {
    const way = key === "n" ? 1 : -1;
    if (view === "bug") set({ bug: state.bug + way });
    else set({ line: state.line + way, view: "step" });
  } else if (key === "c") set({ cell: turn(state.cell, 1, data.cells.length) });
  else if (key === "C") set({ cell: turn(state.cell, -1, data.cells.length) });
  else if (key === "w" && view === "share") actions.nextWeight();
  else if (key === "w") actions.play();
  else if (key === "d") actions.colours();
  else if (key === "+" || key === "=") actions.larger();
  else if (key === "?") actions.help();
  else if (/^[1-6]$/.test(key)) set({ view: VIEWS[Number(key) - 1] });
  else return false;
  return true;
}

export function listenKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const letter = !event.key.startsWith("Arrow");
    if (taken(event.target, event.key) || (letter && !document.getElementById("single").checked)) return;
    if (act(event.key, actions)) event.preventDefault();
  });
}
