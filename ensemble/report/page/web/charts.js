"use strict";
// Charts in SVG: curves over frames or settings, bars of differences, histograms of scores.

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
   names in the style sheet have colours. `marks` are the x of key frames, `whiskers` are [x, low, high]. A click on the chart
   calls `pick` with the index of the nearest x. */
function curves(host, { x, series, label, range = null, marks = [], whiskers = [], dots = false, xTicks = null, pick = null, height = 190 }) {
  const width = Math.max(280, host.clientWidth || 600), left = 34, right = 10, top = 8, bottom = 22;
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
  for (const v of xTicks || ticks(first, last, Math.min(8, width / 70)).filter((v) => v >= first && v <= last && (Number.isInteger(v) || !x.every(Number.isInteger))))
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
  const names = Object.keys(series).map((n) => el("span", {}, el("i", { class: n }), titles[n] || n.replaceAll("_", " ")));
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

const BINS = 10;

/* Numbers of values in BINS equal intervals of 0..1, as bars. A large one has an axis in percent; `marked` is a value that
   a line marks. */
function histogram(values, label, { large = false, marked = NaN } = {}) {
  const counts = new Array(BINS).fill(0), width = large ? 320 : 112, height = large ? 110 : 20, bottom = large ? 18 : 1, top = large ? 14 : 1;
  for (const v of values) if (Number.isFinite(v)) counts[Math.min(BINS - 1, Math.floor(v * BINS))]++;
  const most = Math.max(1, ...counts), step = width / BINS, floor = height - bottom;
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, class: "histogram", role: "img",
    "aria-label": `${label} from 0 to 100 in ${BINS} equal intervals: ${counts.join(", ")}`,
  });
  picture.append(svg("line", { class: "grid", x1: 0, x2: width, y1: floor, y2: floor }));
  counts.forEach((n, i) => {
    const high = n ? Math.max(1.5, (n / most) * (floor - top)) : 0;
    picture.append(svg("rect", { x: i * step + 1, width: step - 2, y: floor - high, height: high }));
    if (large && n) picture.append(svg("text", { x: (i + 0.5) * step, y: floor - high - 3, "text-anchor": "middle" }, String(n)));
  });
  for (let v = 0; large && v <= 100; v += 20)
    picture.append(svg("text", { x: (v / 100) * width, y: height - 4, "text-anchor": v === 0 ? "start" : v === 100 ? "end" : "middle" }, String(v)));
  if (Number.isFinite(marked))
    picture.append(svg("line", { class: "mean", x1: marked * width, x2: marked * width, y1: 0, y2: floor }));
  return picture;
}
