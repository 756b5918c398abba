"use strict";
// What was watched during a measurement, over time: a small plot for each profile, all on one scale.

const FRAME = { height: 180, marginLeft: 44, marginTop: 22, marginBottom: 34, marginRight: 16 };
const hasLines = (lines) => lines.lines.length > 0 && lines.lines.some((line) => line.values.some(known));

const ONE_ROUND = "Of the round of each profile whose throughput is in the middle.";
const roundOf = (view) => `round ${view.watched}`;
const inspectionOf = (view) => (view.is_inspected ? "inspection" : roundOf(view));

/** What only the service can tell is of one deployment more of each profile, where there was one. */
function inspected(views) {
  if (!views.some((view) => view.is_inspected)) return null;
  return el("p", { class: "aside" }, "Seen in the inspection: one deployment more of each profile, after the rounds, with the service’s metrics on. Telling costs it some percent, so none of these figures is compared.");
}

function overTime(title, how, views, { key, unit, scale = 1, colours, curve = "linear", shown = three, entries = [], without = UNWATCHED, of = roundOf, said = ONE_ROUND }) {
  if (!views.some((view) => hasLines(view[key]))) return missing(title, without);
  const top = d3.max(views, (view) => peak(view[key])) / scale;
  const alt = (view) => view[key].lines.map((line) => `${line.name} ${extent(line, (value) => shown(value / scale))} ${unit}`).join("; ");
  const draw = (view, at, width) => {
    const rows = points(view[key]).map((row) => ({ ...row, value: row.value / scale }));
    return {
      ...FRAME, x: timeAxis(width), y: { domain: [0, top * 1.08 || 1], label: `↑ ${unit}`, ticks: 4, tickSize: 0 },
      marks: [
        warmUp(view[key].at_s), grid("y", { ticks: 4 }),
        Plot.line(rows, { x: "at", y: "value", z: "name", stroke: colours ? (row) => colours[row.name] ?? "var(--quiet)" : paint(at), strokeWidth: 1.5, curve }),
        rows.length > 24 ? null : Plot.dot(rows, { x: "at", y: "value", r: 2, fill: colours ? (row) => colours[row.name] ?? "var(--quiet)" : paint(at) }),
        tip(rows, { x: "at", y: "value", title: (row) => `${row.name}\n${shown(row.value)} ${unit} at ${three(row.at)} s` }),
      ],
    };
  };
  return figure(title, `${how} ${said}`, legend([...entries, WARM_UP]), multiples(views, (view) => hasLines(view[key]), alt, draw, { without, of }));
}

const memoryChart = (views) => overTime("Memory of each worker", "A line for each worker process: its proportional set size (PSS), so that shared pages count once. A line that keeps rising is a leak or a heap that still grows.", views,
  { key: "memory", unit: "MB", scale: MB, shown: whole });

const BUSY = { workers: "var(--ink)", PostgreSQL: "var(--part-1)", "load generator": "var(--part-0)", others: "var(--part-4)" };

const busyChart = (views) => overTime("Who used the CPUs", "Cores kept busy by the service, the database, the load generator, and whatever else ran.", views,
  { key: "busy", unit: "cores", colours: BUSY, entries: Object.entries(BUSY) });

const STATES = [["active", "active", "var(--part-1)"], ["idle_in_transaction", "idle in transaction", "var(--part-0)"], ["idle", "idle", "var(--part-2)"], ["other", "other states", "var(--part-3)"], ["foreign", "other programs", "var(--part-4)"]];

/** Sessions by state, stacked, with max_connections as a line; where it is far above, at the top edge with a word. */
function sessionsChart(views) {
  const title = "Database sessions by state";
  if (!views.some((view) => hasLines(view.sessions))) return missing(title, UNWATCHED);
  const stacks = new Map(views.map((view) => {
    const base = view.sessions.at_s.map(() => 0);
    const named = new Map(view.sessions.lines.map((line) => [line.name, line.values]));
    const layers = STATES.filter(([key]) => named.has(key)).flatMap(([key, name, colour]) => view.sessions.at_s.map((at, index) => {
      const y1 = base[index];
      base[index] += named.get(key)[index] ?? NaN; // a look that failed is a gap through the whole stack
      return { at, name, colour, y1, y2: base[index], value: base[index] - y1 };
    }));
    return [view, { layers, most: d3.max(base) ?? 0 }];
  }));
  const most = d3.max([...stacks.values()], (it) => it.most) || 1;
  const limit = d3.max(views, (view) => view.most_sessions);
  const isNear = known(limit) && limit <= most * 2.5;
  const top = isNear ? Math.max(limit, most) * 1.06 : most * 1.3;
  const alt = (view) => `at most ${whole(stacks.get(view).most)} sessions${known(view.most_sessions) ? ` of max_connections ${view.most_sessions}` : ""}; ${view.sessions.lines.map((line) => `${line.name} ${extent(line, whole)}`).join("; ")}`;
  const draw = (view, _, width) => {
    const { layers } = stacks.get(view);
    const said = isNear ? `max_connections ${limit}` : `max_connections ${limit}, above this scale`;
    return {
      ...FRAME, x: timeAxis(width), y: { domain: [0, top], label: "↑ sessions", ticks: 4, tickSize: 0 },
      marks: [
        warmUp(view.sessions.at_s), grid("y", { ticks: 4 }),
        Plot.areaY(layers, { x: "at", y1: "y1", y2: "y2", z: "name", fill: "colour", curve: "step-after" }),
        known(limit) ? Plot.ruleY([isNear ? limit : top], { stroke: "var(--bad)", strokeDasharray: isNear ? null : "5,3", strokeWidth: 1.5 }) : null,
        known(limit) ? Plot.text([isNear ? limit : top], { y: (value) => value, frameAnchor: "right", dy: 10, textAnchor: "end", text: () => said, fill: "var(--ink)", stroke: "var(--paper)", strokeWidth: 4 }) : null,
        tip(layers, { x: "at", y: "y2", title: (row) => `${row.name}: ${whole(row.value)}\n${three(row.at)} s` }),
      ],
    };
  };
  return figure(title, `Stacked. A session that is idle in transaction holds its locks and its connection for nothing. ${ONE_ROUND}`,
    legend(STATES.filter(([key]) => views.some((view) => view.sessions.lines.some((line) => line.name === key && peak({ lines: [line] }) > 0))).map(([, name, colour]) => [name, colour]).concat([WARM_UP])),
    multiples(views, (view) => hasLines(view.sessions), alt, draw, { without: UNWATCHED, of: roundOf }));
}

