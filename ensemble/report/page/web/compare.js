"use strict";
// One frame enlarged: two sources or steps in one picture, with a divide that a slider or the pointer moves.

const WIDE = 960; // pixels of the enlarged frame at least

class Compare {
  constructor(viewer, dialog) {
    const of = (selector) => dialog.querySelector(selector);
    Object.assign(this, {
      viewer, dialog, canvas: of("canvas"), left: of(".left"), right: of(".right"), divide: of(".divide"),
      time: of(".frame"), readout: of(".readout"), title: of("h2"), names: [...dialog.querySelectorAll(".name")],
    });
    for (const select of [this.left, this.right]) select.addEventListener("change", () => this.paint());
    this.divide.addEventListener("input", () => this.paint());
    this.time.addEventListener("input", () => viewer.seek(+this.time.value));
    of(".close").addEventListener("click", () => dialog.close());
    of(".picture").addEventListener("click", () => savePicture(`${viewer.fileName()}_compared_${viewer.pictures.names[viewer.at]}`, this.canvas));
    for (const kind of ["pointerdown", "pointermove"])
      this.canvas.addEventListener(kind, (event) => event.buttons && this.moveTo(event));
    viewer.painted.push(() => dialog.open && this.paint());
  }

  // Shows a row beside the ground truth or, without it, beside the bare frame.
  open(row) {
    const { rows, pictures, expression, data } = this.viewer;
    this.scale = Math.ceil(WIDE / pictures.width);
    Object.assign(this.canvas, { width: pictures.width * this.scale, height: pictures.height * this.scale });
    this.halves = [0, 1].map(() => el("canvas", { width: pictures.width, height: pictures.height }));
    this.title.textContent = `${expression.text || "(empty expression)"} (${data.clips[expression.clip][0]})`;
    for (const select of [this.left, this.right])
      select.replaceChildren(...rows.map((r, i) => el("option", { value: i }, r.label)));
    const other = rows.findIndex((r) => r.truth && r !== row);
    this.left.value = rows.indexOf(row);
    this.right.value = Math.max(0, other);
    this.divide.value = 50;
    this.time.max = this.viewer.times.length - 1;
    this.dialog.showModal();
    this.paint();
  }

  moveTo(event) {
    const box = this.canvas.getBoundingClientRect();
    this.divide.value = (100 * (event.clientX - box.left)) / box.width;
    this.paint();
  }

  paint() {
    const { viewer, canvas } = this, { width, height } = canvas, context = canvas.getContext("2d");
    const rows = [this.left, this.right].map((select) => viewer.rows[+select.value]), x = Math.round((width * this.divide.value) / 100);
    rows.forEach((row, i) => {
      viewer.draw(this.halves[i], row, viewer.at);
      context.save();
      context.beginPath();
      context.rect(i ? x : 0, 0, i ? width - x : x, height);
      context.clip();
      context.imageSmoothingQuality = "high";
      context.drawImage(this.halves[i], 0, 0, width, height);
      context.restore();
      const t = viewer.times[viewer.at];
      this.names[i].textContent = row.label + (row.J ? `, J&F ${((row.J[t] + row.F[t]) / 2).toFixed(1)}` : "");
    });
    context.fillStyle = "#fff";
    if (x > 0 && x < width) context.fillRect(x - 1, 0, 2, height);
    this.time.value = viewer.at;
    this.time.setAttribute("aria-valuetext", `frame ${viewer.pictures.names[viewer.at]}`);
    this.divide.setAttribute("aria-valuetext", `${this.divide.value} percent ${rows[0].label}, the rest ${rows[1].label}`);
    this.readout.textContent = `frame ${viewer.pictures.names[viewer.at]} (${viewer.times[viewer.at] + 1} of ${viewer.data.clips[viewer.expression.clip][1]})`;
    canvas.setAttribute("aria-label", `${rows[0].label} on the left, ${rows[1].label} on the right`);
  }
}
