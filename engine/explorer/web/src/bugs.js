// The mystery bugs: what the check sees, the guess, its judgement, and the solution.
import { at, data, esc, fmt } from "./data.js";
import { picture, tag, text } from "./drawing_tools.js";
import { set, state } from "./state.js";

const { bugs } = data;
const solved = new Set();
let shown = -1;
const open = (bug) => JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(bug.sealed), (letter) => letter.charCodeAt(0))));
const SMALLEST = -3; // smaller errors are shown as pale as none: the eye has to find the large ones

const strength = (error) => Math.max(0, Math.min(1, 1 + Math.log10(Math.max(error, 1e-12)) / -SMALLEST));
const shade = (error) => `fill:color-mix(in oklab, var(--error) ${Math.round(100 * strength(error))}%, var(--mid))`;

function drawMap(tensor, bug) {
  if (!tensor.map) return "";
  const columns = tensor.map[2];
  const size = tensor.time ? [26, 14] : [14, 14];
  let inside = "";
  for (let r = 0; r < tensor.rows; r += 1) {
    for (let c = 0; c < columns; c += 1) {
      inside += tag("rect", { x: 22 + c * size[0], y: 2 + r * size[1], width: size[0] - 1, height: size[1] - 1, style: shade(at(tensor.map, r, c)) });
    }
  }
  const blocks = bug.gates.length && tensor.rows === bug.gates.length * bug.hidden ? bug.gates.length : 1;
  for (let k = 0; k < blocks && blocks > 1; k += 1) {
    inside += text(2, 2 + (k + 0.5) * bug.hidden * size[1] + 4, bug.gates[k], { class: "bold" });
    if (k) inside += tag("line", { x1: 0, x2: 22 + columns * size[0], y1: 1.5 + k * bug.hidden * size[1], y2: 1.5 + k * bug.hidden * size[1], style: "stroke:var(--ink);stroke-width:1.5" });
  }
  const height = tensor.rows * size[1] + (tensor.time ? 20 : 4);
  if (tensor.time) for (let c = 0; c < columns; c += 1) inside += text(22 + (c + 0.5) * size[0], height - 4, c, { class: "small", "text-anchor": "middle" });
  const label = `Errors of d${tensor.name}, ${tensor.rows} rows by ${columns} ${tensor.time ? "time steps" : "columns"}; the largest is ${fmt(tensor.error)}`;
  return `<figure><figcaption>d${esc(tensor.name)}${tensor.time ? ", time step →" : ""}</figcaption>${picture(24 + columns * size[0], height, label, inside)}</figure>`;
}

/** The error of each gate's gradient at each step: what the check cannot know, but a learner may look at. */
function gateMap(bug) {
  const size = [46, 24];
  const names = bug.gates.length ? bug.gates : ["h"];
  let inside = "";
  names.forEach((name, g) => {
    inside += text(2, 2 + (g + 0.65) * size[1], `da_${name}`, { class: "bold" });
    for (let t = 0; t < bug.steps; t += 1) {
      const error = at(bug.errors, g, t);
      inside += tag("rect", { x: 46 + t * size[0], y: 2 + g * size[1], width: size[0] - 2, height: size[1] - 2, style: shade(error) });
      const words = error < 1e-6 ? "right" : error.toPrecision(2).replace("-", "−");
      inside += text(45 + (t + 0.5) * size[0], 2 + (g + 0.65) * size[1], words, { "text-anchor": "middle", style: `fill:var(--${strength(error) < 0.68 ? "ink" : "card"});font-size:11px` });
    }
  });
  for (let t = 0; t < bug.steps; t += 1) inside += text(45 + (t + 0.5) * size[0], names.length * size[1] + 15, `step ${t}`, { class: "small", "text-anchor": "middle" });
  const words = names.map((name, g) => `da_${name}: ${Array.from({ length: bug.steps }, (_, t) => (at(bug.errors, g, t) < 1e-6 ? "right" : fmt(at(bug.errors, g, t)))).join(", ")}`);
  return picture(48 + bug.steps * size[0], names.length * size[1] + 20, `Errors of the gates' gradients by step. ${words.join("; ")}`, inside);
}

