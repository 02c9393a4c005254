// The drawing of a step, made from its lines: a box for each line, an arrow for each name that it uses.
import { linesOf } from "./data.js";

const short = (line) => line.parts.map((part) => (typeof part === "string" ? part : part[0])).join("").replaceAll(" · ", "·");

/** Boxes and arrows of a cell's step.  A box: key, name, words, kind, place of its number; an arrow: from, to, walks. */
export function graphOf(cell) {
  const boxes = new Map();
  const arrows = [];
  const maker = new Map(); // name -> key of the box that gives it its value
  const add = (key, box) => boxes.set(key, { key, ...box });
  for (const name of [...cell.states.slice(1), "h"]) {
    const [offset, stride, width] = cell.slots[name];
    add(`${name}_prev`, { name: `${name}[t]`, words: "", kind: "state", symbol: `${name}_prev`, place: [offset, stride, width] });
    maker.set(`${name}_prev`, `${name}_prev`);
  }
  const used = new Set(cell.functions.flatMap((f) => (f.direction === "forward" ? f.lines.flatMap((line) => line.uses) : [])));
  cell.functions.filter((f) => f.direction === "forward").forEach((f, k) => {
    const product = readProduct(f, k, used);
    if (product) {
      add(product.key, product.box);
      if (product.source) arrows.push({ from: maker.get(product.source), to: product.key, walks: [product.source], labels: [] });
    }
    for (const line of f.lines) {
      const key = boxes.has(line.target) ? `${line.target}@${k}` : line.target;
      const isState = cell.states.includes(line.target);
      add(key, { name: isState ? `${line.target}[t+1]` : line.target, words: short(line), kind: isState ? "state" : "line", symbol: line.target, place: line.at });
      for (const name of line.uses) {
        if (name.startsWith("p_") || name.startsWith("k_")) continue; // a weight of a unit has no arrow
        const from = maker.get(name) ?? product?.key;
        if (from !== undefined) join(arrows, { from, to: key, walks: [name], labels: maker.has(name) || !f.args[name] ? [] : [[name, f.args[name]]] });
      }
      maker.set(line.target, key);
    }
  });
  if (!maker.has("h")) addProjection(cell, add, arrows, maker);
  const linked = new Set(arrows.flatMap((one) => [one.from, one.to]));
  return { boxes: [...boxes.values()].filter((box) => linked.has(box.key)), arrows, maker };
}

/** One arrow from box to box, whatever number of names it carries. */
function join(arrows, one) {
  const there = arrows.find((arrow) => arrow.from === one.from && arrow.to === one.to);
  if (!there) arrows.push(one);
  else {
    there.walks.push(...one.walks);
    there.labels.push(...one.labels);
  }
}

/** The product, or the row function, that stands before a function's lines. */
function readProduct(f, k, used) {
  if (!f.before) return null;
  const between = /^between_\w+ = (\w+)\((\w+)\)$/.exec(f.before);
  if (between) return { key: `product${k}`, source: between[2], box: { name: between[1], words: "all units", kind: "product" } };
  const source = /U (\w+)/.exec(f.before)?.[1];
  if (!source && !Object.keys(f.args).some((name) => used.has(name))) return null;
  return { key: `product${k}`, source, box: { name: "product", words: source ? `W x[t] + U ${source.replace("_prev", "[t]")}` : "W x[t]", kind: "product" } };
}

function addProjection(cell, add, arrows, maker) {
  const m = linesOf(cell).forward.at(-1).target;
  const [offset, stride, width] = cell.slots.h;
  add("h", { name: "h[t+1]", words: `W_hr ${m}`, kind: "state", symbol: "h", place: [offset + stride, stride, width] });
  arrows.push({ from: maker.get(m), to: "h", walks: [m], labels: [] });
  maker.set("h", "h");
}

/** Layers by the longest way from the start; then an order within each, and a place across, near the neighbours. */
export function layOut(graph) {
  const level = new Map(graph.boxes.map((box) => [box.key, 0]));
  for (let k = 0; k < graph.boxes.length; k += 1) {
    for (const { from, to } of graph.arrows) level.set(to, Math.max(level.get(to), level.get(from) + 1));
  }
  const points = graph.boxes.map((box) => ({ key: box.key, level: level.get(box.key), box }));
  const byKey = new Map(points.map((point) => [point.key, point]));
  const links = [];
  const routes = graph.arrows.map((arrow) => {
    const route = [byKey.get(arrow.from)];
    const [a, b] = [level.get(arrow.from), level.get(arrow.to)];
    for (let middle = a + 1; middle < b; middle += 1) {
      const key = `${arrow.from}~${middle}`; // arrows of one box share their way round the boxes between
      if (!byKey.has(key)) {
        byKey.set(key, { key, level: middle, box: null });
        points.push(byKey.get(key));
      }
      route.push(byKey.get(key));
    }
    route.push(byKey.get(arrow.to));
    for (let k = 1; k < route.length; k += 1) links.push([route[k - 1], route[k]]);
    return { arrow, route };
  });
  place(points, links);
  return { points, routes, levels: Math.max(...points.map((point) => point.level)) + 1 };
}

function place(points, links) {
  const levels = [];
  for (const point of points) (levels[point.level] ??= []).push(point);
  // the states other than h run above it, as in the drawings of the documents
  const high = (point) => (/_prev/.test(point.key) && !point.key.startsWith("h_prev") ? 0 : 1);
  for (const layer of levels) layer.sort((a, b) => high(a) - high(b));
  for (const layer of levels) layer.forEach((point, k) => { point.across = k - (layer.length - 1) / 2; });
  for (let sweep = 0; sweep < 24; sweep += 1) {
    for (const layer of sweep % 2 ? [...levels].reverse() : levels) {
      for (const point of layer) {
        const near = links.flatMap(([a, b]) => (a === point ? [b.across] : b === point ? [a.across] : []));
        const mean = near.length ? near.reduce((sum, value) => sum + value, 0) / near.length : point.across;
        point.wish = 0.7 * mean + 0.3 * point.across;
      }
      layer.sort((a, b) => a.wish - b.wish);
      spread(layer);
    }
  }
  const least = Math.min(...points.map((point) => point.across));
  for (const point of points) point.across -= least;
}

/** Keep the points of a layer one apart, in their order, as near to their wishes as that allows. */
function spread(layer) {
  layer.forEach((point, k) => { point.across = k ? Math.max(point.wish, layer[k - 1].across + room(layer[k - 1], point)) : point.wish; });
  const drift = layer.reduce((sum, point) => sum + point.across - point.wish, 0) / layer.length;
  for (const point of layer) point.across -= drift;
}

const room = (a, b) => (a.box && b.box ? 1 : 0.6);
