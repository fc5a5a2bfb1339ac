"use strict";
// One expression: its frames in every source and step side by side, the curves of the selected row, and its film strip.

const FRAME_MS = 1000 / 6; // Ref-YouTube-VOS annotates six frames a second

class Viewer {
  constructor(data, host) {
    this.data = data;
    this.host = host;
    const of = (selector) => host.querySelector(selector);
    Object.assign(this, {
      title: of("h2"), about: of(".about"), play: of(".play"), time: of(".time"), readout: of(".readout"),
      errors: of(".errors"), legend: of(".legend"), message: of(".message"), panels: of(".panels"),
      chosen: of(".chosen"), said: of(".said"), curve: of(".curve"), stated: of(".stated"), strip: of(".strip"),
      actions: of(".actions"),
    });
    this.play.addEventListener("click", () => this.toggle());
    this.time.addEventListener("input", () => this.seek(+this.time.value));
    this.errors.addEventListener("change", () => {
      this.showErrors();
      this.paint();
      this.drawStrip();
    });
    of(".enlarge").addEventListener("click", () => this.enlarge());
    of(".picture").addEventListener("click", () => this.pictures && savePicture(`${this.fileName()}_${this.pictures.names[this.at]}`, this.row.canvas));
    of(".gif").addEventListener("click", () => this.saveGif());
    this.painted = []; // functions that are called after another frame was painted
    host.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("resize", () => this.expression && this.drawCurve());
  }

  get playing() {
    return this.timer !== undefined;
  }

  // Shows an expression. Resolves once its images are loaded, or are known to be missing.
  async open(expression) {
    this.stop();
    this.expression = expression;
    const [clip, frames] = this.data.clips[expression.clip];
    this.host.hidden = false;
    this.title.textContent = expression.text || "(empty expression)";
    this.about.textContent = `clip ${clip}, expression ${expression.id}, ${frames} frames` +
      (expression.nothing ? "; the expression refers to nothing: empty masks are the right answer" : "");
    this.message.textContent = "";
    this.pictures = null;
    this.actions.hidden = true;
    this.stated.replaceChildren();
    this.showErrors();
    this.times = Array.from({ length: frames }, (_, t) => t);
    this.panels.replaceChildren();
    this.strip.replaceChildren();
    this.at = 0;
    this.rows = rowsOf(expression, this.data);
    this.choose(this.rows.find((r) => r.name === this.data.output) || this.rows[0], false);
    this.seek(0);
    const pictures = await picturesOf(clip).catch(() => null);
    if (this.expression !== expression) return; // another expression was opened in the meantime
    this.pictures = pictures;
    if (!pictures) {
      const file = `report/${clip}.js`;
      this.message.textContent =
        `The images of this clip are in ${file}, which was not found. Copy the folder report/ along with report.html, ` +
        "or run the recipe again with report=true.";
      return;
    }
    this.times = pictures.times;
    this.actions.hidden = false;
    this.rows = tilesOf(this);
    this.panels.append(...this.rows.map((r) => r.panel));
    this.showErrors();
    const output = this.rows.find((r) => r.name === this.data.output);
    this.choose(output || this.rows[0]);
    const key = output?.keys[0] ?? this.rows.flatMap((r) => r.keys)[0] ?? 0;
    this.seek(this.nearest(key));
  }

  // Selects the row that the curves and the film strip show.
  choose(row, draw = true) {
    this.row = row;
    for (const r of this.rows) r.panel?.setAttribute("aria-pressed", String(r === row));
    this.said.replaceChildren(...(row.words || []).flatMap(([title, text]) => [el("dt", {}, title), el("dd", {}, text)]));
    this.scored = row.index ?? this.data.steps.findIndex((s) => s.name === this.data.output);
    const name = this.data.steps[this.scored].name;
    this.chosen.textContent = row.name === name ? name : `${row.label} (scores of ${name})`;
    this.drawCurve();
    this.drawSignals();
    if (draw) this.drawStrip();
    this.showReadout();
  }

  // Chooses the row of a source or step, if it has masks.
  chooseStep(name) {
    const row = this.rows?.find((r) => r.name === name);
    if (row && this.expression) this.choose(row);
  }

  enlarge() {
    if (this.pictures) compare.open(this.row);
  }

  fileName() {
    return `${this.data.clips[this.expression.clip][0]}_${this.expression.id}_${this.row.label}`;
  }

  saveGif() {
    if (!this.pictures) return;
    const { width, height } = this.pictures, canvas = el("canvas", { width, height });
    canvas.getContext("2d", { willReadFrequently: true });
    saveGif(this.fileName(), this.times.length, (i) => (this.draw(canvas, this.row, i), canvas));
  }

  // Errors can be marked only where there is ground truth.
  showErrors() {
    const known = this.pictures ? this.pictures.truth[this.expression.id] !== undefined : Boolean(this.expression.curves);
    this.errors.parentElement.hidden = !known;
    this.legend.hidden = !known || !this.errors.checked;
  }

  drawCurve() {
    const { J, F, keys } = this.rows.find((r) => r.name && r.index === this.scored) ?? {};
    this.curve.hidden = !J;
    this.moveHead = undefined;
    if (!J) return;
    this.moveHead = curves(this.curve, {
      x: J.map((_, t) => t + 1), series: { J, F }, range: [0, 100], marks: keys.map((t) => t + 1), pick: (t) => this.seek(this.nearest(t)),
      label: `J and F of ${this.data.steps[this.scored].name} in every frame, percent` +
        (keys.length ? `; key frames ${keys.join(", ")}` : ""),
    });
    this.moveHead(this.times[this.at ?? 0] + 1);
  }