/** How long requests waited for a connection: shares of them, by the histogram's bounds, on a log scale. */
function waitChart(views) {
  const title = "How long requests waited for a connection";
  const total = (view) => d3.sum(view.pool_wait?.counts ?? []);
  if (!views.some((view) => total(view) > 0)) return missing(title, UNTOLD);
  const bars = (view) => view.pool_wait.counts.map((count, at) => {
    const bounds = view.pool_wait.bounds_s.map((bound) => bound * 1000);
    return { x1: bounds[at - 1] ?? bounds[0] / 2.5, x2: bounds[at] ?? bounds.at(-1) * 2.5, share: count / total(view), count, isFirst: at === 0, isLast: at === bounds.length, from: bounds[at - 1], to: bounds[at] };
  });
  const said = (bar) => (bar.isFirst ? `at most ${three(bar.to)} ms` : bar.isLast ? `more than ${three(bar.from)} ms` : `${three(bar.from)} to ${three(bar.to)} ms`);
  const all = views.filter((view) => total(view) > 0).flatMap(bars);
  const least = d3.min(all, (bar) => bar.x1);
  const domain = [least, Math.max(100 * least, d3.max(all, (bar) => (bar.count ? bar.x2 : 0)))]; // the longest bounds are seconds
  const top = d3.max(all, (bar) => bar.share);
  const timeouts = (view) => (known(view.pool_timeouts) ? `${whole(view.pool_timeouts)} timeouts; ` : "");
  const alt = (view) => timeouts(view) + bars(view).filter((bar) => bar.count).map((bar) => `${said(bar)}: ${percent(bar.share)}`).join("; ");
  const draw = (view, at, width) => ({
    ...FRAME, x: { type: "log", domain, label: "ms waited →" },
    y: { domain: [0, top * 1.1], label: "↑ share of waits", tickFormat: roundPercent, ticks: 4, tickSize: 0 },
    marks: [
      grid("y", { ticks: 4 }), logAxis("x", logTicks(domain, width - 60, 40)),
      Plot.rectY(bars(view).filter((bar) => bar.count), { x1: "x1", x2: "x2", y: "share", inset: 0.5, fill: paint(at), title: (bar) => `${said(bar)}: ${percent(bar.share)}` }),
      known(view.pool_timeouts) ? Plot.text([0], { frameAnchor: "top-right", text: () => `${whole(view.pool_timeouts)} timeouts`, fill: "var(--ink)" }) : null,
    ],
  });
  return figure(title, "Shares of the waits, log scale; the first bar is everything below its bound.", multiples(views, (view) => total(view) > 0, alt, draw, { without: UNTOLD, of: (view) => (view.is_inspected ? "inspection" : null) }));
}

const POOL = { pool_checked_out: "var(--part-1)", pool_waiting: "var(--part-0)" };

const poolChart = (views) => overTime("The pool over time", "Connections checked out, and requests that wait for one, of all workers together.", views,
  { key: "pool", unit: "count", colours: POOL, curve: "step-after", shown: whole, without: UNTOLD, of: inspectionOf, said: "", entries: [["connections checked out", POOL.pool_checked_out], ["requests waiting", POOL.pool_waiting]] });

const LOOP = { loop_lag_ms: "var(--part-1)", gc_pause_ms: "var(--part-0)" };

const loopChart = (views) => overTime("Event loop and garbage collector", "How late the event loop of the slowest worker was, at most, in about the last second; and for how long the garbage collector stopped the workers between two looks. A request waits for both.", views,
  { key: "loop", unit: "ms", colours: LOOP, without: UNTOLD, of: inspectionOf, said: "", entries: [["event loop lag", LOOP.loop_lag_ms], ["collector’s pauses", LOOP.gc_pause_ms]] });
