"use strict";
// The page: tables of steps, ablations and expressions. A selected expression is shown in the viewer.

const data = JSON.parse(document.getElementById("data").textContent);
const viewer = new Viewer(data, document.getElementById("viewer"));
const scored = data.expressions.some((e) => e.curves);
const stepNumber = (name) => data.steps.findIndex((s) => s.name === name);

function scoreOf(expression, step, metric = "J&F") {
  const J = expression.J[step], F = expression.F[step];
  if (J === null || J === undefined) return NaN;
  return metric === "J" ? J : metric === "F" ? F : (J + F) / 2;
}

function showFacts() {
  const inPage = document.querySelectorAll("script.pictures").length;
  const parts = [`${data.clips.length} clips, ${data.expressions.length} expressions`];
  if (data.output) parts.push(`output ${data.output}`);
  if (scored) parts.push(`scores in percent; gains${data.measures.at(-1) === "J&F" ? "" : ` in ${data.measures.at(-1)}`} over the best source`);
  const nothing = data.expressions.filter((e) => e.nothing).length;
  if (nothing) parts.push(`${nothing} expressions refer to nothing`);
  if (data.expressions.length && !scored) parts.push("no ground truth, so no scores");
  if (inPage < data.clips.length)
    parts.push(`images of ${inPage} clips are embedded in this page, the others are in the folder report/`);
  document.getElementById("facts").textContent = parts.join("; ") + ".";
}

