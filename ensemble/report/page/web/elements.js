"use strict";
// Elements and numbers. Text is always inserted as text, never as HTML, because expressions may contain anything.

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
  return isZero(value) ? "0.0" : (value > 0 ? "+" : "−") + (100 * Math.abs(value)).toFixed(1);
}

// What is shown as 0.0 is neither a gain nor a loss.
const isZero = (value) => (100 * Math.abs(value)).toFixed(1) === "0.0";
const direction = (value) => (!Number.isFinite(value) || isZero(value) ? "" : value > 0 ? "up" : "down");
const interval = (low, high) => (Number.isFinite(low) ? `[${signed(low)}, ${signed(high)}]` : "");

// A number with its noun: "1 clip", "2 clips".
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
