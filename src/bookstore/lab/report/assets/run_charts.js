"use strict";
// The plots of one run. `views` has the data of each profile, computed in Python from samples and telemetry.

const UNWATCHED = "No data: this run was not watched.";
const UNTOLD = "No data: this requires the service’s metrics, and no profile was inspected or watched in this run.";

/** Requests per second: the mean with its interval, and each round as a small mark, a cross if it is invalid. */
function throughputChart(run, views) {
  const rows = views.map((view, at) => ({ at, label: view.label, mean: run.summary.find((one) => one.profile === view.label)?.throughput_per_s, interval: view.throughput ?? {} }));
  const rounds = run.rounds.flatMap((each) => each.measurements.map((one) => ({ label: one.profile, value: one.throughput_per_s, isValid: !one.problems.length, number: each.number })));
  const most = d3.max(rounds, (one) => one.value) || 1;
  const edge = d3.min([d3.max(rows, (row) => row.interval.high) ?? most, most * 1.4]); // the interval of few rounds may be ten times as wide
  const right = Math.max(most, edge) * 1.02;
  const alt = rows.map((row) => `${row.label} ${threeDigits(row.mean)} requests per second, 95 % interval ${range(row.interval)}`).join("; ");
  const draw = (width) => ({
    height: 34 + rows.length * 66, marginLeft: 2, marginTop: 8, marginBottom: 34,
    x: { domain: [0, right], label: "requests per second →", tickSize: 0, ticks: Math.min(8, width / 70) },
    y: { domain: rows.map((row) => row.label), axis: null },
    marks: [
      grid("x", { ticks: Math.min(8, width / 70) }),
      Plot.text(rows, { y: "label", frameAnchor: "left", dy: -18, textAnchor: "start", text: (row) => row.label, fontWeight: 600, fill: "var(--ink)", stroke: "var(--paper)", strokeWidth: 4 }),
      Plot.text(rows, { y: "label", frameAnchor: "right", dy: -18, textAnchor: "end", text: (row) => threeDigits(row.mean), fill: "var(--ink)", stroke: "var(--paper)", strokeWidth: 4 }),
      Plot.dot(rounds.filter((one) => one.isValid), { x: "value", y: "label", dy: 11, r: 2.5, fill: "var(--quiet)", fillOpacity: 0.75 }),
      Plot.dot(rounds.filter((one) => !one.isValid), { x: "value", y: "label", dy: 11, r: 3.5, symbol: "times", stroke: "var(--bad)", strokeWidth: 1.5 }),
      ...rows.flatMap((row) => [
        isKnown(row.interval.low) ? Plot.ruleY([row], { y: "label", x1: Math.max(0, row.interval.low), x2: Math.min(right, row.interval.high), stroke: paint(row.at), strokeWidth: 3, strokeLinecap: "round" }) : null,
        isKnown(row.mean) ? Plot.dot([row], { x: "mean", y: "label", r: 5.5, symbol: symbol(row.at), fill: paint(row.at), stroke: "var(--paper)", strokeWidth: 1.5 }) : null,
      ]),
      tip(rounds, { x: "value", y: "label", title: (one) => `round ${one.number}${one.isValid ? "" : ", invalid"}\n${threeDigits(one.value)} req/s` }),
    ],
  });
  return figure("Requests per second", "Large marks: mean with its 95 % interval. Small marks: each round; × is an invalid round, excluded from the mean.", plot(alt, draw));
}

const METRICS = { throughput_per_s: "throughput", p50_ms: "p50", p95_ms: "p95", p99_ms: "p99", cpu_ms_per_request: "CPU per request", pss_bytes: "memory (PSS)" };

