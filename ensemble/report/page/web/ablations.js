"use strict";
// Ablations: curves if one number is swept, a heat map if two keys are, and a table with a bar for each difference.

const ablationRows = JSON.parse(document.getElementById("ablations-data").textContent);

// A card per ablation.
function showAblations() {
  const rows = ablationRows;
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
  const map = parameter && heatMap(parameter, settings, measure);
  if (map) card.append(map);
  const most = Math.max(...rows.flatMap(gainOf).filter(Number.isFinite).map(Math.abs));
  const mostClips = Math.max(...rows.map((r) => r.clips)); // a search stops settings after a part of the clips
  const best = Math.max(...rows.filter((r) => r.clips === mostClips).map((r) => r[measure]).filter(Number.isFinite));
  const below = rows.some((r) => Number.isFinite(r["below oracle"])) ? ["below oracle"] : [];
  const measures = ["J", "F", "J&F", ...(final ? ["N-acc", "T-acc", "Final"] : []), ...below];
  const head = ["", ...(step ? [] : ["step"]), "", ...measures, "difference"];
  const line = (r) => {
    const [delta, low, high] = gainOf(r);
    return el("tr", { class: r[measure] === best && r.clips === mostClips ? "output" : null }, el("th", { scope: "row" }, r.label ?? ""),
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

// The scores of two swept keys as a table of coloured cells; null if other than two are swept, or single points are.
function heatMap(parameter, settings, measure) {
  const keys = parameter.split("; "), cells = settings.map((r) => [...r.values.split("; "), r[measure]]);
  if (keys.length !== 2 || cells.some((c) => c.length !== 3)) return null;
  const order = (values) => [...new Set(values)].sort((a, b) => (Number.isFinite(a - b) ? a - b : a < b ? -1 : 1));
  const down = order(cells.map((c) => c[0])), across = order(cells.map((c) => c[1]));
  const scores = cells.map((c) => c[2]).filter(Number.isFinite);
  if (!scores.length || 4 * cells.length < 3 * down.length * across.length) return null;
  const low = Math.min(...scores), high = Math.max(...scores);
  const cell = (a, b) => {
    const score = cells.find((c) => c[0] === a && c[1] === b)?.[2];
    if (!Number.isFinite(score)) return el("td", { class: "n" }, "–");
    const share = Math.round((70 * (score - low)) / (high - low || 1));
    return el("td", { class: score === high ? "n best" : "n", style: `background:color-mix(in srgb, var(--heat) ${share}%, var(--paper))` }, percent(score));
  };
  const short = keys.map((key) => key.split(".").slice(-2).join("."));
  return el("div", { class: "wide" }, el("table", { class: "heat" },
    el("caption", {}, `${measure}: rows ${short[0]}, columns ${short[1]}`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, `${short[0]} \\ ${short[1]}`), ...across.map((b) => el("th", { scope: "col", class: "n" }, b)))),
    el("tbody", {}, ...down.map((a) => el("tr", {}, el("th", { scope: "row" }, a), ...across.map((b) => cell(a, b)))))));
}
