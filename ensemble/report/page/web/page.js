"use strict";
// The page: its facts, the pipeline, and the table of steps. A selected expression is shown in the viewer.

const data = JSON.parse(document.getElementById("data").textContent);
const viewer = new Viewer(data, document.getElementById("viewer"));
const compare = new Compare(viewer, document.getElementById("compare"));
const panel = new StepPanel(data, viewer, document.getElementById("step"), document.getElementById("graph"));
const scored = data.expressions.some((e) => e.curves);
const stepNumber = (name) => data.steps.findIndex((s) => s.name === name);

function showFacts() {
  const inPage = document.querySelectorAll("script.pictures").length, { clips, expressions } = data;
  const parts = [];
  if (expressions.length) parts.push(`${count(clips.length, "clip")}, ${count(expressions.length, "expression")}`);
  else if (ablationRows.length) {
    const most = (key) => Math.max(...ablationRows.map((r) => r[key]).filter(Number.isFinite));
    parts.push(`ablations on ${count(most("clips"), "clip")}, ${count(most("expressions"), "expression")}`);
  }
  if (data.output) parts.push(`output ${data.output}`);
  if (scored) parts.push(`scores in percent; gains${data.measures.at(-1) === "J&F" ? "" : ` in ${data.measures.at(-1)}`} over the best source`);
  const nothing = expressions.filter((e) => e.nothing).length;
  if (nothing) parts.push(`${count(nothing, "expression")} ${nothing === 1 ? "refers" : "refer"} to nothing`);
  if (expressions.length && !scored) parts.push("no ground truth, so no scores");
  if (inPage < clips.length)
    parts.push(`images of ${count(inPage, "clip")} are embedded in this page, the others are in the folder report/`);
  document.getElementById("facts").textContent = parts.join("; ") + ".";
}

function showSteps() {
  document.getElementById("steps").hidden = !data.steps.length;
  if (!data.steps.length) return;
  const graph = document.getElementById("graph");
  drawGraph(graph, { ...data, measure: data.measures.at(-1) }, (step) => panel.show(step));
  const best = Math.max(...data.steps.filter((s) => s.source && s.means).map((s) => s.means.at(-1)));
  const below = data.steps.some((s) => "below" in s) ? ["below oracle"] : []; // in J&F; only if a step is an oracle
  const numbers = [...data.measures, ...below, "gain", "95 % interval"];
  const head = ["step", ...(scored ? [...numbers, "expressions by J&F"] : []), "description"];
  const table = document.querySelector("#steps > .wide table");
  table.append(el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col", class: numbers.includes(h) ? "n" : null }, h)))));
  table.append(el("tbody", {}, ...data.steps.map((s, i) => {
    const output = s.name === data.output, gain = s.source || !s.means ? NaN : s.means.at(-1) - best;
    const scores = s.means?.map((v) => el("td", { class: "n" }, percent(v ?? NaN))) || (scored ? [el("td", { colspan: data.measures.length })] : []);
    if (scored) scores.push(
      ...below.map(() => el("td", { class: "n" }, s.means ? percent(s.below) : "")),
      el("td", { class: "n" }, Number.isFinite(gain) ? el("span", { class: direction(gain) }, signed(gain)) : ""),
      el("td", { class: "n" }, s.gain ? interval(...s.gain.slice(1)) : ""),
      el("td", {}, s.means ? histogram(data.expressions.map((e) => scoreOf(e, i)), `expressions by J&F of ${s.name}`, { marked: s.means[2] }) : ""));
    return el("tr", { class: output ? "output" : null }, el("th", { scope: "row" }, s.name), ...scores,
      el("td", { class: "what" }, s.what + (output ? " ← output" : "")));
  })));
}

// Shows an expression; with `go`, also sets the address and scrolls to the viewer.
function open(expression, go = false) {
  const shown = viewer.open(expression);
  table.mark();
  const hash = `#${encodeURIComponent(data.clips[expression.clip][0])}/${encodeURIComponent(expression.id)}`;
  if (go) {
    history.replaceState(null, "", hash);
    viewer.host.scrollIntoView();
    viewer.time.focus({ preventScroll: true });
  }
  return shown;
}

// The expression in the address, as in report.html#CLIP/ID.
function addressed() {
  const [clip, id] = location.hash.slice(1).split("/").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  return data.expressions.find((e) => data.clips[e.clip][0] === clip && e.id === id);
}

function start() {
  showFacts();
  showSteps();
  showAblations();
  showProvenance(data);
  const compared = data.steps.filter((s) => s.means);
  const sources = compared.filter((s) => s.source).sort((a, b) => b.means.at(-1) - a.means.at(-1));
  for (const select of [table.of, table.against]) select.append(...compared.map((s) => el("option", {}, s.name)));
  table.of.value = data.output;
  if (sources.length) table.against.value = sources[0].name;
  document.getElementById("changes").hidden = !scored;
  document.querySelector(".metric").parentElement.hidden = !scored;
  document.getElementById("expressions").hidden = !data.expressions.length;
  document.querySelector(".skip").hidden = !data.expressions.length;
  table.fill();
  const first = scored ? showChanges() : data.expressions[0];
  table.filter.addEventListener("input", () => table.search());
  table.body.addEventListener("keydown", (event) => table.keys(event));
  table.metric.addEventListener("change", () => table.fill());
  document.querySelector(".csv").addEventListener("click", () => table.save());
  for (const select of [table.of, table.against]) select.addEventListener("change", () => (table.fill(), showChanges()));
  document.querySelector(".previous").addEventListener("click", () => table.neighbour(-1) && open(table.neighbour(-1)));
  document.querySelector(".next").addEventListener("click", () => table.neighbour(1) && open(table.neighbour(1)));
  window.addEventListener("hashchange", () => addressed() && open(addressed(), true));
  const wanted = addressed();
  if (wanted) open(wanted, true);
  else if (data.expressions.length) open(first || data.expressions[0]);
}

start();