/** Each metric's ratio to the baseline on a log scale: a filled mark if a difference is shown, else a hollow one. */
function ratioChart(run, views) {
  const baseline = run.contenders[0].label;
  const rows = run.summary.flatMap((one) => one.comparisons.map((it) => ({
    at: views.findIndex((view) => view.label === one.profile), label: one.profile, metric: METRICS[it.metric] ?? it.metric, ...it.ratio, verdict: it.verdict,
    isShown: !["no difference shown", "too noisy to say"].includes(it.verdict),
  })));
  if (!rows.length) return noData("Ratio to the baseline", run.contenders.length === 1 ? "Only one profile was measured." : `No round is valid for both ${baseline} and another contender.`);
  const labels = [...new Set(rows.map((row) => row.label))];
  const metrics = Object.values(METRICS).filter((metric) => rows.some((row) => row.metric === metric));
  const shift = (row) => (labels.indexOf(row.label) - (labels.length - 1) / 2) * 13;
  const height = Math.max(34, labels.length * 13 + 16);
  const alt = rows.map((row) => `${row.label}, ${row.metric}: ${threeDigits(row.estimate)}x, ${range(row)}, ${row.verdict}`).join("; ");
  // An interval of two rounds may span ten powers of ten, so far ends are cut at the edge.
  const least = Math.min(0.8, Math.max(d3.min(rows, (row) => row.low ?? row.estimate), d3.min(rows, (row) => row.estimate) / 4));
  const most = Math.max(1.25, Math.min(d3.max(rows, (row) => row.high ?? row.estimate), d3.max(rows, (row) => row.estimate) * 4));
  const domain = [least / 1.06, most * 1.06];
  const nearOne = [0.6, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3].filter((tick) => tick >= domain[0] && tick <= domain[1]);
  const draw = (width) => {
    const ticks = most / least > 5 ? logTicks(domain, width - 112, 34) : nearOne;
    return {
      height: 34 + metrics.length * height, marginLeft: 96, marginTop: 8, marginBottom: 34,
      x: { type: "log", domain, label: `ratio to ${baseline} →` },
      y: { domain: metrics, label: null, tickSize: 0 },
      marks: [
        grid("x", { ticks }), logAxis("x", ticks),
        Plot.ruleX([1], { stroke: "var(--ink)", strokeWidth: 1 }),
        ...rows.flatMap((row) => [
          isKnown(row.low) ? Plot.ruleY([row], { y: "metric", x1: Math.max(row.low, domain[0]), x2: Math.min(row.high, domain[1]), dy: shift(row), stroke: paint(row.at), strokeWidth: 2.5, strokeLinecap: "round" }) : null,
          Plot.dot([row], { x: "estimate", y: "metric", dy: shift(row), r: 4.5, symbol: symbol(row.at), fill: row.isShown ? paint(row.at) : "var(--paper)", stroke: paint(row.at), strokeWidth: 1.5 }),
        ]),
      ],
    };
  };
  const columns = [
    { head: "profile", text: true, cell: (row) => row.label }, { head: "metric", text: true, cell: (row) => row.metric },
    { head: "ratio", cell: (row) => `${threeDigits(row.estimate)}x` }, { head: "95 % interval", cell: range }, { head: "verdict", text: true, cell: (row) => row.verdict },
  ];
  return figure("Ratio to the baseline", `Ratio to ${baseline} over paired rounds with its 95 % interval, on a log scale. Hollow marks: no difference shown.`,
    legend(labels.map((label) => { const at = views.findIndex((view) => view.label === label); return [label, paint(at), symbol(at)]; })), plot(alt, draw), collapsible("Ratios as a table", table(columns, rows, { caption: "Ratios to the baseline" })));
}

const SHARES = [[2, "50 %"], [10, "90 %"], [100, "99 %"], [1e3, "99.9 %"], [1e4, "99.99 %"], [1e5, "99.999 %"], [1e6, "99.9999 %"]];

