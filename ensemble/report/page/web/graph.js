"use strict";
// The pipeline as a graph: a column of buttons for each depth, an arrow from each input to the step that reads it.

const NODE = { width: 172, height: 46, across: 44, down: 10, margin: 8 };

/* The place of every source and step: {name: [column, row]}. A step is to the right of everything that it reads; within
   a column, steps are ordered by the mean place of what they read, so that few arrows cross. */
function placesOf(steps) {
  const depth = {}, columns = [], row = {};
  for (const s of steps) {
    depth[s.name] = 1 + Math.max(-1, ...s.reads.map((name) => depth[name] ?? -1));
    (columns[depth[s.name]] ??= []).push(s);
  }
  const tallest = Math.max(...columns.map((c) => c.length));
  columns.forEach((column, c) => {
    const mean = (s) => s.reads.reduce((sum, name) => sum + row[name], 0) / (s.reads.length || 1);
    if (c) column.sort((a, b) => mean(a) - mean(b));
    column.forEach((s, i) => (row[s.name] = i + (tallest - column.length) / 2));
  });
  return { at: Object.fromEntries(steps.map((s) => [s.name, [depth[s.name], row[s.name]]])), columns: columns.length, rows: tallest };
}

// The path of an arrow. Past columns between its ends it runs in a gap above or below their nodes, whose tops are given.
function edgePath([x0, y0], [x1, y1], tops) {
  const { height, across, down } = NODE, half = across / 2, straight = (y0 + y1) / 2;
  if (!tops.length) return `M${x0} ${y0}C${x0 + half} ${y0} ${x1 - half} ${y1} ${x1} ${y1}`;
  const isFree = (y) => tops.every((top) => y < top - 2 || y > top + height + 2);
  const gaps = [straight, ...tops.flatMap((top) => [top - down / 2, top + height + down / 2])].filter(isFree);
  const y = gaps.reduce((best, gap) => (Math.abs(gap - straight) < Math.abs(best - straight) ? gap : best));
  return `M${x0} ${y0}C${x0 + half} ${y0} ${x0 + half} ${y} ${x0 + across} ${y}H${x1 - across}C${x1 - half} ${y} ${x1 - half} ${y1} ${x1} ${y1}`;
}

// Draws the graph into `host`; a click on a node calls `pick` with its step.
function drawGraph(host, { steps, output, measure }, pick) {
  const { at, columns, rows } = placesOf(steps), { width, height, across, down, margin } = NODE;
  const size = [2 * margin + columns * (width + across) - across, 2 * margin + rows * (height + down) - down];
  const corner = (name) => [margin + at[name][0] * (width + across), margin + at[name][1] * (height + down)];
  const arrow = svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" },
    svg("path", { class: "tip", d: "M0 0 8 4 0 8z" }));
  const edges = steps.flatMap((s) => s.reads.filter((name) => at[name]).map((name) => {
    const [x0, y0] = corner(name), [x1, y1] = corner(s.name), from = [x0 + width, y0 + height / 2], to = [x1, y1 + height / 2];
    const between = steps.filter((o) => at[o.name][0] > at[name][0] && at[o.name][0] < at[s.name][0]).map((o) => corner(o.name)[1]);
    return svg("path", { class: "edge", "data-from": name, "data-to": s.name, "marker-end": "url(#tip)", d: edgePath(from, to, between) });
  }));
  const nodes = steps.map((s) => {
    const [left, top] = corner(s.name), score = s.means?.at(-1), gain = s.gain?.[0];
    const text = Number.isFinite(score) ? percent(score) : s.means || !measure ? "" : "objects";
    const about = [s.what, Number.isFinite(score) ? `${measure} ${percent(score)}` : "", s.reads.length ? `reads ${s.reads.join(", ")}` : "", s.name === output ? "output" : ""];
    return el("button", {
      type: "button", class: `node${s.source ? " source" : ""}${s.name === output ? " output" : ""}`, "data-step": s.name, "aria-pressed": "false",
      style: `left:${left}px;top:${top}px;width:${width}px;height:${height}px`, title: s.what,
      "aria-label": `${s.name}: ${about.filter(Boolean).join("; ")}`, onclick: () => pick(s),
    }, el("b", {}, s.name), el("span", {}, text, Number.isFinite(gain) ? el("i", { class: direction(gain) }, ` ${signed(gain)}`) : null));
  });
  const picture = svg("svg", { viewBox: `0 0 ${size.join(" ")}`, width: size[0], height: size[1], "aria-hidden": "true" }, svg("defs", {}, arrow), ...edges);
  host.replaceChildren(el("div", { class: "graph", style: `width:${size[0]}px;height:${size[1]}px` }, picture, ...nodes));
}

// Marks a step and its arrows.
function markGraph(host, name) {
  for (const node of host.querySelectorAll(".node")) node.setAttribute("aria-pressed", String(node.dataset.step === name));
  for (const edge of host.querySelectorAll(".edge"))
    edge.classList.toggle("marked", edge.dataset.from === name || edge.dataset.to === name);
}