function reportTable(bug) {
  const rows = bug.tensors.map((t) => `<tr><th scope="row">${esc(t.name)}</th><td>${t.shape.join("×")}</td><td>${fmt(t.error)}</td><td class="${t.verdict === "ok" ? "right" : "wrong"}">${esc(t.verdict)}</td></tr>`);
  return `<div class="scroll" role="region" tabindex="0" aria-label="Report of the gradient check"><table><caption>${esc(bug.cell)}: T = ${bug.steps} steps, B = 3 rows, D = 2 features, H = ${bug.hidden} units; gradients arrive at every output and at the final state.</caption><thead><tr><th scope="col">Gradient of</th><th scope="col">Shape</th><th scope="col">Largest error</th><th scope="col">Verdict</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>`;
}

const choice = (name, value, words, code = false) => `<label><input type="radio" name="${name}" value="${esc(value)}"> ${code ? `<code>${esc(words)}</code>` : esc(words)}</label>`;

function fields(bug) {
  const gates = [...bug.gates.map((gate) => choice("gate", gate, gate)), choice("gate", "none", bug.gates.length ? "no single gate" : "the cell has one gate only")];
  const steps = Array.from({ length: bug.steps }, (_, t) => choice("step", String(t), String(t)));
  const lines = [...bug.lines.map((line) => choice("line", line, line, true)), ...bug.outside.map((words) => choice("line", words, words))];
  return (
    `<fieldset><legend>Gate whose gradient is wrong at the source</legend>${gates.join("")}</fieldset>` +
    `<fieldset><legend>First step that backward gets wrong; it starts at the last one</legend>${steps.join("")}${choice("step", "null", "every step of dx is right")}</fieldset>` +
    `<fieldset class="block"><legend>Line or place that was changed</legend>${lines.join("")}</fieldset>`
  );
}

export function showBug() {
  if (!bugs.length) {
    document.getElementById("view-bug").innerHTML = "<p>This page was made without mystery bugs.</p>";
    return;
  }
  const select = document.getElementById("bug");
  const options = bugs.map((one, k) => `<option value="${k}">${k + 1} of ${bugs.length}: ${esc(one.cell)}</option>`).join("");
  if (select.innerHTML !== options) select.innerHTML = options;
  select.value = String(state.bug);
  const bug = bugs[state.bug];
  showReport(bug);
  if (shown === state.bug) return; // the window or the text has another size: the guess stays
  shown = state.bug;
  document.getElementById("guess-fields").innerHTML = fields(bug);
  document.getElementById("judged").innerHTML = "";
  const solution = document.getElementById("solution");
  if (document.activeElement === solution) document.getElementById("bug-next").focus(); // it is empty now
  solution.innerHTML = "";
  showHint(false);
  score();
}

function showReport(bug) {
  const maps = bug.tensors.map((tensor) => drawMap(tensor, bug)).join("");
  document.getElementById("bug-tensors").innerHTML =
    `<p class="note">The error of the gradient of each gate's pre-activation, beside central differences. Backward starts at the last step.</p><div class="figure">${gateMap(bug)}</div>` +
    `<h3>The report</h3>${reportTable(bug)}` +
    `<h3>Every entry</h3><p class="note">Dark: an error as large as the gradient itself. Pale: a thousandth of it, or none. Rows of a weight stand in blocks of H rows, one for each gate.</p><div class="maps">${maps}</div>`;
}

function score() {
  document.getElementById("bug-score").textContent = `found: ${solved.size} of ${bugs.length}`;
}

function showHint(shown) {
  const button = document.getElementById("bug-hint");
  button.setAttribute("aria-expanded", String(shown));
  button.textContent = shown ? "Hide the hint" : "Show a hint";
  const words = document.getElementById("bug-hint-text");
  words.hidden = !shown;
  if (shown) words.textContent = hintOf(bugs[state.bug]);
}