/** Latency by percentile as HdrHistogram draws it: each additional nine of the percentage has the same width. */
function percentileChart(run, views, why) {
  const title = "Latency by percentile";
  if (!views.some((view) => view.latency.length)) return noData(title, why);
  const rows = views.flatMap((view, at) => view.latency.map(([share, ms]) => ({ at, label: view.label, share, nines: 1 / (1 - share), ms })));
  const right = d3.max(rows, (row) => row.nines);
  const named = new Map(SHARES);
  const ticks = SHARES.map(([nines]) => nines).filter((nines) => nines <= right);
  const domain = [d3.min(rows, (row) => row.ms) / 1.1, d3.max(rows, (row) => row.ms) * 1.1];
  const alt = run.summary.map((one) => `${one.profile}: p50 ${threeDigits(one.p50_ms)}, p95 ${threeDigits(one.p95_ms)}, p99 ${threeDigits(one.p99_ms)}, p99.9 ${threeDigits(one.p999_ms)}, max ${threeDigits(one.max_ms)} ms`).join("; ");
  const draw = (width) => {
    const isWide = width > 640 && views.every((view) => view.label.length <= 24); // longer names are in the legend only
    const height = width > 640 ? 380 : 300;
    const levels = logTicks(domain, height - 60);
    return {
      height, marginLeft: 46, marginTop: 24, marginBottom: 36, marginRight: isWide ? 150 : 16,
      x: { type: "log", domain: [1, right], label: "percentage of requests →" },
      y: { type: "log", domain, label: "↑ latency, ms" },
      marks: [
        grid("x", { ticks }), grid("y", { ticks: levels }), logAxis("y", levels), logAxis("x", ticks, { text: (nines) => named.get(nines) }),
        ...views.flatMap((view, at) => {
          const own = rows.filter((row) => row.at === at);
          const marked = ticks.map((nines) => own.find((row) => row.nines >= nines * 0.999)).filter(Boolean);
          return own.length ? [
            Plot.line(own, { x: "nines", y: "ms", stroke: paint(at), strokeWidth: 2, curve: "monotone-x" }),
            Plot.dot(marked, { x: "nines", y: "ms", r: 4, symbol: symbol(at), fill: paint(at), stroke: "var(--paper)" }),
            isWide ? Plot.text([own.at(-1)], { x: "nines", y: "ms", text: "label", textAnchor: "start", dx: 8, lineWidth: 11, fill: "var(--ink)", stroke: "var(--paper)", strokeWidth: 4 }) : null,
          ] : [];
        }),
        tip(rows, { x: "nines", y: "ms", title: (row) => `${row.label}\n${Number((row.share * 100).toFixed(4))} % of requests took at most ${threeDigits(row.ms)} ms` }),
      ],
    };
  };
  const columns = [{ head: "profile", text: true, cell: (one) => one.profile }, ...[["p50", "p50_ms"], ["p95", "p95_ms"], ["p99", "p99_ms"], ["p99.9", "p999_ms"], ["max", "max_ms"]].map(([head, key]) => ({ head, unit: "ms", cell: (one) => threeDigits(one[key]) }))];
  return figure(title, "All requests of the valid rounds, on log scales. Further right are rarer and slower requests; a step is a pause that affected some requests.",
    profileLegend(views), plot(alt, draw), collapsible("Percentiles as a table", table(columns, run.summary, { caption: "Latency by percentile" })));
}

/** p50 and p99 of each second, one plot per profile. */
function latencyOverTime(views, why) {
  const title = "Latency over time";
  if (!views.some((view) => view.seconds.at_s.length)) return noData(title, why);
  const all = views.flatMap((view) => points(view.seconds)).filter((row) => row.value > 0);
  const domain = [d3.min(all, (row) => row.value) / 1.2, d3.max(all, (row) => row.value) * 1.2];
  const levels = logTicks(domain, 134, 24);
  const line = (view, name) => view.seconds.lines.find((it) => it.name === name);
  const alt = (view) => `p50 per second ${extent(line(view, "p50_ms"), threeDigits)} ms, p99 ${extent(line(view, "p99_ms"), threeDigits)} ms`;
  const draw = (view, at, width) => {
    const { at_s, lines: [p50, p99] } = view.seconds;
    const rows = at_s.map((second, index) => ({ at: second, p50: p50.values[index] ?? NaN, p99: p99.values[index] ?? NaN }));
    return {
      height: 190, marginLeft: 44, marginTop: 22, marginBottom: 34, marginRight: 34,
      x: timeAxis(width), y: { type: "log", domain, label: "↑ ms" },
      marks: [
        warmUp(at_s), grid("y", { ticks: levels }), logAxis("y", levels),
        rows.length > 12 ? null : Plot.dot(rows.flatMap((row) => [[row.at, row.p50], [row.at, row.p99]]), { fill: paint(at), r: 2.5 }),
        Plot.areaY(rows, { x: "at", y1: "p50", y2: "p99", fill: paint(at), fillOpacity: 0.16 }),
        Plot.lineY(rows, { x: "at", y: "p99", stroke: paint(at), strokeWidth: 1.25 }),
        Plot.lineY(rows, { x: "at", y: "p50", stroke: paint(at), strokeWidth: 2.25 }),
        ...["p50", "p99"].map((name) => Plot.text(rows.slice(-1), { x: "at", y: name, text: () => name, textAnchor: "start", dx: 5, fill: "var(--ink)" })),
        tip(rows, { x: "at", y: "p99", title: (row) => `at ${threeDigits(row.at)} s\np50 ${threeDigits(row.p50)} ms\np99 ${threeDigits(row.p99)} ms` }),
      ],
    };
  };
  return figure(title, "Thick line: median of each second. Thin line: 99th percentile. All valid rounds together, on a common log scale.", legend([WARM_UP]), multiples(views, (view) => view.seconds.at_s.length, alt, draw, { without: why }));
}

