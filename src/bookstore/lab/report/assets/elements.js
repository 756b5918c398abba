"use strict";
// Elements and tables. Every value of a record becomes a text node, so it is never parsed as HTML.

const data = JSON.parse(document.getElementById("data").textContent);

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return node;
}

const NONE = "–";
const MB = 1e6;
const isKnown = (value) => value !== null && value !== undefined && !Number.isNaN(value);

/** The threeDigits digits that a measurement here supports: 0.082, 1.02, 24.1, 1,050. */
function threeDigits(value) {
  if (!isKnown(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 99.95) return Math.round(value).toLocaleString("en");
  if (size >= 9.995) return value.toFixed(1);
  return size >= 0.1 || size === 0 ? value.toFixed(2) : String(Number(value.toPrecision(2)));
}

const whole = (value) => (isKnown(value) ? Math.round(value).toLocaleString("en") : NONE);
const percent = (ratio) => (isKnown(ratio) ? `${threeDigits(ratio * 100)} %` : NONE);
const roundPercent = (ratio) => (!isKnown(ratio) ? NONE : ratio > 0 && ratio < 0.005 ? "< 1 %" : `${Math.round(ratio * 100)} %`);
const megabytes = (bytes) => (isKnown(bytes) ? whole(bytes / MB) : NONE);
const range = (it) => (isKnown(it.low) && isKnown(it.high) ? `${threeDigits(it.low)}–${threeDigits(it.high)}` : "no interval");

/** A long name in pieces, so that it can wrap after @ or a comma. */
const pieces = (text) => text.split(/(?<=[@,])/).flatMap((piece, at) => (at ? [el("wbr"), piece] : [piece]));

function moment(text) {
  const options = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC" };
  return `${new Date(text).toLocaleString("en-GB", options)} UTC`;
}

/** A value of a record as text: a mapping as `key: value` pairs, a list with semicolons. */
function asText(value) {
  if (!isKnown(value) || value === "") return NONE;
  if (Array.isArray(value)) return value.map(asText).join("; ") || NONE;
  if (typeof value === "object") return Object.entries(value).map(([key, it]) => [key, asText(it)]).filter(([, it]) => it !== NONE).map(([key, it]) => `${key}: ${it}`).join(", ") || NONE;
  return String(value);
}

/**
 * `columns` are {head, unit, cell(row), text, note}: text is left-aligned, figures are right-aligned. On a phone, a
 * table with `cards` shows each row as a card; other tables scroll sideways. `dense` is for many rows.
 */
function table(columns, rows, { caption, cards = false, dense = false, mark = () => null } = {}) {
  const head = columns.map((it) =>
    el("th", { scope: "col", class: it.text ? "text" : null, title: it.note }, it.head, it.unit ? el("small", {}, it.unit) : null),
  );
  const body = rows.map((row, number) =>
    el("tr", { class: mark(row, number) }, columns.map((it, at) =>
      el(at ? "td" : "th", { scope: at ? null : "row", class: it.text ? "text" : null, "data-label": it.unit ? `${it.head}${it.unit.startsWith("of ") ? "" : ","} ${it.unit}` : it.head }, it.cell(row, number)),
    )),
  );
  const made = el("table", { class: cards ? "cards" : dense ? "dense" : null }, caption ? el("caption", {}, caption) : null, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
  return cards ? made : el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption ?? "Table" }, made);
}

/** A list of names and values. */
function list(pairs) {
  return el("dl", {}, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function collapsible(title, ...children) {
  return el("details", {}, el("summary", {}, title), ...children);
}

addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach((it) => { it.open = true; it.dataset.printed = ""; }));
addEventListener("afterprint", () => document.querySelectorAll("details[data-printed]").forEach((it) => { it.open = false; delete it.dataset.printed; }));
