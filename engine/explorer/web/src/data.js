// The data of the page and how numbers are read and written.

const numbers = (() => {
  const text = atob(document.getElementById("numbers").textContent.trim());
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer); // little-endian on every machine
  return Float32Array.from({ length: bytes.length / 4 }, (_, k) => view.getFloat32(4 * k, true));
})();

export const data = JSON.parse(document.getElementById("data").textContent);

/** The number of a place [offset, stride, width] at step t, for the unit at position u; NaN where there is none. */
export const at = ([offset, stride, width], t, u) => (u < width ? numbers[offset + t * stride + u] : NaN);

/** All numbers of a place at step t. */
export const row = ([offset, stride, width], t) => numbers.subarray(offset + t * stride, offset + t * stride + width);

/** A number in four digits. */
export function fmt(value) {
  if (Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e-3 && size < 1e5 ? value.toPrecision(4) : value.toExponential(3);
  return text.replaceAll("-", "−");
}

/** A number in few letters, for narrow drawings; the lists have all four digits. */
export function brief(value) {
  if (Number.isNaN(value) || value === 0) return fmt(value);
  const size = Math.abs(value);
  return (size >= 1e-2 && size < 1e4 ? value.toPrecision(3) : value.toExponential(1)).replaceAll("-", "−");
}

/** A number between 0 and 1 as a percentage. */
export function percent(value) {
  if (Math.abs(value) < 5e-4) return "0\u00a0%";
  return `${(100 * value).toFixed(Math.abs(value) < 0.0995 ? 1 : 0)}\u00a0%`.replace("-", "−");
}

/** Text for HTML. */
export const esc = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

/** A name of the code as mathematics: da_f becomes da with f below. */
export function symbol(name) {
  const [, head, tail] = /^([^_ ]+)_([^ ]+)$/.exec(name) ?? [, name, ""];
  return tail ? `${esc(head)}<sub>${esc(tail)}</sub>` : esc(name);
}

/** A formula given as one text, its names as mathematics. */
export const mathematics = (words) => words.replace(/[A-Za-z_]\w*|[^A-Za-z_]+/g, (part) => (/^[A-Za-z_]/.test(part) ? symbol(part) : `<b>${esc(part)}</b>`));

/** Every line of a step in the order in which they run, forward apart from backward. */
export function linesOf(cell) {
  const collect = (wanted) =>
    cell.functions.filter((f) => wanted(f.direction)).flatMap((f) => f.lines.map((line, k) => ({ ...line, first: k === 0, from: f })));
  return { forward: collect((d) => d === "forward"), backward: collect((d) => d !== "forward") };
}
