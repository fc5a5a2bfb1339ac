"use strict";
// Images of a clip: unpacked from the page, or loaded from report/CLIP.js on demand.

const waiting = new Map(); // clip -> function that receives its JSON
const unpacked = new Map(); // clip -> promise of Pictures or null; the last KEPT of them
const KEPT = 4;

// Called by report/CLIP.js.
function receive(clip, body) {
  waiting.get(clip)?.(body);
}

function picturesOf(clip) {
  const pictures = unpacked.get(clip) ?? load(clip).then((body) => body && Pictures.unpack(body));
  unpacked.delete(clip);
  unpacked.set(clip, pictures);
  if (unpacked.size > KEPT) unpacked.delete(unpacked.keys().next().value);
  return pictures;
}

function load(clip) {
  const inPage = [...document.querySelectorAll("script.pictures")].find((s) => s.dataset.clip === clip);
  if (inPage) return Promise.resolve(JSON.parse(inPage.textContent));
  return new Promise((resolve) => {
    waiting.set(clip, resolve);
    const script = el("script", { src: `report/${encodeURIComponent(clip)}.js`, onerror: () => resolve(null) });
    document.head.append(script);
  }).finally(() => waiting.delete(clip));
}

const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

class Pictures {
  static async unpack(body) {
    const sheet = new Image();
    sheet.src = `data:image/webp;base64,${body.frames}`;
    const stream = new Blob([bytesOf(body.runs)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const [buffer] = await Promise.all([new Response(stream).arrayBuffer(), sheet.decode()]);
    return new Pictures(body, sheet, new Uint16Array(buffer));
  }

  constructor({ size: [height, width], times, names, columns, rows, truth, empty, signals }, sheet, numbers) {
    Object.assign(this, { height, width, times, names, columns, rows, truth, empty, signals, sheet, numbers });
    const sequences = 1 + Math.max(-1, ...Object.values(truth), ...Object.values(rows).flatMap(Object.values));
    const frames = sequences * times.length;
    this.starts = new Uint32Array(frames); // index of the first run of each frame
    for (let k = 0, at = frames; k < frames; k++) {
      this.starts[k] = at;
      at += numbers[k];
    }
    const canvas = el("canvas", { width, height });
    this.scratch = canvas.getContext("2d", { willReadFrequently: true });
  }

  // Selected frame number i, as new ImageData.
  frame(i) {
    const { width, height, columns } = this;
    const x = (i % columns) * width, y = Math.floor(i / columns) * height;
    this.scratch.drawImage(this.sheet, x, y, width, height, 0, 0, width, height);
    return this.scratch.getImageData(0, 0, width, height);
  }

  // Mask of sequence `number` at selected frame i: 0 or 1 per pixel.
  mask(number, i) {
    const mask = new Uint8Array(this.width * this.height), k = number * this.times.length + i;
    for (let r = 0, at = 0; r < this.numbers[k]; r++) {
      const run = this.numbers[this.starts[k] + r];
      if (r % 2) mask.fill(1, at, at + run);
      at += run;
    }
    return mask;
  }

  // Weighted sum of mask sequences at selected frame i: votes per pixel.
  votes(numbers, weights, i) {
    const votes = new Uint16Array(this.width * this.height);
    numbers.forEach((number, k) => {
      this.mask(number, i).forEach((on, at) => (votes[at] += on * weights[k]));
    });
    return votes;
  }
}

const TINT = [225, 20, 140], MISSING = [42, 125, 225], EXTRA = [240, 140, 0];
const HEAT = [[40, 20, 90], [150, 40, 120], [225, 90, 60], [250, 175, 40], [255, 250, 160]]; // from few votes to all votes

// Tints the mask in an image and draws its outline; with ground truth, colours missing and extra pixels.
function tint(picture, mask, truth = null) {
  const { data, width } = picture, length = mask.length;
  for (let p = 0; p < length; p++) {
    if (!mask[p] && !(truth && truth[p])) continue;
    const colour = truth ? (mask[p] ? (truth[p] ? TINT : EXTRA) : MISSING) : TINT;
    const column = p % width;
    const edge = mask[p] && (
      (column > 0 && !mask[p - 1]) || (column < width - 1 && !mask[p + 1]) || (p >= width && !mask[p - width]) ||
      (p + width < length && !mask[p + width]));
    blend(data, p, colour, edge ? 1 : truth && colour !== TINT ? 0.7 : 0.45);
  }
  return picture;
}

// Draws votes as a heat map over the darkened image.
function heat(picture, votes, total) {
  for (let p = 0; p < votes.length; p++) {
    blend(picture.data, p, [0, 0, 0], 0.45);
    if (!votes[p]) continue;
    const at = ((votes[p] / total) * (HEAT.length - 1)), below = Math.min(Math.floor(at), HEAT.length - 2);
    const colour = HEAT[below].map((c, k) => c + (at - below) * (HEAT[below + 1][k] - c));
    blend(picture.data, p, colour, 0.85);
  }
  return picture;
}

function blend(data, p, colour, share) {
  for (let k = 0; k < 3; k++) data[4 * p + k] = (1 - share) * data[4 * p + k] + share * colour[k];
}
