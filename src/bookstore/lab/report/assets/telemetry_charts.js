"use strict";
// Telemetry over time: a small plot for each profile, all on a common scale.

const FRAME = { height: 180, marginLeft: 44, marginTop: 22, marginBottom: 34, marginRight: 16 };
const hasLines = (lines) => lines.lines.length > 0 && lines.lines.some((line) => line.values.some(isKnown));

const ONE_ROUND = "Each plot shows the profile’s round with the median throughput.";
const roundOf = (view) => `round ${view.watched}`;
const inspectionOf = (view) => (view.is_inspected ? "inspection" : roundOf(view));

/** The source of figures that only the service can report: the inspection, if there was one. */
function inspectionNote(views) {
  if (!views.some((view) => view.is_inspected)) return null;
  return el("p", { class: "aside" }, "Measured in the inspection: one more deployment of each profile after the rounds, with the service’s metrics enabled. Metrics cost a few percent, so none of these figures is compared.");
}

function overTime(title, how, views, { key, unit, scale = 1, colours, curve = "linear", format = threeDigits, entries = [], without = UNWATCHED, of = roundOf, source = ONE_ROUND }) {
  if (!views.some((view) => hasLines(view[key]))) return noData(title, without);
  const top = d3.max(views, (view) => peak(view[key])) / scale;
  const alt = (view) => view[key].lines.map((line) => `${line.name} ${extent(line, (value) => format(value / scale))} ${unit}`).join("; ");
  const draw = (view, at, width) => {
    const rows = points(view[key]).map((row) => ({ ...row, value: row.value / scale }));
    return {
      ...FRAME, x: timeAxis(width), y: { domain: [0, top * 1.08 || 1], label: `↑ ${unit}`, ticks: 4, tickSize: 0 },
      marks: [
        warmUp(view[key].at_s), grid("y", { ticks: 4 }),
        Plot.line(rows, { x: "at", y: "value", z: "name", stroke: colours ? (row) => colours[row.name] ?? "var(--quiet)" : paint(at), strokeWidth: 1.5, curve }),
        rows.length > 24 ? null : Plot.dot(rows, { x: "at", y: "value", r: 2, fill: colours ? (row) => colours[row.name] ?? "var(--quiet)" : paint(at) }),
        tip(rows, { x: "at", y: "value", title: (row) => `${row.name}\n${format(row.value)} ${unit} at ${threeDigits(row.at)} s` }),
      ],
    };
  };
  return figure(title, `${how} ${source}`, legend([...entries, WARM_UP]), multiples(views, (view) => hasLines(view[key]), alt, draw, { without, of }));
}

const memoryChart = (views) => overTime("Memory of each worker", "One line per worker process: its proportional set size (PSS), in which shared pages count once. A line that keeps rising is a leak or a heap that is still growing.", views,
  { key: "memory", unit: "MB", scale: MB, format: whole });

const BUSY = { workers: "var(--ink)", PostgreSQL: "var(--part-1)", "load generator": "var(--part-0)", others: "var(--part-4)" };

const busyChart = (views) => overTime("CPU usage", "Cores used by the service, the database, the load generator and other processes.", views,
  { key: "busy", unit: "cores", colours: BUSY, entries: Object.entries(BUSY) });

const STATES = [["active", "active", "var(--part-1)"], ["idle_in_transaction", "idle in transaction", "var(--part-0)"], ["idle", "idle", "var(--part-2)"], ["other", "other states", "var(--part-3)"], ["foreign", "other programs", "var(--part-4)"]];

/** Sessions by state, stacked, with max_connections as a line; if it is off the scale, a labelled line at the top. */
function sessionsChart(views) {
  const title = "Database sessions by state";
  if (!views.some((view) => hasLines(view.sessions))) return noData(title, UNWATCHED);
  const stacks = new Map(views.map((view) => {
    const base = view.sessions.at_s.map(() => 0);
    const named = new Map(view.sessions.lines.map((line) => [line.name, line.values]));
    const layers = STATES.filter(([key]) => named.has(key)).flatMap(([key, name, colour]) => view.sessions.at_s.map((at, index) => {
      const y1 = base[index];
      base[index] += named.get(key)[index] ?? NaN; // a failed reading is a gap through the whole stack
      return { at, name, colour, y1, y2: base[index], value: base[index] - y1 };
    }));
    return [view, { layers, most: d3.max(base) ?? 0 }];
  }));
  const most = d3.max([...stacks.values()], (it) => it.most) || 1;
  const limit = d3.max(views, (view) => view.most_sessions);
  const isNear = isKnown(limit) && limit <= most * 2.5;
  const top = isNear ? Math.max(limit, most) * 1.06 : most * 1.3;
  const alt = (view) => `at most ${whole(stacks.get(view).most)} sessions${isKnown(view.most_sessions) ? ` of max_connections ${view.most_sessions}` : ""}; ${view.sessions.lines.map((line) => `${line.name} ${extent(line, whole)}`).join("; ")}`;
  const draw = (view, _, width) => {
    const { layers } = stacks.get(view);
    const limitLabel = isNear ? `max_connections ${limit}` : `max_connections ${limit}, above this scale`;
    return {
      ...FRAME, x: timeAxis(width), y: { domain: [0, top], label: "↑ sessions", ticks: 4, tickSize: 0 },
      marks: [
        warmUp(view.sessions.at_s), grid("y", { ticks: 4 }),
        Plot.areaY(layers, { x: "at", y1: "y1", y2: "y2", z: "name", fill: "colour", curve: "step-after" }),
        isKnown(limit) ? Plot.ruleY([isNear ? limit : top], { stroke: "var(--bad)", strokeDasharray: isNear ? null : "5,3", strokeWidth: 1.5 }) : null,
        isKnown(limit) ? Plot.text([isNear ? limit : top], { y: (value) => value, frameAnchor: "right", dy: 10, textAnchor: "end", text: () => limitLabel, fill: "var(--ink)", stroke: "var(--paper)", strokeWidth: 4 }) : null,
        tip(layers, { x: "at", y: "y2", title: (row) => `${row.name}: ${whole(row.value)}\n${threeDigits(row.at)} s` }),
      ],
    };
  };
  return figure(title, `Stacked. A session that is idle in transaction holds its locks and its connection without using them. ${ONE_ROUND}`,
    legend(STATES.filter(([key]) => views.some((view) => view.sessions.lines.some((line) => line.name === key && peak({ lines: [line] }) > 0))).map(([, name, colour]) => [name, colour]).concat([WARM_UP])),
    multiples(views, (view) => hasLines(view.sessions), alt, draw, { without: UNWATCHED, of: roundOf }));
}

