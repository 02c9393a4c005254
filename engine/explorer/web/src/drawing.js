// Draws the graph of a step: forward values on the arrows, and the gradients that backward has found so far.
import { at, brief, fmt, linesOf } from "./data.js";
import { picture, tag, text, widthOf } from "./drawing_tools.js";
import { graphOf, layOut } from "./graph.js";
import { cell, state } from "./state.js";

const LONGEST = 24;
const GAP = 86; // between boxes along the step: room for the values at both ends of an arrow
const WIDE_GAP = 150; // where an arrow carries two names
const trimmed = (words, most = LONGEST) => (words.length > most ? `${words.slice(0, most - 1)}…` : words);
const boxWidth = (box) => Math.max(54, 7.4 * box.name.length + 14, 6.1 * trimmed(box.words).length + 12);

const laidOut = new Map();

function layoutOf(chosen) {
  if (!laidOut.has(chosen)) {
    const graph = graphOf(chosen);
    laidOut.set(chosen, { graph, ...layOut(graph) });
  }
  return laidOut.get(chosen);
}

/** Where the boxes stand: from left to right where there is room for it, else from the top down. */
function geometryOf(found, width) {
  const widest = Math.max(...found.points.map((point) => point.across)) + 1;
  const sizes = Array.from({ length: found.levels }, (_, level) => Math.max(...found.points.filter((p) => p.level === level && p.box).map((p) => boxWidth(p.box))));
  const gap = found.routes.some(({ arrow }) => arrow.labels.length > 1) ? WIDE_GAP : GAP;
  const total = sizes.reduce((sum, size) => sum + size, 0) + gap * (found.levels - 1) + 60;
  if (total <= width * 1.15) {
    const starts = sizes.map((_, level) => sizes.slice(0, level).reduce((sum, size) => sum + size, 0) + level * gap + 2);
    const row = 66;
    return { along: 0, size: (p) => [sizes[p.level], 42], x: (p) => starts[p.level] + sizes[p.level] / 2, y: (p) => 28 + p.across * row, height: (widest - 1) * row + 62, width: total, words: true };
  }
  const pitch = Math.min(170, (width - 4) / widest);
  const words = pitch > 100;
  const several = gap === WIDE_GAP; // names on an arrow, one above the other
  const [row, height] = words ? [several ? 132 : 98, 42] : [88, 32];
  const room = (p) => (p.box ? Math.min(pitch - 8, words ? boxWidth(p.box) : 84) : 0);
  return { along: 1, size: (p) => [room(p), height], x: (p) => (p.across + 0.5) * pitch + (width - pitch * widest) / 2, y: (p) => height / 2 + 2 + p.level * row, height: (found.levels - 1) * row + height + 34, width, words, pitch };
}

/** The gradients found up to the chosen line: by name, and by the arrow that the line walked. */
function foundSoFar(chosen) {
  const backward = linesOf(chosen).backward;
  const lines = backward.slice(0, state.line).filter((line) => line.edge);
  const now = backward[state.line - 1];
  return { known: new Map(lines.map((line) => [line.edge[0], line])), walked: new Map(lines.map((line) => [line.edge.join(">"), line])), now };
}

export function drawStep() {
  const chosen = cell();
  const where = document.getElementById("drawing");
  const found = layoutOf(chosen);
  const geometry = geometryOf(found, widthOf(where));
  const progress = foundSoFar(chosen);
  const drawn = found.routes.map(({ arrow, route }) => drawArrow(arrow, route, geometry, progress, found.graph));
  const boxes = found.points.filter((point) => point.box).map((point) => drawBox(point, geometry, progress));
  const inside = [...drawn.map((one) => one.line), ...boxes.map((one) => one.box), ...boxes.map((one) => one.words), ...drawn.map((one) => one.words)].join("");
  const label = `One step of ${chosen.title}: ${linesOf(chosen).forward.map((line) => line.target).join(", ")} from the states before. Values and lines stand in the lists beside it.`;
  where.innerHTML = picture(geometry.width, geometry.height, label, inside);
  where.firstElementChild.style.cssText = geometry.along ? "" : `height:auto;width:min(100%, ${(geometry.width / 13.5).toFixed(1)}rem)`;
}

