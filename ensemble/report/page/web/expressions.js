"use strict";
// The expressions: a table that is sorted and filtered, and the best gains and worst losses of it.

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

  // The column of the output stays visible if the table is wider than the page.
  classOf(title, number) {
    return number ? `n${title === data.output ? " output" : ""}` : null;
  },

  fill() {
    this.shown = this.columns();
    this.head.replaceChildren(el("tr", {}, ...this.shown.map(([title, number], i) =>
      el("th", { scope: "col", class: this.classOf(title, number) }, el("button", { type: "button", onclick: () => this.sortBy(i) }, title)))));
    this.rows = data.expressions.map((e) => {
      const values = this.shown.map(([, , value]) => value(e));
      const cells = this.shown.map(([, number], i) => {
        if (i === 0)
          return el("td", { class: "text" }, el("button", { type: "button" }, e.text || "(empty expression)"),
            e.nothing ? el("small", {}, " refers to nothing") : null);
        const text = !number ? values[i] : i === 3 ? signed(values[i]) : percent(values[i]);
        return el("td", { class: `${this.classOf(this.shown[i][0], number) ?? ""} ${i === 3 && number ? direction(values[i]) : ""}` }, text);
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
    document.querySelector(".count").textContent = `${visible} of ${count(this.rows.length, "expression")}`;
  },

  visible() {
    return this.rows.filter((r) => !r.row.hidden);
  },

  // All scores of the visible expressions, in the order in which they are shown.
  save() {
    const steps = data.steps.map((s, i) => [s.name, i]).filter(([, i]) => data.steps[i].means);
    const head = ["clip", "expression", "text", ...steps.flatMap(([name]) => ["J", "F", "J&F"].map((m) => `${name} ${m}`))];
    const line = ({ e }) => [data.clips[e.clip][0], e.id, e.text, ...steps.flatMap(([, i]) => ["J", "F", "J&F"].map((m) => +scoreOf(e, i, m).toFixed(5)))];
    saveTable("scores", [head, ...this.visible().map(line)]);
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
  const list = (where, items) => document.querySelector(where).replaceChildren(...(items.length ? items : [el("li", { class: "none" }, "none")]));
  list(".gains", sorted.filter((e) => direction(gain(e)) === "up").slice(0, 8).map(item));
  list(".losses", sorted.filter((e) => direction(gain(e)) === "down").slice(-8).reverse().map(item));
  return sorted[0];
}
