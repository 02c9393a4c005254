// The page: controls, views, and who is told when the choice changes.
import { listenBug, showBug } from "./bugs.js";
import { listenCompare, showCompare, SLIDERS } from "./compare.js";
import { data } from "./data.js";
import { listenHeat, showHeat } from "./heat.js";
import { listenKeys } from "./keys.js";
import { listenShare, showShare } from "./share.js";
import { cell, onChange, recall, set, state, VIEWS } from "./state.js";
import { listenStep, sayLine, showStep } from "./step.js";
import { drawStrip, listenStrip, saySentence } from "./strip.js";
import { listenTable, showTable } from "./table.js";

const element = (id) => document.getElementById(id);
const SHOW = { step: showStep, heat: showHeat, compare: showCompare, share: showShare, bug: showBug, table: showTable };
/** Which choices each view shows. */
const SHOWN = {
  step: ["cell", "t", "unit", "line"], heat: ["cell", "t", "unit"], compare: SLIDERS, share: ["cell", "t", "weight"],
  bug: ["bug"], table: ["cell", "t", "unit", "what"],
};

function showControls() {
  const chosen = cell();
  element("cell").value = String(state.cell);
  for (const [id, value, most, words] of [
    ["step", state.t, chosen.steps - 1, `${state.t} of 0 to ${chosen.steps - 1}`],
    ["unit", state.unit, chosen.units.length - 1, `${chosen.units[state.unit]}`],
  ]) {
    element(id).max = most;
    element(id).value = value;
    element(id).setAttribute("aria-valuetext", words);
    element(`${id}-out`).textContent = words;
  }
}

function showView() {
  for (const view of VIEWS) {
    const chosen = view === state.view;
    element(`view-${view}`).hidden = !chosen;
    element(`tab-${view}`).setAttribute("aria-selected", String(chosen));
    element(`tab-${view}`).tabIndex = chosen ? 0 : -1;
  }
}

function listenTabs() {
  for (const view of VIEWS) element(`tab-${view}`).addEventListener("click", () => set({ view }));
  document.querySelector('[role="tablist"]').addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const to = way ? VIEWS.indexOf(state.view) + way : { Home: 0, End: VIEWS.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    set({ view: VIEWS[(to + VIEWS.length) % VIEWS.length] });
    element(`tab-${state.view}`).focus();
  });
}

// -- walking, colours, size ------------------------------------------------------------------------------------------

let walking = 0;

function play() {
  const button = element("play");
  if (walking) clearInterval(walking);
  walking = walking ? 0 : setInterval(back, 700);
  button.setAttribute("aria-pressed", String(Boolean(walking)));
  button.textContent = walking ? "Stop" : "Walk back";
  if (walking && state.t === 0) set({ t: cell().steps - 1 });
}

function back() {
  if (state.t === 0) play();
  else set({ t: state.t - 1 });
}

function colours(name) {
  document.documentElement.dataset.theme = name;
  if (!name) delete document.documentElement.dataset.theme;
  element("theme").value = name;
}

function isDark() {
  return document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function size(percent) {
  document.documentElement.style.fontSize = `${percent}%`;
  element("size").value = percent;
  show();
}

function larger() {
  const sizes = [...element("size").options].map((option) => option.value);
  size(sizes[(sizes.indexOf(element("size").value) + 1) % sizes.length]);
}

function help() {
  element("keys").showModal();
}

// -- start -----------------------------------------------------------------------------------------------------------

function show() {
  showControls();
  drawStrip();
  showView();
  SHOW[state.view]();
}

function listen() {
  element("cell").addEventListener("change", (event) => set({ cell: Number(event.target.value) }));
  element("step").addEventListener("input", (event) => set({ t: Number(event.target.value) }));
  element("unit").addEventListener("input", (event) => set({ unit: Number(event.target.value) }));
  element("earlier").addEventListener("click", () => set({ t: state.t - 1 }));
  element("later").addEventListener("click", () => set({ t: state.t + 1 }));
  element("play").addEventListener("click", play);
  element("theme").addEventListener("change", (event) => colours(event.target.value));
  element("size").addEventListener("change", (event) => size(event.target.value));
  element("help").addEventListener("click", help);
  for (const start of [listenTabs, listenStrip, listenStep, listenHeat, listenCompare, listenShare, listenBug, listenTable]) start();
  listenKeys({ play, help, larger, colours: () => colours(isDark() ? "light" : "dark"), nextWeight: () => set({ weight: (state.weight + 1) % Object.keys(cell().shares).length }) });
  addEventListener("hashchange", recall);
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(show);
  });
}

onChange((changed) => {
  showControls();
  if (["cell", "t"].some((name) => changed.has(name))) drawStrip();
  if (changed.has("view")) showView();
  if (changed.has("view") || SHOWN[state.view].some((name) => changed.has(name))) SHOW[state.view]();
  if (changed.has("line") && state.line) element("say").textContent = sayLine();
  else if (["cell", "t"].some((name) => changed.has(name))) saySentence();
});

listen();
recall();
show();
saySentence();
document.documentElement.dataset.ready = String(data.cells.length);