/** What the check sees with a gradient at one output alone: far less is wrong then. */
function hintOf(bug) {
  const tensor = bug.tensors.find((one) => one.name.startsWith("bias_ih") && one.seen.length) ?? bug.tensors.find((one) => one.seen.length);
  if (!tensor) return "Which gradients are right? The fault lies after the place where they part from the wrong ones.";
  const blocks = tensor.seen.map((error, k) => `${bug.gates[k] ?? "all"} ${fmt(error)}`).join(", ");
  return `Backward carries one wrong value into everything before it, so give it as little to carry as you can. With a gradient at the one output where the bug shows most simply, the errors of d${tensor.name} by gate are: ${blocks}.`;
}

function judge(event) {
  event.preventDefault();
  const given = Object.fromEntries(new FormData(event.target));
  const answer = open(bugs[state.bug]);
  const parts = [
    ["gate", answer.gates.includes(given.gate), "Compare the blocks of the weights: which one is wrong for the simplest loss?"],
    ["step", String(answer.step) === given.step, "Backward starts at the last step: which is the first that it gets wrong?"],
    ["line", answer.line === given.line || answer.twins.includes(given.line), "Which line gives a value that the right gradients do not need, and the wrong ones do?"],
  ];
  const missing = parts.filter(([name]) => given[name] === undefined).map(([name]) => name);
  if (missing.length) {
    document.getElementById("judged").innerHTML = `<p>Choose ${missing.join(", ")} first.</p>`;
    return;
  }
  const rows = parts.map(([name, good, hint]) => `<li><span class="${good ? "right" : "wrong"}">${good ? "✓" : "✗"} ${name}: ${good ? "right" : "not this one"}</span>${good ? "" : `. ${hint}`}</li>`);
  const all = parts.every(([, good]) => good);
  if (all) solved.add(state.bug);
  const twin = answer.twins.includes(given.line) ? "<p>Another line was changed, but a change of yours by the same factor gives the same numbers.</p>" : "";
  document.getElementById("judged").innerHTML = `<ul class="judged">${rows.join("")}</ul>${twin}${all ? "<p><strong>Found.</strong> Reveal shows the story.</p>" : ""}`;
  score();
}

function reveal() {
  const answer = open(bugs[state.bug]);
  const diff = answer.diff.split("\n").map((line) => (line.startsWith("-") ? `<span class="minus">${esc(line)}</span>` : line.startsWith("+") ? `<span class="plus">${esc(line)}</span>` : esc(line)));
  const where = document.getElementById("solution");
  where.innerHTML =
    `<h3>What was changed</h3><p><strong>${esc(answer.story)}</strong> <span class="note">(${esc(answer.name)})</span></p>` +
    `<p class="note">The line with − is right, the one with + was planted.</p><pre>${diff.join("\n")}</pre>` +
    `<h3>The diagnosis of the gradient check</h3><p>${esc(answer.where || "none")}</p><pre>${esc(answer.report)}</pre>` +
    `<p class="note">The same in a terminal: <code>bptt gradcheck --inject ${esc(answer.name)}</code></p>`;
  where.focus({ preventScroll: false });
}

export function listenBug() {
  if (!bugs.length) return;
  document.getElementById("bug").addEventListener("change", (event) => set({ bug: Number(event.target.value) }));
  document.getElementById("bug-back").addEventListener("click", () => set({ bug: state.bug - 1 }));
  document.getElementById("bug-next").addEventListener("click", () => set({ bug: state.bug + 1 }));
  document.getElementById("bug-hint").addEventListener("click", (event) => showHint(event.target.getAttribute("aria-expanded") !== "true"));
  document.getElementById("guess").addEventListener("submit", judge);
  document.getElementById("reveal").addEventListener("click", reveal);
}
