"use strict";
// Animated GIFs: one palette of 256 colours for all frames, LZW, endless loop.

const SHADES = 1 << 15; // colours are counted with five bits for red, green and blue
const shade = (data, p) => ((data[p] >> 3) << 10) | ((data[p + 1] >> 3) << 5) | (data[p + 2] >> 3);
const CHANNELS = [(s) => s >> 10, (s) => (s >> 5) & 31, (s) => s & 31];

// Median cut: [palette of up to 256 colours [r, g, b], Uint8Array: the colour of each shade].
function paletteOf(frames) {
  const counts = new Uint32Array(SHADES);
  for (const { data } of frames) for (let p = 0; p < data.length; p += 4) counts[shade(data, p)]++;
  const boxes = [boxOf([...counts.keys()].filter((s) => counts[s]), counts)];
  while (boxes.length < 256) {
    const widest = boxes.reduce((best, b) => (b.weight > best.weight ? b : best));
    if (!widest.weight) break;
    const { shades, channel } = widest, total = shades.reduce((sum, s) => sum + counts[s], 0);
    shades.sort((a, b) => channel(a) - channel(b));
    let cut = 0;
    for (let sum = counts[shades[0]]; cut < shades.length - 2 && sum < total / 2; sum += counts[shades[cut]]) cut++;
    boxes.splice(boxes.indexOf(widest), 1, boxOf(shades.slice(0, cut + 1), counts), boxOf(shades.slice(cut + 1), counts));
  }
  const colours = new Uint8Array(SHADES);
  boxes.forEach(({ shades }, i) => shades.forEach((s) => (colours[s] = i)));
  return [boxes.map((b) => meanOf(b.shades, counts)), colours];
}

// Shades with the channel in which they differ most; boxes of many pixels and different shades are divided first.
function boxOf(shades, counts) {
  const ranges = CHANNELS.map((of) => shades.reduce((m, s) => Math.max(m, of(s)), 0) - shades.reduce((m, s) => Math.min(m, of(s)), 31));
  const range = Math.max(...ranges);
  return { shades, channel: CHANNELS[ranges.indexOf(range)], weight: range * shades.reduce((sum, s) => sum + counts[s], 0) };
}

function meanOf(shades, counts) {
  const total = shades.reduce((sum, s) => sum + counts[s], 0) || 1;
  return CHANNELS.map((of) => Math.round((shades.reduce((sum, s) => sum + of(s) * counts[s], 0) / total) * (255 / 31)));
}

/* The bytes of a GIF. `frames` are ImageData of one size, `delay` is in hundredths of a second.
   Source: CompuServe, Graphics Interchange Format, version 89a; the loop is Netscape's extension. */
function gif(frames, delay) {
  const { width, height } = frames[0], [palette, colours] = paletteOf(frames), bytes = [];
  const word = (v) => bytes.push(v & 255, v >> 8), text = (t) => { for (const c of t) bytes.push(c.charCodeAt(0)); };
  text("GIF89a");
  word(width), word(height);
  bytes.push(0xf7, 0, 0); // a global palette of 256 colours
  for (let i = 0; i < 256; i++) bytes.push(...(palette[i] ?? [0, 0, 0]));
  bytes.push(0x21, 0xff, 11), text("NETSCAPE2.0"), bytes.push(3, 1, 0, 0, 0);
  for (const { data } of frames) {
    bytes.push(0x21, 0xf9, 4, 0), word(delay), bytes.push(0, 0);
    bytes.push(0x2c, 0, 0, 0, 0), word(width), word(height), bytes.push(0);
    const pixels = Uint8Array.from({ length: width * height }, (_, i) => colours[shade(data, 4 * i)]);
    compress(pixels, bytes);
  }
  bytes.push(0x3b);
  return Uint8Array.from(bytes);
}

// LZW with codes of 9 to 12 bits, in blocks of at most 255 bytes.
function compress(pixels, bytes) {
  const CLEAR = 256, END = 257, codes = new Map();
  let size = 9, next = END + 1, bits = 0, held = 0, block = [];
  const emit = (code) => {
    for (bits |= code << held, held += size; held >= 8; held -= 8, bits >>>= 8) {
      block.push(bits & 255);
      if (block.length === 255) bytes.push(255, ...block), (block = []);
    }
  };
  bytes.push(8);
  emit(CLEAR);
  let code = pixels[0];
  for (let i = 1; i < pixels.length; i++) {
    const key = (code << 8) | pixels[i], known = codes.get(key);
    if (known !== undefined) { code = known; continue; }
    emit(code);
    if (next === 4096) emit(CLEAR), codes.clear(), (next = END + 1), (size = 9);
    else {
      if (next === 1 << size) size++;
      codes.set(key, next++);
    }
    code = pixels[i];
  }
  emit(code);
  if (next === 1 << size && size < 12) size++;
  emit(END);
  if (held) block.push(bits & 255);
  if (block.length) bytes.push(block.length, ...block);
  bytes.push(0);
}
