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
      chosen: of(".chosen"), curve: of(".curve"), strip: of(".strip"),
    });
    this.play.addEventListener("click", () => this.toggle());
    this.time.addEventListener("input", () => this.seek(+this.time.value));
    this.errors.addEventListener("change", () => {
      this.legend.hidden = !this.errors.checked;
      this.paint();
      this.drawStrip();
    });
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
    this.times = Array.from({ length: frames }, (_, t) => t);
    this.panels.replaceChildren();
    this.strip.replaceChildren();
    this.at = 0;
    this.rows = this.rowsOf(expression);
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
    this.makePanels();
    const output = this.rows.find((r) => r.name === this.data.output);
    this.choose(output || this.rows[0]);
    const key = output?.keys[0] ?? this.rows.flatMap((r) => r.keys)[0] ?? 0;
    this.seek(this.nearest(key));
  }

  // The panels: the frame, ground truth, every source and step, and after each vote a heat map of its votes.
  rowsOf(expression) {
    const rows = [{ label: "frame", keys: [] }, { label: "ground truth", truth: true, keys: [] }];
    this.data.steps.forEach((step, index) => {
      const notes = expression.notes[index] || {};
      rows.push({ label: step.name, name: step.name, index, keys: notes.keys || [], chosen: notes.chosen, gate: notes.gate });
      if (!step.inputs) return;
      const group = notes.group || [expression.id];
      const voters = group.flatMap((id) => step.inputs.map((name, k) => ({ id, name, weight: step.weights[k] })));
      const total = voters.reduce((sum, v) => sum + v.weight, 0);
      rows.push({ label: `votes for ${step.name}`, index, keys: [], voters, total, votes: notes.votes || `of ${total}` });
    });
    return rows;
  }

  makePanels() {
    const { pictures, expression } = this;
    const truth = pictures.truth[expression.id];
    this.rows = this.rows.filter((r) => !r.truth || truth !== undefined);
    for (const row of this.rows) {
      row.mask = row.truth ? truth : row.name && pictures.rows[expression.id][row.name];
      row.canvas = el("canvas", { width: pictures.width, height: pictures.height });
      const scores = row.name && scoreText(expression, row.index);
      const empty = row.truth ? expression.nothing : pictures.empty[expression.id]?.includes(row.name);
      row.panel = el("button", { type: "button", class: "panel", "aria-pressed": "false", onclick: () => this.choose(row) },
        row.canvas, el("b", {}, row.label), scores ? ` ${scores}` : null,
        row.votes ? el("small", {}, ` ${row.votes}`) : null,
        row.gate ? el("small", {}, ` ${row.gate}`) : null,
        row.chosen ? el("small", {}, ` ${row.chosen}`) : null,
        empty ? el("small", { class: row.truth || truth === undefined ? null : expression.nothing ? "up" : "down" },
          row.truth ? " refers to nothing" : " empty in all frames") : null);
      this.panels.append(row.panel);
    }
  }

  // Selects the row that the curves and the film strip show.
  choose(row, draw = true) {
    this.row = row;
    for (const r of this.rows) r.panel?.setAttribute("aria-pressed", String(r === row));
    this.scored = row.index ?? this.data.steps.findIndex((s) => s.name === this.data.output);
    const name = this.data.steps[this.scored].name;
    this.chosen.textContent = row.name === name ? name : `${row.label} (scores of ${name})`;
    this.drawCurve();
    if (draw) this.drawStrip();
    this.showReadout();
  }

  drawCurve() {
    const { J, F } = curvesOf(this.expression, this.scored, this.data);
    this.curve.hidden = !J;
    if (!J) return;
    const keys = this.rows.find((r) => r.name && r.index === this.scored).keys;
    this.moveHead = curves(this.curve, {
      x: J.map((_, t) => t + 1), series: { J, F }, range: [0, 100], marks: keys.map((t) => t + 1), pick: (t) => this.seek(this.nearest(t)),
      label: `J and F of ${this.data.steps[this.scored].name} in every frame, percent` +
        (keys.length ? `; key frames ${keys.join(", ")}` : ""),
    });
    this.moveHead(this.times[this.at ?? 0] + 1);
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
    this.paint();
    this.markStrip();
    this.showReadout();
  }

  paint() {
    if (!this.pictures) return;
    for (const row of this.rows) {
      this.draw(row.canvas, row, this.at);
      row.canvas.classList.toggle("key", row.keys.includes(this.times[this.at]));
    }
  }

  markStrip() {
    [...this.strip.children].forEach((b, i) => (i === this.at ? b.setAttribute("aria-current", "true") : b.removeAttribute("aria-current")));
    const current = this.strip.children[this.at]; // scrolled into view without scrolling the page
    if (current) this.strip.scrollLeft = current.offsetLeft - this.strip.offsetLeft - (this.strip.clientWidth - current.clientWidth) / 2;
  }

  showReadout() {
    const t = this.times[this.at ?? 0], { J, F } = curvesOf(this.expression, this.scored, this.data);
    const name = this.pictures ? ` ${this.pictures.names[this.at]}` : "";
    const key = this.row.keys.includes(t) ? ", key frame" : "";
    const text = `frame${name} (${t + 1} of ${this.data.clips[this.expression.clip][1]})${key}`;
    this.time.setAttribute("aria-valuetext", text);
    this.readout.textContent = J ? `${text}: J ${J[t].toFixed(1)}, F ${F[t].toFixed(1)}` : text;
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
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }
}

// J and F of every frame in percent, undefined if the step was not scored.
function curvesOf(expression, step, data) {
  if (!expression.curves) return {};
  expression.unpacked ??= new Uint16Array(bytesOf(expression.curves).buffer);
  const frames = data.clips[expression.clip][1], start = 2 * step * frames;
  const of = (from) => Array.from(expression.unpacked.subarray(from, from + frames), (v) => v / 10);
  return expression.unpacked[start] > 1000 ? {} : { J: of(start), F: of(start + frames) };
}

function scoreText(expression, step) {
  const J = expression.J[step], F = expression.F[step];
  return J === null ? "" : `J&F ${percent((J + F) / 2)}`;
}
