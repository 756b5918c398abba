"use strict";
// Common parts of all plots: size, colour, time axis, legends. Colours are CSS variables, for dark mode and print.

const SYMBOLS = ["circle", "square", "diamond", "triangle", "star", "wye", "times"];
const paint = (at) => `var(--profile-${at % SYMBOLS.length})`;
const symbol = (at) => SYMBOLS[at % SYMBOLS.length];

const resized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) target.draw(Math.floor(contentRect.width));
});

/** A box with the SVG of `draw(width)`, redrawn when its width changes. `alt` is the text alternative. */
function plot(alt, draw) {
  const box = el("div", { class: "plot" });
  let last = 0;
  box.draw = (width) => {
    if (width < 80 || width === last) return;
    last = width;
    const svg = Plot.plot({ width, marginRight: 16, ...draw(width) });
    svg.querySelectorAll("style").forEach((it) => it.remove()); // page.css has these rules; the policy allows no other style
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", alt);
    box.replaceChildren(svg);
  };
  resized.observe(box);
  return box;
}

/** A plot with its title, a caption, and its figures as a table. */
function figure(title, how, ...children) {
  return el("figure", {}, el("figcaption", {}, el("h3", {}, title), how ? el("p", {}, how) : null), ...children);
}

const noData = (title, why) => el("figure", { class: "missing" }, el("figcaption", {}, el("h3", {}, title)), el("p", {}, why));

function swatch(colour, shape) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  const path = document.createElementNS(namespace, "path");
  for (const [key, value] of Object.entries({ viewBox: "-7 -7 14 14", width: 12, height: 12, "aria-hidden": "true" })) svg.setAttribute(key, value);
  const type = shape === "bar" ? { draw: (context) => context.rect(-6, -6, 12, 12) } : d3[`symbol${shape[0].toUpperCase()}${shape.slice(1)}`];
  path.setAttribute("d", d3.symbol(type, 70)());
  path.setAttribute(shape === "times" ? "stroke" : "fill", colour);
  svg.append(path);
  return svg;
}

/** `entries` are [text, colour, shape]. */
const legend = (entries) => el("ul", { class: "legend" }, entries.map(([text, colour, shape]) => el("li", {}, swatch(colour, shape ?? "bar"), el("span", { class: "name" }, pieces(text)))));

const profileLegend = (views) => legend(views.map((view, at) => [view.label, paint(at), symbol(at)]));

/** A small plot for each profile on a common scale, drawn by `draw(view, at, width)`. `without` is the reason if there
 * is no data; `of(view)` names the source in the title. */
function multiples(views, has, alt, draw, { without, of = () => null }) {
  return el("div", { class: "multiples" }, views.map((view, at) =>
    el("div", {}, el("h4", {}, swatch(paint(at), symbol(at)), el("span", { class: "name" }, pieces(view.label)), el("small", {}, of(view) ?? "")),
      has(view) ? plot(`${view.label}: ${alt(view)}`, (width) => draw(view, at, width)) : el("p", { class: "missing" }, without)),
  ));
}

/** {at_s, lines} as rows {at, name, value} for marks; gaps stay gaps. */
const points = (lines) => lines.lines.flatMap((line) => lines.at_s.map((at, index) => ({ at, name: line.name, value: line.values[index] ?? NaN })));

const peak = (lines) => d3.max(lines.lines, (line) => d3.max(line.values)) ?? 0;
const extent = (line, format) => `${format(d3.min(line.values))} to ${format(d3.max(line.values))}`;

const timeAxis = (width) => ({ label: "time, s →", ticks: Math.min(8, Math.floor(width / 70)), tickSize: 0, labelAnchor: "right" });

/** Grey background of the warm-up, which no figure includes. */
const warmUp = (at_s) => (at_s[0] < 0 ? Plot.rect([0], { x1: at_s[0], x2: 0, fill: "var(--ground)" }) : null);
const WARM_UP = ["warm-up, excluded", "var(--ground)"];

/** 1, 2 and 5 times the powers of ten in the domain of a log scale, at least `least` pixels apart. */
function logTicks([low, high], pixels, least = 30) {
  const all = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1).map((power) => 10 ** power);
  const apart = (ratio) => (pixels * Math.log10(ratio)) / Math.log10(high / low) >= least;
  const steps = apart(2) ? [1, 2, 5] : apart(3) ? [1, 3] : [1];
  return all.flatMap((power) => steps.map((step) => Number((power * step).toPrecision(1)))).filter((tick) => tick >= low && tick <= high);
}

/** The axis of a log scale with these ticks; D3's own format omits the 5s. */
const logAxis = (axis, ticks, options = {}) => Plot[axis === "x" ? "axisX" : "axisY"](ticks, { text: plain, tickSize: 0, ...options });

const plain = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });

const grid = (axis, options = {}) => Plot[axis === "x" ? "gridX" : "gridY"]({ stroke: "var(--line)", strokeOpacity: 1, ...options });

const tip = (rows, options) => Plot.tip(rows, Plot.pointer({ fill: "var(--paper)", stroke: "var(--quiet)", fontSize: 12, ...options }));
