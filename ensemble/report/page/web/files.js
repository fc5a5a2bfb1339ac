"use strict";
// Files that the page offers: pictures, animations and tables.

// Hands a file to the browser, which asks the reader or saves it.
function save(name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name.replace(/[^\w.-]+/g, "_") });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function savePicture(name, canvas) {
  save(`${name}.png`, await new Promise((done) => canvas.toBlob(done)));
}

// `draw(i)` returns a canvas with frame number i; they all have one size.
function saveGif(name, frames, draw) {
  const images = Array.from({ length: frames }, (_, i) => {
    const canvas = draw(i);
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  });
  save(`${name}.gif`, new Blob([gif(images, Math.round(FRAME_MS / 10))], { type: "image/gif" }));
}

// `rows` are arrays of texts and numbers.
function saveTable(name, rows) {
  save(`${name}.csv`, new Blob([rows.map((row) => row.map(csvCell).join(",") + "\r\n").join("")], { type: "text/csv" }));
}

// Quoted as in RFC 4180 where that is necessary; a score that does not exist is empty.
function csvCell(value) {
  const text = value === null || value === undefined || Number.isNaN(value) ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
