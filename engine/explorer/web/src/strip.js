// The strip of time: T+1 slots of every state, forward arrows above, backward arrows as wide as log |dS|.
import { at, fmt, percent } from "./data.js";
import { picture, tag, text, widthOf } from "./drawing_tools.js";
import { cell, set, state } from "./state.js";

const DECADES = 6; // an arrow this many powers of ten below the largest is a hair

/** How wide the arrow of a gradient is, 0 for none. */
function thickness(norm, largest) {
  if (!(norm > 0)) return 0;
  return 1 + 11 * Math.max(0, 1 + Math.log10(norm / largest) / DECADES);
}

function arrow(x1, x2, y, width, kind) {
  if (!width) return "";
  const way = Math.sign(x2 - x1);
  const head = Math.min(Math.abs(x2 - x1) * 0.6, 3 + width * 0.7);
  const neck = x2 - way * head;
  return (
    tag("line", { x1, x2: neck, y1: y, y2: y, stroke: `var(--${kind})`, "stroke-width": width.toFixed(1) }) +
    tag("path", { d: `M${neck},${y - 3 - width / 2}L${x2},${y}L${neck},${y + 3 + width / 2}Z`, fill: `var(--${kind})` })
  );
}

/** One state over the steps of one row of the strip. */
function lane(chosen, name, y, row, geometry, largest) {
  const { left, pitch, box } = geometry;
  const T = chosen.steps;
  let found = text(4, y + 5, name, { class: "bold" });
  for (let k = row.first; k <= row.last; k += 1) {
    const x = left + (k - row.first) * pitch;
    const touched = k === state.t || k === state.t + 1;
    if (k < row.last) {
      found += arrow(x + box / 2, x + pitch - box / 2, y - 7, 1.6, "forward");
      found += arrow(x + pitch - box / 2, x + box / 2, y + 5, thickness(at(chosen.norms[name], k, 0), largest), "backward");
    } else if (k < T) found += tag("line", { x1: x + box / 2, x2: x + box / 2 + 10, y1: y, y2: y, style: "stroke:var(--soft);stroke-width:2;stroke-dasharray:2 3" });
    found += tag("rect", { x: x - box / 2, y: y - 13, width: box, height: 26, rx: 4, class: `box state${touched ? " now" : ""}` });
    found += text(x, y + 4, k, { "text-anchor": "middle" });
  }
  return found;
}

/** The steps of each row: a strip that is too long for the page goes on in the next row, at the slot where it broke off. */
function rowsOf(steps, width, left) {
  const count = Math.ceil((steps * 42) / (width - left - 24));
  const each = Math.ceil(steps / count);
  return Array.from({ length: Math.ceil(steps / each) }, (_, k) => ({ first: k * each, last: Math.min(steps, (k + 1) * each), each }));
}

export function drawStrip() {
  const chosen = cell();
  const where = document.getElementById("strip");
  const width = widthOf(where);
  const left = 38;
  const rows = rowsOf(chosen.steps, width, left);
  const pitch = (width - left - 22) / rows[0].each;
  const geometry = { left, pitch, box: Math.min(30, pitch * 0.56) };
  const [laneHeight, head] = [42, rows.length === 1 || chosen.labels.length ? 26 : 6];
  const rowHeight = head + laneHeight * chosen.states.length + (rows.length > 1 ? 8 : 0);
  const norms = chosen.states.flatMap((name) => Array.from({ length: chosen.steps + 1 }, (_, k) => at(chosen.norms[name], k, 0)));
  const largest = Math.max(...norms.filter((norm) => norm > 0), 1e-30);
  let inside = "";
  rows.forEach((row, r) => {
    const y = r * rowHeight;
    if (state.t >= row.first && state.t < row.last) {
      const x = left + (state.t - row.first) * pitch;
      inside += tag("rect", { x: x - geometry.box / 2 - 6, y: y + 1, width: pitch + geometry.box + 12, height: rowHeight - 4, rx: 6, style: "fill:var(--mark)" });
      if (head > 6 && !chosen.labels.length) inside += text(x + pitch / 2, y + 16, `step ${state.t}`, { "text-anchor": "middle", class: "bold" });
    }
    for (let t = row.first; t < row.last && chosen.labels.length; t += 1) {
      inside += text(left + (t - row.first + 0.5) * pitch, y + 17, chosen.labels[t], { "text-anchor": "middle", class: t === state.t ? "bold" : "small" });
    }
    chosen.states.forEach((name, k) => {
      inside += lane(chosen, name, y + head + 16 + k * laneHeight, row, geometry, largest);
    });
    for (let t = row.first; t < row.last; t += 1) {
      inside += tag("rect", { x: left + (t - row.first) * pitch, y, width: pitch, height: rowHeight, fill: "transparent", class: "pick", "data-t": t });
    }
  });
  const ends = chosen.states.map((name) => `d${name} has length ${fmt(at(chosen.norms[name], chosen.steps, 0))} at slot ${chosen.steps} and ${fmt(at(chosen.norms[name], 0, 0))} at slot 0`);
  where.innerHTML = picture(width, rows.length * rowHeight, `Slots 0 to ${chosen.steps} of ${chosen.states.join(" and ")}. ${ends.join("; ")}.`, inside);
  document.getElementById("about").textContent =
    `${chosen.title}: ${chosen.about}; T = ${chosen.steps}, H = ${chosen.hidden}, D = ${chosen.inputs}. ` +
    "Blue: forward. Orange: the gradient, as wide as its power of ten.";
}

/** The sentence about the chosen step, also for screen readers. */
export function saySentence() {
  const chosen = cell();
  const norm = (name, slot) => fmt(at(chosen.norms[name], slot, 0));
  const parts = chosen.states.map((name) => `|d${name}| from ${norm(name, state.t + 1)} to ${norm(name, state.t)}`);
  const weight = Object.keys(chosen.shares)[0];
  const share = weight ? `; it gives ${percent(at(chosen.shares[weight], state.t, 0))} of the gradient of ${weight}` : "";
  const label = chosen.labels.length ? ` (“${chosen.labels[state.t]}”)` : "";
  document.getElementById("say").textContent = `Step ${state.t}${label} takes the gradient from slot ${state.t + 1} back to slot ${state.t}: ${parts.join(", ")}${share}.`;
}

export function listenStrip() {
  document.getElementById("strip").addEventListener("click", (event) => {
    const t = event.target.dataset?.t;
    if (t !== undefined) set({ t: Number(t) });
  });
}

