"use strict";
// A sweep: heat maps of its grid, curves along the columns, each variant's law, a table of every cell.

const SCALES = {
  throughput_per_s: { title: "Requests per second of each cell", unit: "req/s", colour: "var(--profile-1)", how: "A stronger colour is a higher throughput." },
  p99_ms: { title: "p99 of each cell", unit: "ms", colour: "var(--profile-2)", how: "99 % of requests took at most this long, in ms. A stronger colour is slower." },
};
const FAINTEST = 4;
const STRONGEST = 45; // percent of the colour in the background; text stays readable

/** A row for each cell: its position in the grid and its figures, if it has a valid round. */
function cellsOf({ run, sweep }) {
  return sweep.grid.variants.flatMap((variant, at) => variant.labels.map((label, column) => ({
    at, label, variant: variant.name, value: sweep.grid.values[column], clients: Number(sweep.grid.values[column]),
    isBest: label === sweep.best, ...run.summary.find((one) => one.profile === label), interval: sweep.throughput[label] ?? {},
  })));
}

const cellTitle = (sweep, cell) => `${cell.variant}\n${sweep.grid.over}=${cell.value}`;

function heatMap(runView, key) {
  const { sweep } = runView;
  const { title, unit, colour, how } = SCALES[key];
  const cells = cellsOf(runView);
  const [low, high] = d3.extent(cells, (cell) => cell[key]);
  const share = low > 0 && low < high ? d3.scaleLog([low, high], [FAINTEST, STRONGEST]) : () => STRONGEST;
  const paintOf = (cell) => (isKnown(cell[key]) ? `color-mix(in srgb, ${colour} ${share(cell[key]).toFixed(1)}%, var(--paper))` : "var(--wash)");
  const names = sweep.grid.variants.map((variant) => variant.name);
  const alt = cells.map((cell) => `${cell.variant}, ${sweep.grid.over}=${cell.value}: ${isKnown(cell[key]) ? `${threeDigits(cell[key])} ${unit}` : "no valid round"}`).join("; ");
  const draw = (width) => {
    const marginLeft = Math.min(Math.max(...names.map((name) => name.length)) * 6.6 + 10, width * 0.36);
    const isRoomy = (width - marginLeft - 4) / sweep.grid.values.length >= 38;
    return {
      height: 46 + names.length * 34, marginLeft, marginRight: 4, marginTop: 4, marginBottom: 42,
      x: { type: "band", domain: sweep.grid.values, padding: 0.03, label: `${sweep.grid.over} →`, tickSize: 0 },
      y: { type: "band", domain: names, padding: 0.05, label: null, tickSize: 0 },
      marks: [
        Plot.axisY({ textOverflow: "ellipsis", lineWidth: (marginLeft - 8) / 12, tickSize: 0 }),
        Plot.cell(cells, { x: "value", y: "variant", fill: paintOf, stroke: "var(--line)", title: (cell) => `${cellTitle(sweep, cell)}\n${isKnown(cell[key]) ? `${threeDigits(cell[key])} ${unit}` : "no valid round"}` }),
        Plot.cell(cells.filter((cell) => cell.isBest), { x: "value", y: "variant", fill: "none", stroke: "var(--ink)", strokeWidth: 2.5 }),
        isRoomy ? Plot.text(cells, { x: "value", y: "variant", text: (cell) => threeDigits(cell[key]), fill: "var(--ink)", fontWeight: (cell) => (cell.isBest ? 700 : 400) }) : null,
      ],
    };
  };
  return figure(title, `${how} A frame marks the cell with the highest throughput.`, plot(alt, draw));
}