/** The curve from box to box, and a point on its last piece for the number of a line. */
function curveOf(route, geometry) {
  const a = geometry.along;
  const ends = route.map((point) => [geometry.x(point), geometry.y(point)]);
  ends[0][a] += geometry.size(route[0])[a] / 2;
  ends.at(-1)[a] -= geometry.size(route.at(-1))[a] / 2 + 7;
  let path = `M${ends[0].join(",")}`;
  let middle;
  for (let k = 1; k < ends.length; k += 1) {
    const [p, q] = [ends[k - 1], ends[k]];
    const half = (q[a] - p[a]) / 2;
    const [c, d] = a ? [[p[0], p[1] + half], [q[0], q[1] - half]] : [[p[0] + half, p[1]], [q[0] - half, q[1]]];
    path += `C${c.join(",")} ${d.join(",")} ${q.join(",")}`;
    if (k > Math.ceil((ends.length - 1) / 2)) continue; // a long arrow has its number half way
    // a short one where no values stand: these are at the beginning, those of a product at the end
    const u = route[0].box?.kind === "product" ? 0.42 : 0.62;
    middle = [0, 1].map((i) => (1 - u) ** 3 * p[i] + 3 * (1 - u) ** 2 * u * c[i] + 3 * (1 - u) * u * u * d[i] + u ** 3 * q[i]);
  }
  return { path, end: ends.at(-1), middle };
}

/** The lines of backward that have walked this arrow. */
function walkedBy(arrow, graph, walked) {
  const target = graph.boxes.find((box) => box.key === arrow.to);
  const found = arrow.walks.flatMap((name) => [walked.get(target.kind === "product" ? `${name}>` : `${name}>${target.symbol}`)]);
  return found.filter(Boolean);
}

function drawArrow(arrow, route, geometry, progress, graph) {
  const { path, end, middle } = curveOf(route, geometry);
  const lines = walkedBy(arrow, graph, progress.walked);
  const now = lines.some((line) => progress.now && line.number === progress.now.number);
  const [x, y] = end;
  const head = geometry.along ? `M${x - 4},${y}L${x + 4},${y}L${x},${y + 7}Z` : `M${x},${y - 4}L${x},${y + 4}L${x + 7},${y}Z`;
  const kind = now ? " now" : lines.length ? " walked" : "";
  let line = tag("path", { d: path, class: `edge${kind}` }) + tag("path", { d: head, style: `fill:var(--${lines.length ? "backward" : "forward"})` });
  const numbers = lines.filter((one) => one.number).map((one) => one.number);
  if (numbers.length) line += badge(middle, numbers.length > 1 ? `${numbers[0]}…` : numbers[0]);
  return { line, words: geometry.words ? preActivations(arrow, x, y, progress, geometry.along) : "" };
}

const badge = ([x, y], words) => tag("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 9, style: "fill:var(--backward)" }) + text(x, y + 4, words, { "text-anchor": "middle", class: "bold", style: "fill:var(--card)" });

/** The values that a product gives a gate, beside the head of the arrow. */
function preActivations(arrow, x, y, progress, upright) {
  let found = "";
  const count = arrow.labels.length;
  arrow.labels.forEach(([name, place], k) => {
    const above = 13 * (count - 1 - k);
    found += text(x - 5, y - (upright ? 0 : 8) - above, `${name} ${fmt(at(place, state.t, state.unit))}`, { class: "small fw halo", "text-anchor": "end" });
    const back = progress.known.get(name);
    if (back) found += text(x - 5, upright ? y - 13 * count - above : y + 17 + 13 * k, `d${name} ${fmt(at(back.at, state.t, state.unit))}`, { class: "small bw halo", "text-anchor": "end" });
  });
  return found;
}

function drawBox(point, geometry, progress) {
  const { box } = point;
  const [width, height] = geometry.size(point);
  const [x, y] = [geometry.x(point), geometry.y(point)];
  const now = progress.now?.edge?.[1] === box.symbol && box.symbol;
  let found = tag("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: box.kind === "line" ? 8 : 3, class: `box ${box.kind}${now ? " now" : ""}` });
  const room = Math.floor(width / 6);
  const words = geometry.words && box.words ? trimmed(box.words, room) : "";
  const tight = 7.2 * box.name.length > width;
  found += text(x, words ? y - 3 : y + 4, box.name, { "text-anchor": "middle", class: tight ? "tiny bold" : "bold" });
  if (words) found += text(x, y + 13, words, { "text-anchor": "middle", class: "small" });
  let values = "";
  if (box.place && box.symbol) {
    const last = geometry.along && x + 72 > geometry.width; // at the right edge the numbers stand on the other side
    const [vx, vy] = geometry.along ? [last ? x - 5 : x + 5, y + height / 2 + 13] : [x + width / 2 + 4, y - 7];
    const tiny = geometry.along && !geometry.words;
    const [size, write] = tiny ? ["tiny", brief] : ["small", fmt];
    const side = { "text-anchor": last ? "end" : "start" };
    values += text(vx, vy, write(at(box.place, state.t, state.unit)), { class: `${size} fw bold halo`, ...side });
    const back = progress.known.get(box.symbol);
    if (back) values += text(vx, vy + (geometry.along ? 13 : 25), `${tiny ? "" : "d "}${write(at(back.at, state.t, state.unit))}`, { class: `${size} bw bold halo`, ...side });
  }
  return { box: found, words: values };
}