function showSteps() {
  const section = document.getElementById("steps");
  section.hidden = !data.steps.length;
  const score = (s) => s.means?.at(-1) ?? NaN;
  const best = Math.max(...data.steps.filter((s) => s.source && s.means).map(score));
  const below = data.steps.some((s) => "below" in s) ? ["below oracle"] : []; // in J&F; only if a step is an oracle
  const head = ["step", ...(scored ? [...data.measures, ...below, "gain", ""] : []), "description"];
  const table = section.querySelector("table");
  table.append(el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col", class: [...data.measures, ...below].includes(h) ? "n" : null }, h)))));
  table.append(el("tbody", {}, ...data.steps.map((s) => {
    const output = s.name === data.output, gain = s.source ? NaN : score(s) - best;
    const scores = s.means?.map((v) => el("td", { class: "n" }, percent(v))) || (scored ? [el("td", { colspan: data.measures.length })] : []);
    if (scored) scores.push(
      ...below.map(() => el("td", { class: "n" }, s.means ? percent(s.below) : "")),
      el("td", {}, Number.isFinite(gain) ? el("span", { class: direction(gain) }, signed(gain)) : ""),
      el("td", { "aria-hidden": "true" }, s.means ? el("span", { class: "bar" }, el("i", { style: `width:${100 * score(s)}%` })) : ""));
    return el("tr", { class: output ? "output" : null }, el("th", { scope: "row" }, s.name), ...scores,
      el("td", { class: "what" }, s.what + (output ? " ← output" : "")));
  })));
}

// A card per ablation: curves if one number is swept, and a table with a bar for each difference.
function showAblations() {
  const rows = JSON.parse(document.getElementById("ablations-data").textContent);
  const names = [...new Set(rows.map((r) => r.ablation))];
  document.getElementById("ablations").hidden = !rows.length;
  document.querySelector("#ablations .cards").replaceChildren(...names.map((n) => ablationCard(n, rows.filter((r) => r.ablation === n))));
}

function ablationCard(name, rows) {
  const only = (key, of) => (new Set(of.map((r) => r[key])).size === 1 ? of[0][key] : null);
  const settings = rows.filter((r) => r.values); // the others are the unchanged recipe
  const parameter = settings.length ? only("parameters", settings) : null, step = only("step", rows);
  const card = el("div", {}, el("h3", {}, [name, parameter, step && `scores of ${step}`].filter(Boolean).join(", ")));
  const final = rows.some((r) => Number.isFinite(r.Final)), measure = final ? "Final" : "J&F";
  const gainOf = (r) => (final ? [r.final_delta, r.final_low, r.final_high] : [r.delta, r.low, r.high]);
  const swept = settings.filter((r) => r.J !== null).sort((a, b) => a.values - b.values);
  if (parameter && swept.length > 1 && swept.every((r) => Number.isFinite(Number(r.values)))) {
    const chart = el("div"), x = swept.map((r) => Number(r.values)), of = (key) => swept.map((r) => 100 * r[key]);
    const whiskers = swept.flatMap((r, i) => { // intervals are those of the difference from the unchanged recipe
      const [delta, low, high] = gainOf(r), zero = r[measure] - delta;
      return Number.isFinite(low) ? [[x[i], 100 * (zero + low), 100 * (zero + high)]] : [];
    });
    const series = final ? { N: of("N-acc"), T: of("T-acc"), JF: of("J&F"), Final: of("Final") } : { J: of("J"), F: of("F"), JF: of("J&F") };
    card.append(chart);
    requestAnimationFrame(() => curves(chart, { // once the element has its width
      x, xTicks: x.length <= 12 ? x : null, dots: true, whiskers, series,
      label: `${final ? "N-acc, T-acc, J&F and Final" : "J, F and J&F"} against ${parameter}; the table has the same values`,
    }));
  }
  const most = Math.max(...rows.flatMap(gainOf).filter(Number.isFinite).map(Math.abs));
  const best = Math.max(...rows.map((r) => r[measure]).filter(Number.isFinite));
  const below = rows.some((r) => Number.isFinite(r["below oracle"])) ? ["below oracle"] : [];
  const measures = ["J", "F", "J&F", ...(final ? ["N-acc", "T-acc", "Final"] : []), ...below];
  const head = ["", ...(step ? [] : ["step"]), "", ...measures, "difference"];
  const line = (r) => {
    const [delta, low, high] = gainOf(r);
    return el("tr", { class: r[measure] === best ? "output" : null }, el("th", { scope: "row" }, r.label ?? ""),
      step ? null : el("td", {}, r.step),
      el("td", {}, Number.isFinite(delta) ? differenceBar(delta, low, high, most) : ""),
      ...measures.map((k) => el("td", { class: "n" }, percent(r[k]))),
      el("td", { class: "n" }, el("span", { class: direction(delta) }, signed(delta)),
        Number.isFinite(low) ? ` [${signed(low)}, ${signed(high)}]` : ""));
  };
  card.append(el("div", { class: "wide tall" }, el("table", {},
    el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col", class: h && h !== "step" ? "n" : null }, h)))),
    el("tbody", {}, ...rows.map(line)))), el("p", { class: "hint" },
    `Differences in ${measure} from the unchanged recipe, with 95 % intervals if available. The highest ${measure} is bold.`));
  return card;
}

const table = {
  rows: [], sort: { column: null, descending: true },
  head: document.querySelector("#expressions thead"), body: document.querySelector("#expressions tbody"),
  metric: document.querySelector(".metric"), filter: document.querySelector(".filter"),
  of: document.querySelector(".of"), against: document.querySelector(".against"),

  // Columns as [title, is a number, function from an expression to its value].
  columns() {
    const of = stepNumber(this.of.value), against = stepNumber(this.against.value), metric = this.metric.value;
    const columns = [["expression", false, (e) => e.text], ["clip", false, (e) => data.clips[e.clip][0]], ["id", false, (e) => e.id]];
    if (!scored) return columns;
    columns.push(["gain", true, (e) => scoreOf(e, of, metric) - scoreOf(e, against, metric)]);
    return [...columns, ...data.steps.flatMap((s, i) => (s.means ? [[s.name, true, (e) => scoreOf(e, i, metric)]] : []))];
  },

  fill() {
    this.shown = this.columns();
    this.head.replaceChildren(el("tr", {}, ...this.shown.map(([title, number], i) =>
      el("th", { scope: "col", class: number ? "n" : null }, el("button", { type: "button", onclick: () => this.sortBy(i) }, title)))));
    this.rows = data.expressions.map((e) => {
      const values = this.shown.map(([, , value]) => value(e));
      const cells = this.shown.map(([, number], i) => {
        if (i === 0)
          return el("td", { class: "text" }, el("button", { type: "button" }, e.text || "(empty expression)"),
            e.nothing ? el("small", {}, " refers to nothing") : null);
        const text = !number ? values[i] : i === 3 ? signed(values[i]) : percent(values[i]);
        return el("td", { class: number ? `n ${i === 3 ? direction(values[i]) : ""}` : null }, text);
      });
      const row = el("tr", {}, ...cells);
      row.addEventListener("click", () => open(e, true));
      return { e, values, row, words: `${e.text} ${data.clips[e.clip][0]}${e.nothing ? " refers to nothing" : ""}`.toLowerCase() };
    });
    this.body.replaceChildren(...this.rows.map((r) => r.row));
    if (this.sort.column !== null) this.arrange();
    this.search();
    this.mark();
  },

  sortBy(column) {
    const again = this.sort.column === column;
    this.sort = { column, descending: again ? !this.sort.descending : this.shown[column][1] };
    this.arrange();
  },

  arrange() {
    const { column, descending } = this.sort, number = this.shown[column][1], sign = descending ? -1 : 1;
    const words = new Intl.Collator(undefined, { numeric: true });
    const compare = (a, b) => (number ? (Number.isNaN(a) - Number.isNaN(b)) || sign * (a - b) : sign * words.compare(a, b));
    this.rows.sort((a, b) => compare(a.values[column], b.values[column]));
    this.body.append(...this.rows.map((r) => r.row));
    [...this.head.rows[0].cells].forEach((th, i) =>
      i === column ? th.setAttribute("aria-sort", descending ? "descending" : "ascending") : th.removeAttribute("aria-sort"));
  },

  search() {
    const wanted = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const r of this.rows) r.row.hidden = !wanted.every((w) => r.words.includes(w));
    const visible = this.visible().length;
    document.querySelector(".count").textContent = `${visible} of ${this.rows.length} expressions`;
  },

  visible() {
    return this.rows.filter((r) => !r.row.hidden);
  },

  mark() {
    for (const r of this.rows) r.row.setAttribute("aria-selected", String(r.e === viewer.expression));
  },

  // The expression that is `by` rows below the one in the viewer.
  neighbour(by) {
    const visible = this.visible(), at = visible.findIndex((r) => r.e === viewer.expression);
    return visible[(at + by + visible.length) % visible.length]?.e;
  },

  keys(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || event.target.tagName !== "BUTTON") return;
    event.preventDefault();
    const visible = this.visible(), at = visible.findIndex((r) => r.row.contains(event.target));
    visible[at + by]?.row.querySelector("button").focus();
  },
};

