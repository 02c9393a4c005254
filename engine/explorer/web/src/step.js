// Inside one step: the lines of forward with their values, the lines of backward one at a time.
import { at, esc, fmt, linesOf, mathematics, symbol } from "./data.js";
import { drawStep } from "./drawing.js";
import { cell, set, state } from "./state.js";

const formulaOf = (line) => line.parts.map((part) => (typeof part === "string" ? `<b>${esc(part)}</b>` : symbol(part[0]))).join("");

/** The formula with the numbers of the chosen unit in the places of the names. */
function inNumbers(line) {
  return line.parts
    .map((part, k, parts) => {
      if (typeof part === "string") return `<b>${esc(part)}</b>`;
      const value = fmt(at(part[1], state.t, state.unit));
      const alone = String(parts[k - 1] ?? "").endsWith("(") && String(parts[k + 1] ?? "").startsWith(")");
      return `<span class="value">${value.startsWith("−") && !alone ? `(${value})` : value}</span>`;
    })
    .join("");
}

/** A formula read aloud: names as they are, signs as words. */
const spoken = (words) => words.replaceAll("·", "times").replaceAll("−", "minus").replaceAll("²", " squared").replaceAll("σ", "sigmoid of ");

function lineNow(line, total) {
  const now = document.getElementById("line-now");
  now.className = line ? "" : "forward";
  if (!line) {
    now.innerHTML =
      `<p><strong>Forward is done.</strong> The blue numbers are the values of unit ${cell().units[state.unit]} at step ${state.t}. ` +
      `${total} lines go back: press “next line”.</p>` + arrivals();
    return;
  }
  const value = fmt(at(line.at, state.t, state.unit));
  const reverses = line.reverses ? `<p class="note">reverses <span class="math">${mathematics(line.reverses)}</span></p>` : "";
  now.innerHTML =
    `${line.first ? sentBy(line) : ""}<p class="math">${symbol(line.target)} <b>=</b> ${formulaOf(line)}</p>` +
    `<p class="math">${" ".repeat(2)}<b>=</b> ${inNumbers(line)} <b>=</b> <strong class="value" id="result">${value}</strong></p>${reverses}` +
    `<p><code>${esc(line.code)}</code><br><span class="note">${esc(line.from.file)}, line ${line.line}</span></p>`;
}

const sentBy = (line) => {
  const words = Object.values(line.from.arrives ?? {});
  return words.length ? `<p class="note">${esc(words.join("; "))}</p>` : "";
};

/** What has come back to the step before its first line runs. */
function arrivals() {
  const first = cell().functions.find((f) => f.direction === "backward");
  const found = Object.keys(first.arrives).map((name) => `${symbol(name)} = <span class="value">${fmt(at(first.args[name] ?? [0, 0, 0], state.t, state.unit))}</span>`);
  return `<p class="math">${found.join(", ")}</p><p class="note">${esc(Object.values(first.arrives).join("; "))}</p>`;
}

function forwardList(lines) {
  let found = "";
  for (const line of lines) {
    if (line.first && line.from.before) found += `<li><span></span><span class="note">${esc(line.from.before)}</span><span></span></li>`;
    found += `<li><span></span><span class="math">${symbol(line.target)} <b>=</b> ${formulaOf(line)}</span><span class="value" data-forward="${esc(line.target)}">${fmt(at(line.at, state.t, state.unit))}</span></li>`;
  }
  return `<ul class="lines">${found}</ul>`;
}

function backwardList(lines) {
  const rows = lines.map((line, k) => {
    const done = k < state.line;
    const badge = line.number ? `<span class="badge">${line.number}</span>` : `<span class="badge none" role="img" aria-label="a helper line">·</span>`;
    const value = done ? fmt(at(line.at, state.t, state.unit)) : "";
    const current = k === state.line - 1 ? ' aria-current="step"' : "";
    return `<li class="row${done ? "" : " later"}" data-line="${k + 1}"${current}>${badge}<span class="math">${symbol(line.target)} <b>=</b> ${formulaOf(line)}</span><span class="value">${value}</span></li>`;
  });
  return `<ol class="lines">${rows.join("")}</ol>`;
}

export function showStep() {
  const { forward, backward } = linesOf(cell());
  const line = backward[state.line - 1];
  document.getElementById("line-out").textContent = line ? `line ${state.line} of ${backward.length}` : "forward";
  document.getElementById("line-back").disabled = state.line === 0;
  document.getElementById("line-next").disabled = state.line === backward.length;
  lineNow(line, backward.length);
  document.getElementById("forward-lines").innerHTML = `<h3 class="fw">Forward</h3>${forwardList(forward)}`;
  document.getElementById("lines").innerHTML = `<h3 class="bw">Backward</h3>${backwardList(backward)}`;
  drawStep();
}

/** The current line in words, for the status that screen readers read. */
export function sayLine() {
  const { backward } = linesOf(cell());
  const line = backward[state.line - 1];
  if (!line) return "";
  const words = line.parts.map((part) => (typeof part === "string" ? part : part[0])).join("");
  return `Line ${state.line}: ${line.target} = ${spoken(words)} = ${fmt(at(line.at, state.t, state.unit))}`;
}

export function listenStep() {
  document.getElementById("line-back").addEventListener("click", () => set({ line: state.line - 1 }));
  document.getElementById("line-next").addEventListener("click", () => set({ line: state.line + 1 }));
  document.getElementById("lines").addEventListener("click", (event) => {
    const row = event.target.closest("[data-line]");
    if (row) set({ line: Number(row.dataset.line) });
  });
}