/** A line for each variant along the columns, and a dashed line for its law with the knee. */
function curveChart(runView, key) {
  const { sweep } = runView;
  const { unit } = SCALES[key];
  const isRate = key === "throughput_per_s";
  const cells = cellsOf(runView).filter((cell) => isKnown(cell[key]));
  const title = `${isRate ? "Throughput" : "p99"} against ${sweep.grid.over}`;
  if (!cells.length) return noData(title, "No valid round.");
  const isNumber = cells.every((cell) => cell.clients > 0);
  const along = isNumber ? "clients" : "value";
  const highOf = (cell) => (isRate ? cell.interval.high : null) ?? cell[key];
  const most = Math.min(d3.max(cells, highOf), d3.max(cells, (cell) => cell[key]) * 1.4) * 1.06;
  const laws = isRate ? sweep.laws : [];
  const knees = laws.filter(({ fit }) => !fit.is_poor && isKnown(fit.knee)).map((law) => ({ ...law, at: sweep.grid.variants.findIndex((it) => it.name === law.variant) }))
    .filter(({ fit, points }) => fit.knee >= points[0][0] && fit.knee <= points.at(-1)[0]);
  const least = d3.min(cells, (cell) => cell[key]) / 1.15;
  const alt = sweep.grid.variants.map((variant, at) => `${variant.name}: ${cells.filter((cell) => cell.at === at).map((cell) => `${threeDigits(cell[key])} at ${cell.value}`).join(", ")} ${unit}`).join("; ");
  const draw = (width) => {
    const values = isNumber ? [...new Set(cells.map((cell) => cell.clients))] : sweep.grid.values;
    const levels = isRate ? [] : logTicks([least, most], 280);
    return {
      height: 340, marginLeft: 50, marginTop: 24, marginBottom: 40,
      x: { type: isNumber ? "log" : "point", domain: isNumber ? d3.extent(values) : values, label: `${sweep.grid.over} →` },
      y: isRate ? { domain: [0, most], label: `↑ ${unit}`, tickSize: 0, ticks: 6 } : { type: "log", domain: [least, most], label: `↑ ${unit}` },
      marks: [
        isRate ? grid("y", { ticks: 6 }) : [grid("y", { ticks: levels }), logAxis("y", levels)],
        Plot.axisX(values, { text: (value) => String(value), tickSize: 0 }),
        laws.map((law) => Plot.line(law.points, { x: "0", y: "1", stroke: paint(sweep.grid.variants.findIndex((it) => it.name === law.variant)), strokeDasharray: "4,3" })),
        sweep.grid.variants.map((_, at) => {
          const own = cells.filter((cell) => cell.at === at);
          return [
            Plot.line(own, { x: along, y: key, stroke: paint(at), strokeWidth: laws.length ? 1 : 2 }),
            isRate ? Plot.ruleX(own.filter((cell) => isKnown(cell.interval.low)), { x: along, y1: (cell) => Math.max(0, cell.interval.low), y2: (cell) => Math.min(most, cell.interval.high), stroke: paint(at), strokeWidth: 2 }) : null,
            Plot.dot(own, { x: along, y: key, r: 4.5, symbol: symbol(at), fill: paint(at), stroke: "var(--paper)" }),
          ];
        }),
        Plot.dot(knees, { x: (law) => law.fit.knee, y: (law) => (law.fit.lambda_per_s.estimate * law.fit.knee) / 2, r: 5, symbol: "times", stroke: "var(--ink)", strokeWidth: 2, title: (law) => `knee of ${law.variant}: ${threeDigits(law.fit.knee)} clients` }), // there, a client gets half the throughput of a single one
        Plot.dot(cells.filter((cell) => cell.isBest), { x: along, y: key, r: 8, stroke: "var(--ink)", strokeWidth: 1.5 }),
        tip(cells, { x: along, y: key, title: (cell) => `${cellTitle(sweep, cell)}\n${threeDigits(cell[key])} ${unit}` }),
      ],
    };
  };
  const how = isRate ? `${cells.some((cell) => isKnown(cell.interval.low)) ? "Means with their 95 % intervals" : "A single round, without intervals"}${laws.length ? "; dashed lines: the universal scalability law, crosses: its knee" : ""}.` : "All requests of the valid rounds, on a log scale.";
  return figure(title, `${how} A ring marks the cell with the highest throughput.`, legend([...sweep.grid.variants.map((variant, at) => [variant.name, paint(at), symbol(at)]), ...(knees.length ? [["knee", "var(--ink)", "times"]] : [])]), plot(alt, draw));
}

function lawTable({ sweep }) {
  if (!sweep.laws.length) return sweep.knees.length ? el("p", { class: "missing" }, sweep.knees) : null;
  const both = (it) => [threeDigits(it.estimate), el("small", {}, ` ${range(it)}`)];
  const columns = [
    { head: "variant", text: true, cell: (law) => law.variant },
    { head: "single client (λ)", unit: "req/s", cell: (law) => both(law.fit.lambda_per_s) },
    { head: "contention (σ)", unit: "share", cell: (law) => both(law.fit.sigma) },
    { head: "coherency (κ)", unit: "per pair", cell: (law) => both(law.fit.kappa) },
    { head: "knee", unit: "clients", cell: (law) => (law.fit.is_poor ? NONE : threeDigits(law.fit.knee)) },
    { head: "peak", unit: "clients", cell: (law) => (law.fit.is_poor ? NONE : threeDigits(law.fit.peak)) },
    { head: "deviation", cell: (law) => percent(law.fit.deviation_ratio) },
    { head: "fit", text: true, cell: (law) => law.fit.told || "good" },
  ];
  return figure("The universal scalability law", "Fitted to each variant’s valid rounds, with 95 % intervals. From the knee, a client gets less than half the throughput of a single client. If the fit is poor, trust neither the curve nor the knee.",
    table(columns, sweep.laws, { caption: "The universal scalability law of each variant" }));
}

function cellsTable(runView) {
  const columns = [
    { head: "variant", text: true, cell: (cell) => cell.variant }, { head: runView.sweep.grid.over, cell: (cell) => cell.value },
    { head: "throughput", unit: "req/s", cell: (cell) => (cell.isBest ? el("b", {}, threeDigits(cell.throughput_per_s)) : threeDigits(cell.throughput_per_s)) },
    { head: "95 % interval", cell: (cell) => range(cell.interval) },
    ...[["p50", "p50_ms"], ["p99", "p99_ms"], ["max", "max_ms"]].map(([head, key]) => ({ head, unit: "ms", cell: (cell) => threeDigits(cell[key]) })),
    { head: "errors", cell: (cell) => whole(cell.errors) },
    { head: "CPU", unit: "ms/request", cell: (cell) => threeDigits(cell.cpu_ms_per_request) },
    { head: "PSS", unit: "MB", cell: (cell) => megabytes(cell.pss_bytes) },
    { head: "sessions", cell: (cell) => whole(cell.connections) },
    { head: "rounds", cell: (cell) => (cell.invalid_rounds ? `${cell.rounds} of ${cell.rounds + cell.invalid_rounds}` : whole(cell.rounds)), note: "Valid rounds" },
  ];
  return collapsible("Every cell as a table", table(columns, cellsOf(runView), { caption: "Every cell", dense: true, mark: (cell) => (cell.isBest ? "total" : null) }));
}

/** The section of a sweep, in place of each contender's throughput and ratios. */
function sweepSection(runView, prefix) {
  const { sweep } = runView;
  const maps = sweep.grid.variants.length > 1 ? el("div", { class: "pair" }, heatMap(runView, "throughput_per_s"), heatMap(runView, "p99_ms")) : null;
  return section(`${prefix}sweep`, "Sweep", maps, el("div", { class: "pair" }, curveChart(runView, "throughput_per_s"), curveChart(runView, "p99_ms")), lawTable(runView), cellsTable(runView));
}