function showChanges() {
  const of = stepNumber(table.of.value), against = stepNumber(table.against.value);
  const gain = (e) => scoreOf(e, of) - scoreOf(e, against);
  const sorted = data.expressions.filter((e) => Number.isFinite(gain(e))).sort((a, b) => gain(b) - gain(a));
  const item = (e) => el("li", {}, el("button", { type: "button", onclick: () => open(e, true) },
    el("span", { class: direction(gain(e)) }, signed(gain(e))), ` ${e.text} `,
    el("small", {}, `${data.clips[e.clip][0]}, ${percent(scoreOf(e, against))} → ${percent(scoreOf(e, of))}`)));
  document.querySelector(".gains").replaceChildren(...sorted.filter((e) => gain(e) > 0).slice(0, 8).map(item));
  document.querySelector(".losses").replaceChildren(...sorted.filter((e) => gain(e) < 0).slice(-8).reverse().map(item));
  return sorted[0];
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
  const compared = data.steps.filter((s) => s.means);
  const sources = compared.filter((s) => s.source).sort((a, b) => b.means.at(-1) - a.means.at(-1));
  for (const select of [table.of, table.against]) select.append(...compared.map((s) => el("option", {}, s.name)));
  table.of.value = data.output;
  if (sources.length) table.against.value = sources[0].name;
  document.getElementById("changes").hidden = !scored;
  document.querySelector(".metric").parentElement.hidden = !scored;
  document.getElementById("expressions").hidden = !data.expressions.length;
  table.fill();
  const first = scored ? showChanges() : data.expressions[0];
  table.filter.addEventListener("input", () => table.search());
  table.body.addEventListener("keydown", (event) => table.keys(event));
  table.metric.addEventListener("change", () => table.fill());
  for (const select of [table.of, table.against]) select.addEventListener("change", () => (table.fill(), showChanges()));
  document.querySelector(".previous").addEventListener("click", () => table.neighbour(-1) && open(table.neighbour(-1)));
  document.querySelector(".next").addEventListener("click", () => table.neighbour(1) && open(table.neighbour(1)));
  window.addEventListener("hashchange", () => addressed() && open(addressed(), true));
  const wanted = addressed();
  if (wanted) open(wanted, true);
  else if (data.expressions.length) open(first || data.expressions[0]);
}

start();