const PARTS = [["pool_wait_ms", "wait for a connection", "var(--part-0)"], ["database_ms", "database", "var(--part-1)"], ["python_ms", "Python", "var(--part-2)"], ["serialisation_ms", "serialisation", "var(--part-3)"], ["outside_ms", "outside the service", "var(--part-4)"]];

/** The components of the mean latency: in ms, and as shares for profiles that are far apart. */
function splitChart(views) {
  const title = "Components of the mean latency";
  const own = views.filter((view) => view.split);
  if (!own.length) return noData(title, UNTOLD);
  const bars = (share) => own.flatMap((view) => {
    let sum = 0;
    return PARTS.map(([key, name, colour]) => {
      const size = Math.max(0, view.split[key]) / (share ? view.split.total_ms : 1);
      sum += size;
      return { label: view.label, name, colour, x1: sum - size, x2: sum, size };
    });
  });
  const alt = own.map((view) => `${view.label}, ${threeDigits(view.split.total_ms)} ms: ${PARTS.map(([key, name]) => `${name} ${threeDigits(view.split[key])} ms`).join(", ")}`).join("; ");
  const draw = (share) => (width) => ({
    height: 64 + (own.length - 0.58) * 56, marginLeft: 2, marginTop: 30, marginBottom: 34,
    x: { label: share ? "share of the mean latency →" : "mean latency, ms →", tickFormat: share ? roundPercent : undefined, ticks: Math.min(6, width / 70), tickSize: 0 },
    y: { domain: own.map((view) => view.label), axis: null, paddingInner: 0.58, paddingOuter: 0 },
    marks: [
      grid("x", { ticks: Math.min(6, width / 70) }),
      Plot.barX(bars(share), { x1: "x1", x2: "x2", y: "label", fill: "colour", insetRight: 1, title: (row) => `${row.name}: ${share ? percent(row.size) : `${threeDigits(row.size)} ms`}` }),
      Plot.text(own, { y: "label", frameAnchor: "left", dy: -17, lineAnchor: "bottom", textAnchor: "start", text: (view) => view.label, fontWeight: 600, fill: "var(--ink)" }),
    ],
  });
  const columns = [{ head: "component", text: true, cell: (part) => part[1] }, ...own.map((view) => ({ head: view.label, unit: "ms", cell: (part) => [threeDigits(view.split[part[0]]), el("small", {}, ` ${roundPercent(view.split[part[0]] / view.split.total_ms)}`)] }))];
  const parts = [...PARTS, ["total_ms", "total"]];
  return figure(title, "“Outside the service” is the network, the accept queue and the load generator.",
    legend(PARTS.map(([, name, colour]) => [name, colour])), el("div", { class: "pair" }, plot(alt, draw(false)), plot(`As shares. ${alt}`, draw(true))),
    table(columns, parts, { caption: "Components of the mean latency", mark: (part) => (part[0] === "total_ms" ? "total" : null) }));
}
