// Heat maps over time and unit: gates and states, and beside each its gradient, all gradients on one scale.
import { at, esc, fmt } from "./data.js";
import { fill, picture, tag, text, widthOf } from "./drawing_tools.js";
import { cell, set, state } from "./state.js";

const DECADES = 6;

/** Every map: its name, the places of value and gradient, and whether it has T+1 slots. */
function mapsOf(chosen) {
  const gates = Object.keys(chosen.gates).filter((name) => !chosen.states.includes(name));
  return [
    ...gates.map((name) => ({ name, gradient: `da_${name}`, value: chosen.gates[name], back: chosen.da[name], columns: chosen.steps })),
    ...chosen.states.map((name) => ({ name, gradient: `d${name}`, value: chosen.slots[name], back: chosen.dslots[name], columns: chosen.steps + 1 })),
  ];
}

function largest(maps, which, chosen) {
  let found = 0;
  for (const map of maps) {
    for (let t = 0; t < map.columns; t += 1) {
      for (let u = 0; u < chosen.units.length; u += 1) found = Math.max(found, Math.abs(at(map[which], t, u)) || 0);
    }
  }
  return found || 1;
}

/** From a number to a colour between -1 and 1: straight for values, by powers of ten for gradients. */
const shades = {
  value: (most) => (number) => number / most,
  back: (most) => (number) => (number ? Math.sign(number) * Math.max(0.03, 1 + Math.log10(Math.abs(number) / most) / DECADES) : 0),
};

function drawMap(map, which, chosen, width, shade) {
  const title = which === "value" ? map.name : map.gradient;
  const left = 18;
  const cellWidth = (width - left - 3) / (chosen.steps + 1);
  const cellHeight = Math.max(9, Math.min(15, cellWidth * 0.8));
  const units = chosen.units.length;
  let inside = "";
  for (let t = 0; t < map.columns; t += 1) {
    for (let u = 0; u < units; u += 1) {
      const number = at(map[which], t, u);
      if (Number.isNaN(number)) continue;
      inside += tag("rect", { x: (left + t * cellWidth).toFixed(1), y: (20 + u * cellHeight).toFixed(1), width: (cellWidth - 0.8).toFixed(1), height: (cellHeight - 0.8).toFixed(1), style: fill(shade(number)), class: "pick", "data-t": Math.min(t, chosen.steps - 1), "data-u": u });
    }
  }
  const slots = map.columns > chosen.steps;
  const columns = slots ? [state.t, state.t + 1] : [state.t];
  inside += tag("rect", { x: left + columns[0] * cellWidth - 1, y: 19, width: columns.length * cellWidth + 1, height: units * cellHeight + 1, class: "cursor" });
  inside += tag("rect", { x: left - 1, y: 19.5 + state.unit * cellHeight, width: map.columns * cellWidth + 1, height: cellHeight, class: "cursor", style: "stroke-width:1.2" });
  inside += text(left, 13, title, { class: `bold ${which === "value" ? "fw" : "bw"}` });
  inside += text(2, 20 + (state.unit + 0.75) * cellHeight, chosen.units[state.unit], { class: "small" });
  const now = columns.map((t) => `${title}[${t}] ${fmt(at(map[which], t, state.unit))}`).join(", ");
  inside += text(left + 52, 13, width < 280 ? fmt(at(map[which], columns[0], state.unit)) : now, { class: "small" });
  return picture(width, 20 + units * cellHeight + 3, `${title}, ${map.columns} ${slots ? "slots" : "steps"} by ${units} units. Unit ${chosen.units[state.unit]}: ${now}`, inside);
}

export function showHeat() {
  const chosen = cell();
  const maps = mapsOf(chosen);
  const where = document.getElementById("heat");
  const most = { value: largest(maps, "value", chosen), back: largest(maps, "back", chosen) };
  const total = widthOf(where);
  const width = (total - (total < 560 ? 8 : 20)) / 2;
  const cells = maps.flatMap((map) => ["value", "back"].map((which) => `<div>${drawMap(map, which, chosen, width, shades[which](most[which]))}</div>`));
  where.innerHTML = `<div class="heat">${cells.join("")}</div>`;
  const bar = "linear-gradient(to right, var(--neg), var(--mid), var(--pos))";
  document.getElementById("heat-legend").innerHTML =
    `<p class="legend"><span>values: ${esc(fmt(-most.value))} <span class="bar" style="background:${bar}"></span> ${esc(fmt(most.value))}</span>` +
    `<span>gradients: ${esc(fmt(-most.back))} <span class="bar" style="background:${bar}"></span> ${esc(fmt(most.back))}; pale: ${DECADES} powers of ten smaller</span></p>`;
}

export function listenHeat() {
  document.getElementById("heat").addEventListener("click", (event) => {
    const { t, u } = event.target.dataset ?? {};
    if (t !== undefined) set({ t: Number(t), unit: Number(u) });
  });
}