/** The distribution of the waits for a connection, by the histogram's bounds, on a log scale. */
function waitChart(views) {
  const title = "Wait for a connection";
  const total = (view) => d3.sum(view.pool_wait?.counts ?? []);
  if (!views.some((view) => total(view) > 0)) return noData(title, UNTOLD);
  const bars = (view) => view.pool_wait.counts.map((count, at) => {
    const bounds = view.pool_wait.bounds_s.map((bound) => bound * 1000);
    return { x1: bounds[at - 1] ?? bounds[0] / 2.5, x2: bounds[at] ?? bounds.at(-1) * 2.5, share: count / total(view), count, isFirst: at === 0, isLast: at === bounds.length, from: bounds[at - 1], to: bounds[at] };
  });
  const describeBar = (bar) => (bar.isFirst ? `at most ${threeDigits(bar.to)} ms` : bar.isLast ? `more than ${threeDigits(bar.from)} ms` : `${threeDigits(bar.from)} to ${threeDigits(bar.to)} ms`);
  const all = views.filter((view) => total(view) > 0).flatMap(bars);
  const least = d3.min(all, (bar) => bar.x1);
  const domain = [least, Math.max(100 * least, d3.max(all, (bar) => (bar.count ? bar.x2 : 0)))]; // the longest bounds are seconds
  const top = d3.max(all, (bar) => bar.share);
  const timeouts = (view) => (isKnown(view.pool_timeouts) ? `${whole(view.pool_timeouts)} timeouts; ` : "");
  const alt = (view) => timeouts(view) + bars(view).filter((bar) => bar.count).map((bar) => `${describeBar(bar)}: ${percent(bar.share)}`).join("; ");
  const draw = (view, at, width) => ({
    ...FRAME, x: { type: "log", domain, label: "wait, ms →" },
    y: { domain: [0, top * 1.1], label: "↑ share of requests", tickFormat: roundPercent, ticks: 4, tickSize: 0 },
    marks: [
      grid("y", { ticks: 4 }), logAxis("x", logTicks(domain, width - 60, 40)),
      Plot.rectY(bars(view).filter((bar) => bar.count), { x1: "x1", x2: "x2", y: "share", inset: 0.5, fill: paint(at), title: (bar) => `${describeBar(bar)}: ${percent(bar.share)}` }),
      isKnown(view.pool_timeouts) ? Plot.text([0], { frameAnchor: "top-right", text: () => `${whole(view.pool_timeouts)} timeouts`, fill: "var(--ink)" }) : null,
    ],
  });
  return figure(title, "Share of requests by the time they waited, on a log scale. The first bar covers everything below its bound.", multiples(views, (view) => total(view) > 0, alt, draw, { without: UNTOLD, of: (view) => (view.is_inspected ? "inspection" : null) }));
}

const POOL = { pool_checked_out: "var(--part-1)", pool_waiting: "var(--part-0)" };

const poolChart = (views) => overTime("Connection pool over time", "Connections checked out and requests waiting for one, of all workers together.", views,
  { key: "pool", unit: "count", colours: POOL, curve: "step-after", format: whole, without: UNTOLD, of: inspectionOf, source: "", entries: [["connections checked out", POOL.pool_checked_out], ["requests waiting", POOL.pool_waiting]] });

const LOOP = { loop_lag_ms: "var(--part-1)", gc_pause_ms: "var(--part-0)" };

const loopChart = (views) => overTime("Event loop and garbage collector", "Largest event-loop lag of any worker in about the last second, and the garbage-collection pauses since the previous reading. A request waits for both.", views,
  { key: "loop", unit: "ms", colours: LOOP, without: UNTOLD, of: inspectionOf, source: "", entries: [["event loop lag", LOOP.loop_lag_ms], ["garbage-collection pauses", LOOP.gc_pause_ms]] });
