"use strict";
// A step that was clicked in the graph: what it is, its scores against its inputs, and its masks of the current frame.

class StepPanel {
  constructor(data, viewer, host, graph) {
    Object.assign(this, { data, viewer, host, graph });
    viewer.painted.push(() => this.paint());
  }

  show(step) {
    this.step = step;
    markGraph(this.graph, step.name);
    this.host.hidden = false;
    const readers = this.data.steps.filter((s) => s.reads.includes(step.name));
    const link = (s) => el("button", { type: "button", class: "link", onclick: () => this.show(s) }, s.name);
    const list = (title, steps) => (steps.length ? el("p", {}, `${title} `, ...steps.flatMap((s, i) => (i ? [", ", link(s)] : [link(s)]))) : null);
    const inputs = this.data.steps.filter((s) => step.reads.includes(s.name));
    this.figures = el("div", { class: "figures", role: "group", "aria-label": `masks of ${step.name} and what it reads` });
    const text = el("div", {}, el("p", {}, step.what), list("reads", inputs), list("read by", readers),
      el("details", {}, el("summary", {}, "settings"), el("pre", {}, settingsText(step.settings))));
    const scores = el("div", { class: "wide" }, this.scores(step, inputs));
    this.host.replaceChildren(el("h3", {}, step.name + (step.name === this.data.output ? " (output)" : "")),
      el("div", { class: "about-step" }, text, scores), this.figures);
    this.shown = null;
    this.viewer.chooseStep(step.name);
    this.paint();
  }

  // The table of the step: its scores and those of its inputs, and the gains over them.
  scores(step, inputs) {
    if (!step.means) return el("p", { class: "hint" }, "no scores");
    const { measures } = this.data, rows = [step, ...inputs.filter((s) => s.means)], last = measures.at(-1);
    const index = (s) => this.data.steps.indexOf(s), all = this.data.expressions;
    const counts = (s) => {
      const gains = all.map((e) => scoreOf(e, index(step)) - scoreOf(e, index(s)));
      return `${gains.filter((g) => direction(g) === "up").length} / ${gains.filter((g) => direction(g) === "down").length}`;
    };
    const head = ["", ...measures, ...(rows.length > 1 ? ["gain over it", "95 % interval", "better / worse"] : [])];
    const line = (s) => {
      const [delta, low, high] = step.over?.[s.name] ?? [];
      return el("tr", {}, el("th", { scope: "row" }, s.name), ...s.means.map((v) => el("td", { class: "n" }, percent(v ?? NaN))),
        ...(rows.length === 1 ? [] : s === step ? [el("td", { colspan: 3 })] : [
          el("td", { class: `n ${direction(delta)}` }, signed(delta)), el("td", { class: "n" }, interval(low, high)),
          el("td", { class: "n" }, counts(s))]));
    };
    const table = el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col", class: h ? "n" : null }, h)))),
      el("tbody", {}, ...rows.map(line)));
    const values = all.map((e) => scoreOf(e, index(step))), mean = values.filter(Number.isFinite).reduce((sum, v, _, of) => sum + v / of.length, 0);
    return el("div", {}, table, el("p", { class: "hint" },
      `${rows.length > 1 ? `Gains are in ${last}; better and worse are numbers of expressions, by J&F. ` : ""}Bars: expressions by J&F; the line is the mean.`),
      histogram(values, `numbers of expressions with a J&F of ${step.name}`, { large: true, marked: mean }));
  }

  // The masks of the inputs and of the step, in the current expression and frame.
  paint() {
    if (!this.step || !this.viewer.pictures) return;
    const { viewer, step } = this, names = [...step.reads, step.name];
    if (this.shown !== viewer.expression) {
      this.shown = viewer.expression;
      this.drawn = viewer.rows.filter((r) => names.includes(r.name) || (r.voters && r.index === this.data.steps.indexOf(step)));
      this.drawn.sort((a, b) => (a.name === step.name) - (b.name === step.name)); // its own masks are the last
      this.canvases = this.drawn.map(() => el("canvas", { width: viewer.pictures.width, height: viewer.pictures.height }));
      this.figures.replaceChildren(...this.drawn.map((r, i) => el("figure", {}, this.canvases[i], el("figcaption", {}, r.label))));
    }
    this.drawn.forEach((r, i) => viewer.draw(this.canvases[i], r, viewer.at));
  }
}

// Settings as in a recipe, a line each.
function settingsText(settings) {
  return Object.entries(settings ?? {}).map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n") || "none";
}
