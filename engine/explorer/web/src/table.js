// The numbers as a table: every name at one step, or one name at every step.
import { at, esc, fmt, linesOf } from "./data.js";
import { cell, set, state } from "./state.js";

/** Every name with its place, its group, and how many columns of time it has. */
export function namesOf(chosen) {
  const T = chosen.steps;
  const { forward, backward } = linesOf(chosen);
  const known = [];
  for (const state_ of chosen.states) known.push({ id: `slot ${state_}`, words: `${state_}, slots`, place: chosen.slots[state_], columns: T + 1 });
  for (const gate of Object.keys(chosen.gates)) known.push({ id: `gate ${gate}`, words: `gate ${gate}`, place: chosen.gates[gate], columns: T });
  for (const state_ of chosen.states) known.push({ id: `dslot ${state_}`, words: `d${state_}, slots`, place: chosen.dslots[state_], columns: T + 1, back: true });
  for (const gate of Object.keys(chosen.da)) known.push({ id: `da ${gate}`, words: `da_${gate}`, place: chosen.da[gate], columns: T, back: true });
  forward.forEach((line, k) => known.push({ id: `forward ${k}`, words: `line of forward: ${line.target}`, place: line.at, columns: T }));
  backward.forEach((line, k) => known.push({ id: `backward ${k}`, words: `line ${k + 1} of backward: ${line.target}`, place: line.at, columns: T, back: true }));
  return known;
}

const head = (cells) => `<thead><tr>${cells.map(([words, on]) => `<th scope="col"${on ? ' class="on"' : ""}>${words}</th>`).join("")}</tr></thead>`;

function ofStep(chosen) {
  const units = chosen.units.map((unit, u) => [`unit ${unit}`, u === state.unit]);
  const rows = [];
  for (const one of namesOf(chosen)) {
    const slots = one.columns > chosen.steps ? [state.t, state.t + 1] : [state.t];
    for (const t of slots) {
      const words = one.columns > chosen.steps ? `${one.words.replace(", slots", "")}[${t}]` : one.words;
      const cells = chosen.units.map((_, u) => `<td${u === state.unit ? ' class="on"' : ""}>${fmt(at(one.place, t, u))}</td>`);
      rows.push(`<tr data-name="${esc(one.id)}" data-t="${t}"><th scope="row">${esc(words)}</th>${cells.join("")}</tr>`);
    }
  }
  return `<table><caption>${esc(chosen.title)}, step ${state.t}: reads slot ${state.t}, writes slot ${state.t + 1}. Four digits.</caption>${head([["Name", false], ...units])}<tbody>${rows.join("")}</tbody></table>`;
}

function ofName(chosen, one) {
  const slots = one.columns > chosen.steps;
  const rows = Array.from({ length: one.columns }, (_, t) => {
    const on = t === state.t || (slots && t === state.t + 1);
    const cells = chosen.units.map((_, u) => `<td>${fmt(at(one.place, t, u))}</td>`);
    return `<tr data-name="${esc(one.id)}" data-t="${t}"${on ? ' class="on"' : ""}><th scope="row">${slots ? "slot" : "step"} ${t}</th>${cells.join("")}</tr>`;
  });
  const units = chosen.units.map((unit, u) => [`unit ${unit}`, u === state.unit]);
  return `<table><caption>${esc(chosen.title)}: ${esc(one.words)}. Four digits.</caption>${head([["Time", false], ...units])}<tbody>${rows.join("")}</tbody></table>`;
}

export function showTable() {
  const chosen = cell();
  const names = namesOf(chosen);
  const select = document.getElementById("what");
  const options = `<option value="step">every name at this step</option>${names.map((one) => `<option value="${esc(one.id)}">${esc(one.words)}</option>`).join("")}`;
  if (select.innerHTML !== options) select.innerHTML = options;
  const one = names.find((name) => name.id === state.what);
  select.value = one ? one.id : "step";
  document.getElementById("table").innerHTML = one ? ofName(chosen, one) : ofStep(chosen);
}

export function listenTable() {
  document.getElementById("what").addEventListener("change", (event) => set({ what: event.target.value }));
}
