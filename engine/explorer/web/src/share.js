// The share of each step in the gradient of a weight.
import { at, esc, fmt, percent } from "./data.js";
import { picture, scale, tag, text, ticks, widthOf } from "./drawing_tools.js";
import { cell, set, state } from "./state.js";

export function showShare() {
  const chosen = cell();
  const names = Object.keys(chosen.shares);
  const select = document.getElementById("weight");
  const options = names.map((name, k) => `<option value="${k}">${esc(name)}</option>`).join("");
  if (select.innerHTML !== options) select.innerHTML = options;
  select.value = String(state.weight);
  const name = names[state.weight];
  const T = chosen.steps;
  const shares = Array.from({ length: T }, (_, t) => at(chosen.shares[name], t, 0));
  const where = document.getElementById("share");
  where.innerHTML = draw(shares, name, widthOf(where));
  let [sum, count] = [0, 0];
  while (sum < 0.9 && count < T) sum += shares[T - 1 - count++];
  document.getElementById("share-say").textContent =
    `Step ${state.t}: ${percent(shares[state.t])} of the gradient of ${name}. The last ${count} of ${T} steps make up ${percent(sum)} of it. All shares together: ${fmt(shares.reduce((a, b) => a + b, 0))}.`;
}

function draw(shares, name, width) {
  const height = Math.max(220, Math.min(340, width * 0.42));
  const T = shares.length;
  const low = Math.min(0, ...shares) * 1.08;
  const high = Math.max(...shares) * 1.08;
  const left = 50;
  const y = scale(low, high, height - 46, 18);
  const pitch = (width - left - 8) / T;
  let inside = "";
  for (const value of ticks(low, high, 5)) {
    inside += tag("line", { x1: left, x2: width - 8, y1: y(value), y2: y(value), class: value === 0 ? "axis" : "grid" });
    inside += text(left - 6, y(value) + 4, percent(value), { "text-anchor": "end", class: "small" });
  }
  shares.forEach((share, t) => {
    const now = t === state.t;
    const x = left + t * pitch;
    inside += tag("rect", { x: x + pitch * 0.12, y: Math.min(y(share), y(0)), width: pitch * 0.76, height: Math.max(1.5, Math.abs(y(share) - y(0))), rx: 2, style: `fill:var(--${now ? "backward" : "forward"})` });
    if ((pitch > 38 && Math.abs(share) > 0.004) || now) inside += text(x + pitch / 2, (share >= 0 ? y(share) - 5 : y(share) + 14), percent(share), { "text-anchor": "middle", class: now ? "bold" : "small" });
    if (pitch > 18 || t % 4 === 0) inside += text(x + pitch / 2, height - 16, t, { "text-anchor": "middle", class: now ? "bold" : "small" });
    inside += tag("rect", { x, y: 0, width: pitch, height, fill: "transparent", class: "pick", "data-t": t });
  });
  inside += text(left + (width - left) / 2, height - 2, "step t", { "text-anchor": "middle", class: "small" });
  return picture(width, height, `Share of each of ${T} steps in the gradient of ${name}: ${shares.map((share, t) => `step ${t} ${percent(share)}`).join(", ")}.`, inside);
}

export function listenShare() {
  document.getElementById("weight").addEventListener("change", (event) => set({ weight: Number(event.target.value) }));
  document.getElementById("share").addEventListener("click", (event) => {
    const t = event.target.dataset?.t;
    if (t !== undefined) set({ t: Number(t) });
  });
}