  // What the propagator or model states about each mask of the chosen row.
  drawSignals() {
    const series = this.row.signals || {}, names = Object.keys(series), values = names.flatMap((n) => series[n]).filter(Number.isFinite);
    this.stated.hidden = !values.length;
    this.moveSignals = undefined;
    if (!values.length) return;
    const chart = el("div"), within = values.every((v) => v >= 0 && v <= 1);
    this.stated.replaceChildren(el("h4", {}, `what ${this.row.label} states about each mask`), chart);
    this.moveSignals = curves(chart, {
      x: this.times.map((t) => t + 1), series, range: within ? [0, 1] : null, marks: this.row.keys.map((t) => t + 1),
      height: 120, pick: (i) => this.seek(i), label: `${names.map((n) => n.replaceAll("_", " ")).join(", ")} of ${this.row.label} in every frame`,
    });
    this.moveSignals(this.times[this.at ?? 0] + 1);
  }

  drawStrip() {
    if (!this.pictures) return;
    const { width, height, names } = this.pictures;
    this.strip.replaceChildren(...this.times.map((t, i) => {
      const canvas = el("canvas", { width, height, class: this.row.keys.includes(t) ? "key" : null });
      this.draw(canvas, this.row, i);
      const label = `frame ${names[i]}${this.row.keys.includes(t) ? ", key frame" : ""}`;
      return el("button", { type: "button", tabindex: -1, "aria-label": label, onclick: () => this.seek(i) }, canvas);
    }));
    this.markStrip();
  }

  draw(canvas, row, i) {
    const { pictures, expression } = this, frame = pictures.frame(i);
    if (row.voters) {
      const numbers = row.voters.map((v) => pictures.rows[v.id][v.name]);
      heat(frame, pictures.votes(numbers, row.voters.map((v) => v.weight), i), row.total);
    } else if (row.mask !== undefined) {
      const truth = this.errors.checked && row.name ? pictures.truth[expression.id] : undefined;
      tint(frame, pictures.mask(row.mask, i), truth === undefined ? null : pictures.mask(truth, i));
    }
    canvas.getContext("2d").putImageData(frame, 0, 0);
  }

  // Shows selected frame number i.
  seek(i) {
    this.at = Math.max(0, Math.min(this.times.length - 1, i));
    this.time.max = this.times.length - 1;
    this.time.value = this.at;
    this.moveHead?.(this.times[this.at] + 1);
    this.moveSignals?.(this.times[this.at] + 1);
    this.paint();
    this.markStrip();
    this.showReadout();
  }

  paint() {
    if (!this.pictures) return;
    const t = this.times[this.at];
    for (const row of this.rows) {
      this.draw(row.canvas, row, this.at);
      row.score.textContent = row.J ? ` J&F ${((row.J[t] + row.F[t]) / 2).toFixed(1)}` : "";
      row.canvas.classList.toggle("key", row.keys.includes(t));
    }
    for (const f of this.painted) f();
  }

  markStrip() {
    [...this.strip.children].forEach((b, i) => (i === this.at ? b.setAttribute("aria-current", "true") : b.removeAttribute("aria-current")));
    const current = this.strip.children[this.at]; // scrolled into view without scrolling the page
    if (current) this.strip.scrollLeft = current.offsetLeft - this.strip.offsetLeft - (this.strip.clientWidth - current.clientWidth) / 2;
  }

  showReadout() {
    const t = this.times[this.at ?? 0], { J, F } = this.rows.find((r) => r.name && r.index === this.scored) ?? {};
    const name = this.pictures ? ` ${this.pictures.names[this.at]}` : "";
    const key = this.row.keys.includes(t) ? ", key frame" : "";
    const text = `frame${name} (${t + 1} of ${this.data.clips[this.expression.clip][1]})${key}`;
    this.time.setAttribute("aria-valuetext", text);
    const signals = Object.entries(this.row.signals || {}).filter(([, v]) => Number.isFinite(v[this.at]));
    const facts = [...(J ? [`J ${J[t].toFixed(1)}`, `F ${F[t].toFixed(1)}`] : []), ...signals.map(([name, v]) => `${name.replaceAll("_", " ")} ${v[this.at].toFixed(2)}`)];
    this.readout.textContent = facts.length ? `${text}: ${facts.join(", ")}` : text;
  }

  nearest(t) {
    return this.times.reduce((best, v, i) => (Math.abs(v - t) < Math.abs(this.times[best] - t) ? i : best), 0);
  }

  toggle() {
    if (this.playing) return this.stop();
    this.timer = setInterval(() => this.seek((this.at + 1) % this.times.length), FRAME_MS);
    this.showPlaying();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.showPlaying();
  }

  showPlaying() {
    this.play.textContent = this.playing ? "❚❚" : "▶";
    this.play.setAttribute("aria-label", this.playing ? "pause" : "play");
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const presses = event.target.matches("button, [type=checkbox]"); // space activates them
    const turn = (by) => {
      const row = this.rows[(this.rows.indexOf(this.row) + by + this.rows.length) % this.rows.length];
      this.choose(row);
      if (event.target.matches(".panel")) row.panel.focus();
    };
    const actions = {
      ArrowLeft: () => this.seek(this.at - 1), ArrowRight: () => this.seek(this.at + 1),
      Home: () => this.seek(0), End: () => this.seek(this.times.length - 1),
      ArrowUp: () => turn(-1), ArrowDown: () => turn(1),
    };
    if (!presses) actions[" "] = () => this.toggle();
    if (event.key === "e") actions.e = () => this.enlarge();
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }
}
