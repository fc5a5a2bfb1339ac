"use strict";
// The tiles of an expression: the frame, ground truth, every source and step, and the votes of each vote.

// The rows: the frame, ground truth, every source and step, and after each vote a heat map of its votes.
function rowsOf(expression, data) {
  const rows = [{ label: "frame", keys: [] }, { label: "ground truth", truth: true, keys: [] }];
  data.steps.forEach((step, index) => {
    const notes = expression.notes[index] || {};
    rows.push({ label: step.name, name: step.name, index, keys: notes.keys || [], chosen: notes.chosen, gate: notes.gate, words: notes.words, ...curvesOf(expression, index, data) });
    if (!step.inputs) return;
    const group = notes.group || [expression.id];
    const voters = group.flatMap((id) => step.inputs.map((name, k) => ({ id, name, weight: step.weights[k] })));
    const total = voters.reduce((sum, v) => sum + v.weight, 0);
    rows.push({ label: `votes for ${step.name}`, index, keys: [], voters, total, votes: notes.votes ? `needs ${notes.votes}` : `of ${total}` });
  });
  return rows;
}

// A tile for every row that has masks: its picture, its scores, and what was decided about it.
function tilesOf(viewer) {
  const { pictures, expression } = viewer;
  const truth = pictures.truth[expression.id];
  const masks = pictures.rows[expression.id]; // steps of objects have no masks of an expression
  const rows = viewer.rows.filter((r) => (r.truth ? truth !== undefined : !r.name || masks[r.name] !== undefined));
  for (const row of rows) {
    row.mask = row.truth ? truth : row.name && masks[row.name];
    row.signals = (row.name && pictures.signals[expression.id][row.name]) || {};
    row.canvas = el("canvas", { width: pictures.width, height: pictures.height });
    const mean = row.name ? scoreOf(expression, row.index) : NaN;
    row.score = el("span", { class: "score" });
    const empty = row.truth ? expression.nothing : pictures.empty[expression.id]?.includes(row.name);
    row.panel = el("button", { type: "button", class: "panel", "aria-pressed": "false", onclick: () => viewer.choose(row), ondblclick: () => viewer.enlarge() },
      row.canvas, el("b", {}, row.label), row.score, Number.isFinite(mean) ? el("small", { class: "mean" }, ` mean ${percent(mean)}`) : null,
      row.votes ? el("small", {}, ` ${row.votes}`) : null,
      row.gate ? el("small", {}, ` ${row.gate}`) : null,
      row.chosen ? el("small", {}, ` ${row.chosen}`) : null,
      empty ? el("small", { class: row.truth || truth === undefined ? null : expression.nothing ? "up" : "down" },
        row.truth ? " refers to nothing" : " empty in all frames") : null);
  }
  return rows;
}

// J and F of every frame in percent, undefined if the step was not scored.
function curvesOf(expression, step, data) {
  if (!expression.curves) return {};
  expression.unpacked ??= new Uint16Array(bytesOf(expression.curves).buffer);
  const frames = data.clips[expression.clip][1], start = 2 * step * frames;
  const of = (from) => Array.from(expression.unpacked.subarray(from, from + frames), (v) => v / 10);
  return expression.unpacked[start] > 1000 ? {} : { J: of(start), F: of(start + frames) };
}

// The mean over frames of an expression in 0..1, NaN if the step was not scored.
function scoreOf(expression, step, metric = "J&F") {
  const J = expression.J[step], F = expression.F[step];
  if (J === null || J === undefined) return NaN;
  return metric === "J" ? J : metric === "F" ? F : (J + F) / 2;
}
