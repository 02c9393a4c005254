// |dh_t| of the cells side by side, beside the line rho^(T-t), over precomputed runs.
import { at, data, esc, fmt, percent } from "./data.js";
import { picture, scale, tag, text, ticks, widthOf } from "./drawing_tools.js";
import { set, state } from "./state.js";

const { sweeps } = data;
const DASHES = ["", "9 3", "3 3", "12 3 3 3"];
export const SLIDERS = ["radius", "forget", "length", "reach"];

/** T, the reaches below it, and the chosen one (T itself is the whole sequence). */
export function chosenReach() {
  const T = sweeps.lengths[state.length];
  const short = sweeps.reaches.filter((k2) => k2 < T);
  return { T, short, k2: short[state.reach] ?? T };
}

function curves() {
  return Object.entries(sweeps.cells).map(([name, found], k) => {
    const key = `${state.radius}|${found.forget ? state.forget : 0}|${state.length}`;
    return { name, title: found.title, places: found.curves[key], colour: `var(--c${k % 4})`, dash: DASHES[k % 4] };
  });
}

/** The names at the ends of the curves at slot 0, moved apart where they would lie on each other. */
function names(lines, y, low, high) {
  const wanted = lines.map((line) => ({ ...line, at: y(line.start) })).sort((a, b) => a.at - b.at);
  wanted.forEach((one, k) => { one.at = Math.max(one.at, k ? wanted[k - 1].at + 15 : low); });
  const over = Math.max(0, (wanted.at(-1)?.at ?? 0) - high);
  return wanted.map((one) => ({ ...one, at: one.at - over }));
}

function draw(found, T, k2, width) {
  const height = Math.max(280, Math.min(400, width * 0.5));
  const rho = sweeps.radii[state.radius];
  const line = Array.from({ length: T + 1 }, (_, t) => (T - t) * Math.log10(rho));
  const logs = found.map((one) => Array.from({ length: T + 1 }, (_, t) => at(one.places[0], t, 0)));
  const all = [...logs.flat(), ...line].filter((value) => value > -60);
  const [low, high] = [Math.min(-1, Math.floor(Math.min(...all))), Math.max(0, Math.ceil(Math.max(...all)))];
  const narrow = width < 480;
  // the curves meet at slot T and part towards slot 0: there stand their names, and the scale on the other side
  const left = narrow ? 8 : 104;
  const right = width - 50;
  const x = scale(0, T, left, right);
  const y = scale(low, high, height - 34, 12);
  let inside = "";
  for (const value of ticks(low, high, 6)) {
    inside += tag("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" });
    inside += text(right + 6, y(value) + 4, `1e${value}`.replace("-", "−"), { class: "small" });
  }
  for (const t of ticks(0, T, narrow ? 4 : 8)) inside += text(x(t), height - 16, t, { "text-anchor": "middle", class: "small" });
  inside += text((left + right) / 2, height - 2, "slot t", { "text-anchor": "middle", class: "small" });
  if (k2 < T) {
    inside += tag("rect", { x: left, y: 12, width: x(T - k2) - left, height: height - 46, style: "fill:var(--faint);opacity:.75" });
    inside += text(x(T - k2) - 5, 26, `not reached by k2 = ${k2}`, { "text-anchor": "end", class: "small" });
  }
  const path = (values, from) => values.slice(from).map((value, k) => `${k ? "L" : "M"}${x(from + k).toFixed(1)},${y(Math.max(low, value)).toFixed(1)}`).join("");
  inside += tag("path", { d: path(line, 0), fill: "none", style: "stroke:var(--soft);stroke-width:1.6;stroke-dasharray:2 4" });
  found.forEach((one, k) => {
    if (k2 < T) inside += tag("path", { d: path(logs[k], 0), fill: "none", style: `stroke:${one.colour};stroke-width:1.2;opacity:.45` });
    inside += tag("path", { d: path(logs[k], T - k2), fill: "none", style: `stroke:${one.colour};stroke-width:3;stroke-dasharray:${one.dash}` });
  });
  const labels = [...found.map((one, k) => ({ words: one.title, colour: one.colour, start: logs[k][0] })), { words: `ρ^(T−t)`, colour: "var(--soft)", start: line[0] }];
  if (narrow) {
    labels.reverse().forEach((label, k) => { inside += text(right - 6, height - 46 - 15 * k, `${label.words} ${["┄", "┅", "╍", "━"][k] ?? "·"}`, { style: `fill:${label.colour}`, class: "bold halo", "text-anchor": "end" }); });
  } else {
    for (const label of names(labels, (v) => y(Math.max(low, v)), 20, height - 40)) {
      inside += text(left - 8, label.at + 4, label.words, { style: `fill:${label.colour}`, class: "bold", "text-anchor": "end" });
    }
  }
  return picture(width, height, `Length of dh at slots 0 to ${T}, powers of ten. ${found.map((one, k) => `${one.title}: ${fmt(10 ** logs[k][0])} at slot 0`).join("; ")}.`, inside);
}

function table(found, T, k2, short) {
  const rows = found.map((one) => {
    const start = at(one.places[0], 0, 0);
    const end = at(one.places[0], T, 0);
    const rate = 10 ** ((start - end) / T);
    const missed = k2 < T ? percent(at(one.places[1], short.indexOf(k2), 0)) : "0 %";
    return `<tr><th scope="row">${esc(one.title)}</th><td>${fmt(10 ** end)}</td><td>${start < -37 ? `1e${start.toFixed(1)}`.replace("-", "−") : fmt(10 ** start)}</td><td>${fmt(rate)}</td><td>${missed}</td></tr>`;
  });
  return `<table><caption>One row for each cell; a step of the gradient back multiplies its length by the rate, on average.</caption><thead><tr><th scope="col">Cell</th><th scope="col">|dh[${T}]|</th><th scope="col">|dh[0]|</th><th scope="col">rate of a step</th><th scope="col">gradient missed by k2</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

export function showCompare() {
  const { T, short, k2 } = chosenReach();
  const most = { radius: sweeps.radii.length - 1, forget: sweeps.forget.length - 1, length: sweeps.lengths.length - 1, reach: short.length };
  const words = { radius: sweeps.radii[state.radius], forget: sweeps.forget[state.forget], length: T, reach: k2 < T ? k2 : `${T} (whole)` };
  for (const name of SLIDERS) {
    const slider = document.getElementById(name);
    slider.max = most[name];
    slider.value = state[name];
    slider.setAttribute("aria-valuetext", String(words[name]));
    document.getElementById(`${name}-out`).textContent = String(words[name]).replace("-", "−");
  }
  document.getElementById("compare-note").textContent =
    `The loss is the last output alone. Each curve is a run of the engine with H = ${sweeps.hidden} and random recurrent weights of that spectral radius; the inputs are small (${sweeps.small}), so that a tanh stays nearly straight: after a few steps its curve falls or rises as steeply as the dotted law ρ^(T−t), until the state has grown. The forget bias acts on cells with a gate f.`;
  const found = curves();
  const where = document.getElementById("compare");
  where.innerHTML = found.length ? draw(found, T, k2, widthOf(where)) : "<p>None of these cells has square recurrent weights.</p>";
  document.getElementById("compare-table").innerHTML = found.length ? table(found, T, k2, short) : "";
}

export function listenCompare() {
  for (const name of SLIDERS) document.getElementById(name).addEventListener("input", (event) => set({ [name]: Number(event.target.value) }));
}
