"use strict";
// Where the results come from: paths, hashes, versions and the whole recipe.

function showProvenance({ provenance }) {
  const section = document.getElementById("provenance");
  section.hidden = !provenance;
  if (!provenance) return;
  const list = (title, values) => [el("h3", {}, title), el("dl", {}, ...Object.entries(values).flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)]))];
  section.querySelector("details").append(
    ...list("Paths", provenance.paths), ...list("Versions", provenance.versions), ...list("Hashes", provenance.hashes),
    el("p", { class: "hint" }, "BLAKE2b. The hash of a result covers everything that it depends on: settings, code, weights, frames, and the results that it is computed from."),
    el("h3", {}, "Recipe, everything resolved"), el("pre", { tabindex: 0, role: "region", "aria-label": "recipe" }, provenance.recipe));
}
