"use strict";
// Elements and charts. Text is always inserted as text, never as HTML, because expressions may contain anything.

function el(tag, settings = {}, ...children) {
  return build(document.createElement(tag), settings, children);
}

function svg(tag, settings = {}, ...children) {
  return build(document.createElementNS("http://www.w3.org/2000/svg", tag), settings, children);
}

function build(element, settings, children) {
  for (const [name, value] of Object.entries(settings)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined));
  return element;
}

const percent = (value) => (Number.isFinite(value) ? (100 * value).toFixed(1) : "–");

function signed(value) {
  if (!Number.isFinite(value)) return "–";
  const text = (100 * Math.abs(value)).toFixed(1);
  return text === "0.0" ? text : (value > 0 ? "+" : "−") + text;
}

const direction = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");

// Round numbers that cover a range, with about `count` steps.
function ticks(low, high, count = 5) {
  const raw = Math.max(high - low, 1e-9) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const values = [];
  for (let v = Math.floor(low / step); v <= Math.ceil(high / step - 1e-9); v++) values.push(+(v * step).toPrecision(12));
  return values;
}

/* Draws curves over x and returns a function that moves the vertical line to an x. `series` is {name: values}; the
   names J, F, JF, N, T and Final have colours. `marks` are the x of key frames, `whiskers` are [x, low, high]. A click on the chart
   calls `pick` with the index of the nearest x. */
function curves(host, { x, series, label, range = null, marks = [], whiskers = [], dots = false, xTicks = null, pick = null }) {
  const width = Math.max(280, host.clientWidth || 600), height = 190, left = 34, right = 10, top = 8, bottom = 22;
  const values = [...Object.values(series).flat(), ...whiskers.flatMap((w) => w.slice(1))].filter(Number.isFinite);
  const levels = range ? ticks(...range) : ticks(Math.min(...values), Math.max(...values));
  const low = range ? range[0] : levels[0], high = range ? range[1] : levels[levels.length - 1];
  const first = Math.min(...x), last = Math.max(...x);
  const toX = (v) => left + ((v - first) / (last - first || 1)) * (width - left - right);
  const toY = (v) => height - bottom - ((v - low) / (high - low || 1)) * (height - top - bottom);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label });
  for (const v of levels) {
    picture.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: toY(v), y2: toY(v) }));
    picture.append(svg("text", { x: left - 5, y: toY(v) + 4, "text-anchor": "end" }, String(v)));
  }
  for (const v of xTicks || ticks(first, last, Math.min(8, width / 70)).filter((v) => v >= first && v <= last))
    picture.append(svg("text", { x: toX(v), y: height - 5, "text-anchor": "middle" }, String(v)));
  for (const v of marks)
    picture.append(svg("line", { class: "key", x1: toX(v), x2: toX(v), y1: top, y2: height - bottom }, svg("title", {}, "key frame")));
  for (const [v, a, b] of whiskers)
    picture.append(svg("line", { class: "whisker", x1: toX(v), x2: toX(v), y1: toY(a), y2: toY(b) }));
  for (const [name, of] of Object.entries(series)) {
    const points = x.map((v, i) => [toX(v), toY(of[i]), of[i]]).filter((p) => Number.isFinite(p[2]));
    picture.append(svg("polyline", { class: name, points: points.map((p) => `${p[0].toFixed(1)},${p[1].toFixed(1)}`).join(" ") }));
    if (dots || points.length < 2)
      for (const p of points) picture.append(svg("circle", { class: name, cx: p[0], cy: p[1], r: 3.5 }));
  }
  const head = svg("line", { class: "head", y1: top, y2: height - bottom, visibility: "hidden" });
  picture.append(head);
  if (pick)
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * width;
      pick(x.reduce((best, v, i) => (Math.abs(toX(v) - at) < Math.abs(toX(x[best]) - at) ? i : best), 0));
    });
  const titles = { JF: "J&F", N: "N-acc", T: "T-acc" };
  const names = Object.keys(series).map((n) => el("span", {}, el("i", { class: n }), titles[n] || n));
  host.replaceChildren(picture, el("div", { class: "names" }, ...names));
  return (v) => {
    head.setAttribute("x1", toX(v));
    head.setAttribute("x2", toX(v));
    head.setAttribute("visibility", "visible");
  };
}

// A difference as a bar from zero and its interval as a line from low to high; all bars have the scale of `most`.
function differenceBar(delta, low, high, most) {
  const toX = (v) => 60 + (v / (most || 1)) * 56;
  const colour = delta >= 0 ? "var(--good)" : "var(--bad)";
  const bar = svg("rect", { x: Math.min(60, toX(delta)), y: 3, height: 8, width: Math.abs(toX(delta) - 60), style: `fill:${colour}` });
  const range = Number.isFinite(low) && Number.isFinite(high)
    ? svg("line", { class: "whisker", x1: toX(low), x2: toX(high), y1: 7, y2: 7 }) : null;
  const zero = svg("line", { class: "grid", x1: 60, x2: 60, y1: 0, y2: 14 });
  return svg("svg", { viewBox: "0 0 120 14", style: "width:72px;display:inline-block", "aria-hidden": "true" }, bar, range, zero);
}
