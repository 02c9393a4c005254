// Small pieces of SVG as text.  The HTML parser gives them their namespace.
import { esc } from "./data.js";

const attributes = (values) => Object.entries(values).map(([name, value]) => ` ${name}="${esc(value)}"`).join("");

export const tag = (name, values, inside = "") => `<${name}${attributes(values)}>${inside}</${name}>`;

export const text = (x, y, words, values = {}) => tag("text", { x: x.toFixed(1), y: y.toFixed(1), ...values }, esc(words));

/** How much larger than usual the page's text is: drawings grow with it. */
const zoom = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;

/** An <svg> of that size with a text for people who do not see it. */
export const picture = (width, height, label, inside) =>
  tag("svg", { width: Math.round(width * zoom()), height: Math.round(height * zoom()), viewBox: `0 0 ${Math.round(width)} ${Math.round(height)}`, role: "img", "aria-label": label }, inside);

/** The width that an element has, for drawings that are laid out anew instead of shrunk. */
export const widthOf = (element) => Math.max(240, (element.clientWidth || element.parentElement.clientWidth || 700) / zoom());

/** A position on a scale from [a, b] to [from, to]. */
export const scale = (a, b, from, to) => (value) => from + ((value - a) / (b - a || 1)) * (to - from);

/** About `count` round numbers between a and b. */
export function ticks(a, b, count) {
  const rough = (b - a) / count;
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough) ?? 10 * power;
  const found = [];
  for (let k = Math.ceil(a / step - 1e-9); k * step <= b + 1e-9 * step; k += 1) found.push(Number((k * step).toPrecision(12)));
  return found;
}

/** A fill between the colours of negative and positive numbers: strength from -1 to 1. */
export function fill(strength) {
  const share = Math.round(100 * Math.min(1, Math.abs(strength)));
  return `fill:color-mix(in oklab, var(--${strength < 0 ? "neg" : "pos"}) ${share}%, var(--mid))`;
}
