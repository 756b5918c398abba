"use strict";
// The page of one or more runs: the answer first, then the evidence, then every figure.

const STATUS = { complete: ["valid", "Valid"], invalid: ["bad", "Invalid"], aborted: ["warn", "Aborted"] };

function verdictOf(run, one, headline) {
  const it = one.comparisons.find((each) => each.metric === headline);
  if (!it) return one.profile === run.contenders[0].label && isKnown(one.throughput_per_s) ? [el("b", {}, "1x"), el("small", {}, "baseline")] : NONE;
  const kind = { faster: "good", slower: "bad" }[it.verdict] ?? "even";
  return [el("span", { class: `verdict ${kind}` }, it.verdict), " ", el("b", {}, `${threeDigits(it.ratio.estimate)}x`), el("small", {}, range(it.ratio))];
}

/** Problems (or warnings) grouped by profile and code: their rounds, and the text of the first. */
function groupProblems(bad, of = "problems") {
  const groups = new Map();
  for (const one of bad) {
    for (const { code, told } of one[of]) {
      const key = JSON.stringify([one.profile, code]);
      if (!groups.has(key)) groups.set(key, { profile: one.profile, numbers: [], told });
      groups.get(key).numbers.push(one.number);
    }
  }
  return [...groups.values()];
}

/** The run's validity, and the excluded measurements with their reasons. */
function validity(run, headline, isSweep) {
  const effects = (isSweep ? [] : run.summary).flatMap((one) => one.comparisons.filter((it) => it.metric === headline && isKnown(it.smallest_effect_ratio)).map((it) => it.smallest_effect_ratio));
  const largest = d3.max(effects);
  const detectable = largest >= 0.1 ? roundPercent(largest) : percent(largest);
  const least = !effects.length ? null : largest < 1 ? `Smallest difference this run could detect: ${detectable} (${METRICS[headline]}, 4 times out of 5).`
    : "Intervals are wide: add rounds.";
  const all = run.rounds.flatMap((each) => each.measurements.map((one) => ({ number: each.number, ...one })));
  const bad = all.filter((one) => one.problems.length);
  const warned = all.filter((one) => one.warnings.length);
  const [kind, label] = STATUS[run.status] ?? ["warn", run.status];
  const rounds = `${run.rounds.length} ${run.rounds.length === 1 ? "round" : "rounds"} of ${run.contenders.length === 1 ? "1 profile" : `${run.contenders.length} ${isSweep ? "cells" : "profiles"}`}`;
  const left = bad.length ? `${bad.length} of ${all.length} measurements excluded.` : "all measurements are valid.";
  const item = ({ profile, numbers, told }) => el("li", {}, `${numbers.length === 1 ? "round" : "rounds"} ${numbers.join(", ")}, `, el("b", {}, pieces(profile)), `: ${told}`);
  return el("div", { class: `validity ${kind}` },
    el("p", {}, el("span", { class: `badge ${kind}` }, label), ` ${rounds}; ${left} `, run.told ? `${run.told} ` : null, least),
    bad.length ? el("ul", {}, groupProblems(bad).map(item)) : null,
    warned.length ? collapsible(el("span", {}, el("span", { class: "badge warn" }, "With warnings"), ` ${warned.length} of ${all.length} measurements count despite a problem`), el("ul", {}, groupProblems(warned, "warnings").map(item))) : null);
}

function costTable(run, views, headline, sweep) {
  const rows = run.contenders.map(({ label }) => run.summary.find((one) => one.profile === label) ?? { profile: label, comparisons: [] });
  const most = d3.max(run.summary, (one) => one.throughput_per_s) || 1;
  const rate = (one) => {
    if (!isKnown(one.throughput_per_s)) return [NONE, el("small", {}, "no valid round")];
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", one.throughput_per_s / most);
    return [el("b", {}, threeDigits(one.throughput_per_s)), bar];
  };
  const at = (one) => views.findIndex((view) => view.label === one.profile);
  const columns = [
    { head: "profile", text: true, cell: (one) => [swatch(paint(at(one)), symbol(at(one))), el("span", { class: "name" }, pieces(one.profile))] },
    { head: "throughput", unit: "req/s", cell: rate },
    { head: "ratio to baseline", unit: headline === "throughput_per_s" ? "95 % interval" : `of ${METRICS[headline]}`, cell: (one) => verdictOf(run, one, headline) },
    { head: "p50", unit: "ms", cell: (one) => threeDigits(one.p50_ms) },
    { head: "p95", unit: "ms", cell: (one) => threeDigits(one.p95_ms) },
    { head: "p99", unit: "ms", cell: (one) => threeDigits(one.p99_ms) },
    { head: "max", unit: "ms", cell: (one) => threeDigits(one.max_ms) },
    { head: "errors", cell: (one) => (one.errors ? el("span", { class: "wrong" }, whole(one.errors)) : whole(one.errors)) },
    { head: "CPU", unit: "ms/request", cell: (one) => threeDigits(one.cpu_ms_per_request) },
    { head: "PSS", unit: "MB", cell: (one) => megabytes(one.pss_bytes), note: "Memory of all workers (PSS); shared pages count once" },
    { head: "sessions", cell: (one) => whole(one.connections), note: "Peak number of database connections" },
    { head: "SQL", unit: "per request", cell: (one) => (isKnown(one.statements) ? String(Number(one.statements.toFixed(1))) : NONE), note: "SQL statements per request" },
    { head: "ceiling", unit: "of pgbench", cell: (one) => roundPercent(one.ceiling_share), note: "Throughput as a share of what pgbench achieves with the same SQL on the same database" },
  ];
  const visible = sweep ? columns.filter((it) => it.head !== "ratio to baseline") : columns;
  return table(visible, rows, { cards: true, caption: "Throughput, latency and costs of each profile" });
}

/** Keys that differ come first and are marked; the others are collapsed. */
function profilesTable(run) {
  const own = run.contenders;
  const keys = [...new Set(own.flatMap((it) => Object.keys(it.keys)))];
  if (!keys.length) return el("p", { class: "missing" }, "The keys of these services are unknown.");
  const differs = (key) => new Set(own.map((it) => it.keys[key])).size > 1;
  const columns = [{ head: "key", text: true, cell: (key) => el("code", {}, key) }, ...own.map((it) => ({ head: it.label, text: true, cell: (key) => it.keys[key] ?? NONE }))];
  const [unlike, alike] = [keys.filter(differs), keys.filter((key) => !differs(key))];
  return el("div", {},
    unlike.length ? table(columns, unlike, { caption: "Keys that differ", mark: () => "differs" }) : el("p", {}, "All keys of the profiles are equal."),
    alike.length ? collapsible(`${alike.length} keys that are equal`, table(columns, alike, { caption: "Keys that are equal" })) : null);
}

/** Latency of each kind of request, if the workload has several. */
function kindsTable(views) {
  const rows = views.flatMap((view) => view.kinds.map((kind) => ({ label: view.label, ...kind })));
  if (!rows.length) return null;
  const columns = [
    { head: "profile", text: true, cell: (row) => row.label }, { head: "request", text: true, cell: (row) => row.name },
    { head: "requests", cell: (row) => whole(row.requests) }, { head: "errors", cell: (row) => whole(row.errors) },
    ...[["p50", "p50_ms"], ["p95", "p95_ms"], ["p99", "p99_ms"], ["max", "max_ms"]].map(([head, key]) => ({ head, unit: "ms", cell: (row) => threeDigits(row[key]) })),
  ];
  return figure("Latency by kind of request", "All requests of the valid rounds.", table(columns, rows, { caption: "Latency by kind of request" }));
}

function stepsTable(run) {
  const columns = [
    { head: "key", text: true, cell: (it) => el("code", {}, it.key) }, { head: "from", text: true, cell: (it) => it.before }, { head: "to", text: true, cell: (it) => it.after },
    { head: "throughput", unit: "ratio", cell: (it) => `${threeDigits(it.throughput_ratio.estimate)}x` }, { head: "95 % interval", cell: (it) => range(it.throughput_ratio) },
    { head: "measured with", text: true, cell: (it) => `${it.contender}, compared with ${it.baseline}` },
  ];
  return table(columns, run.steps, { caption: "Effect of each key" });
}

function statements(run) {
  return run.contenders.map((it) => {
    const kinds = Object.entries(it.statements);
    return kinds.length ? collapsible(`SQL of ${it.label}`, kinds.map(([kind, all]) => [el("h4", {}, `${kind}: ${all.length} ${all.length === 1 ? "statement" : "statements"}`), el("pre", { tabindex: 0 }, all.slice(0, 12).join("\n") + (all.length > 12 ? `\n… and ${all.length - 12} more` : ""))])) : null;
  });
}

function roundsTable(run) {
  const rows = run.rounds.flatMap((each) => each.measurements.map((one, at) => ({ ...one, number: each.number, place: at + 1 })));
  const columns = [
    { head: "round", cell: (one) => `${one.number}.${one.place}`, note: "Round, and position in its order" },
    { head: "profile", text: true, cell: (one) => one.profile },
    { head: "throughput", unit: "req/s", cell: (one) => threeDigits(one.throughput_per_s) },
    ...[["p50", "p50_ms"], ["p95", "p95_ms"], ["p99", "p99_ms"], ["max", "max_ms"]].map(([head, key]) => ({ head, unit: "ms", cell: (one) => threeDigits(one[key]) })),
    { head: "errors", cell: (one) => whole(one.errors) },
    { head: "CPU", unit: "ms/request", cell: (one) => threeDigits(one.cpu_ms_per_request) },
    { head: "PSS", unit: "MB", cell: (one) => megabytes(one.pss_bytes) },
    { head: "ceiling", unit: "req/s", cell: (one) => threeDigits(one.ceiling_per_s) },
    { head: "warm-up", unit: "s", cell: (one) => threeDigits(one.warm_up_s) },
    { head: "generator", unit: "of a core", cell: (one) => roundPercent(one.generator?.cpu_ratio) },
    { head: "others", unit: "of CPUs", cell: (one) => roundPercent(one.quiet?.others_ratio) },
    { head: "state", text: true, cell: (one) => (one.problems.length ? [el("span", { class: "badge bad" }, "Invalid"), ` ${one.problems.map((it) => `${it.code}: ${it.told}`).join("; ")}`] : one.warnings.length ? [el("span", { class: "badge warn" }, "Warning"), ` ${one.warnings.map((it) => `${it.code}: ${it.told}`).join("; ")}`] : "valid") },
  ];
  return table(columns, rows, { caption: "Every measurement, in order of execution", dense: true, mark: (one) => [one.problems.length ? "invalid" : "", one.place === 1 ? "first" : ""].join(" ").trim() || null });
}

const UNITS = { concurrency: " clients", rate: " requests per second", duration: " s", warm_up: " s" };

function environment(run) {
  const { packages, memory_bytes: memory, ...machine } = run.machine;
  const pairs = (mapping) => Object.entries(mapping).filter(([, value]) => isKnown(value) && asText(value) !== NONE).map(([key, value]) => [key.replaceAll("_", " "), `${asText(value)}${UNITS[key] ?? ""}`]);
  return el("div", { class: "pair" },
    el("div", {}, el("h3", {}, "Machine and versions"), list([...pairs(machine), ["memory", `${threeDigits(memory / 2 ** 30)} GiB`], ...pairs(packages)])),
    el("div", {}, el("h3", {}, "Workload and protocol"), list([...pairs(run.workload), ["catalogue", `${whole(run.catalogue.books)} books, ${run.catalogue.source}`], ...pairs(run.protocol), ["seed", String(run.seed)], ["run", run.id]])));
}

function section(id, title, ...children) {
  return el("section", { id }, el("h2", {}, title), ...children);
}

/** The run reduced to the contenders that have a view; a sweep has views of only a few cells. */
const withViewsOnly = (run, views) => {
  const isDrawn = (label) => views.some((view) => view.label === label);
  return { ...run, contenders: run.contenders.filter((it) => isDrawn(it.label)), summary: run.summary.filter((it) => isDrawn(it.profile)) };
};

/** The article about one run. `prefix` makes its anchors unique if there are several runs. */
function article(runView, prefix, isAlone) {
  const { run, answer, headline, views, sweep, missing: why } = runView;
  const few = withViewsOnly(run, views);
  const when = `${moment(run.started_at)} · workload ${run.workload.name} · ${whole(run.catalogue.books)} books · ${run.machine.cores} cores`;
  const noSamples = why ? `The samples of this run cannot be read: ${why}` : "No valid round has requests.";
  const throughput = () => section(`${prefix}throughput`, "Throughput", el("div", { class: "pair" }, throughputChart(run, views), ratioChart(run, views)), run.steps.length ? figure("Effect of each key", "Pairs of profiles that differ in a single key. The ratio is the effect of that key.", stepsTable(run)) : null);
  const every = roundsTable(run);
  const sections = [
    sweep ? sweepSection(runView, prefix) : throughput(),
    section(`${prefix}latency`, "Latency", percentileChart(few, views, noSamples), latencyOverTime(views, noSamples), kindsTable(views)),
    section(`${prefix}time`, "Request time", inspectionNote(views), splitChart(views), waitChart(views), poolChart(views), loopChart(views)),
    section(`${prefix}resources`, "Memory, sessions, CPU", memoryChart(views), sessionsChart(views), busyChart(views)),
    section(`${prefix}profiles`, "Engine profiles", profilesTable(few), statements(few)),
    section(`${prefix}machine`, "Environment", environment(run)),
    section(`${prefix}rounds`, "All rounds", sweep ? collapsible(`${run.rounds.length * run.contenders.length} measurements`, every) : every),
  ];
  return el("article", {},
    el("header", {},
      el("p", { class: "eyebrow" }, when),
      el(isAlone ? "h1" : "h2", { class: "answer" }, pieces(answer.replace(/(\d)\u2013(?=\d)/g, "$1\u2060\u2013\u2060"))),
      validity(run, headline, Boolean(sweep))),
    costTable(few, views, headline, sweep),
    sweep ? el("p", { class: "aside" }, `This page shows ${views.length} of ${run.contenders.length} cells in full: ${sweep.grid.variants.length > 1 ? "the best of each variant, at most four" : "the first, the best and the last"}. The section Sweep has every cell.`) : null,
    el("nav", { "aria-label": "Contents" }, sections.map((it) => el("a", { href: `#${it.id}` }, it.querySelector("h2").textContent))),
    sections);
}

/** Requests per second over clients, for runs of one workload at several concurrencies. */
function concurrencyChart(runs) {
  const at = (it) => it.run.workload.concurrency;
  const poor = data.curves.filter((curve) => curve.told);
  if (new Set(runs.map(at)).size < 2 || new Set(runs.map((it) => it.run.workload.name)).size > 1) return null;
  const labels = [...new Set(runs.flatMap((it) => it.run.summary.map((one) => one.profile)))];
  const rows = runs.flatMap((it) => it.run.summary.map((one) => ({ label: one.profile, clients: at(it), value: one.throughput_per_s, ...it.views.find((view) => view.label === one.profile)?.throughput }))).sort((one, other) => one.clients - other.clients);
  const alt = labels.map((label) => `${label}: ${rows.filter((row) => row.label === label).map((row) => `${threeDigits(row.value)} requests per second with ${row.clients} clients`).join(", ")}`).join("; ");
  const draw = (width) => ({
    height: 340, marginLeft: 52, marginTop: 24, marginBottom: 36,
    x: { type: "log", label: "concurrent clients →", ticks: [...new Set(rows.map((row) => row.clients))], tickFormat: String, tickSize: 0 },
    y: { domain: [0, d3.max(rows, (row) => row.high ?? row.value) * 1.05], label: "↑ requests per second", tickSize: 0, ticks: 6 },
    marks: [
      grid("y"),
      ...data.curves.map((curve) => Plot.line(curve.points, { x: "0", y: "1", stroke: paint(Math.max(0, labels.indexOf(curve.label))), strokeDasharray: "4,3" })),
      ...labels.flatMap((label, index) => {
        const own = rows.filter((row) => row.label === label);
        return [
          data.curves.some((curve) => curve.label === label) ? null : Plot.line(own, { x: "clients", y: "value", stroke: paint(index), strokeWidth: 2 }),
          Plot.ruleX(own.filter((row) => isKnown(row.low)), { x: "clients", y1: "low", y2: "high", stroke: paint(index), strokeWidth: 2 }),
          Plot.dot(own, { x: "clients", y: "value", r: 4.5, symbol: symbol(index), fill: paint(index), stroke: "var(--paper)" }),
        ];
      }),
      tip(rows, { x: "clients", y: "value", title: (row) => `${row.label}\n${row.clients} clients\n${threeDigits(row.value)} req/s` }),
    ],
  });
  return figure("Throughput against concurrency", `Means with their 95 % intervals${data.curves.length ? "; dashed lines: the universal scalability law, fitted to each profile" : ""}. Clients on a log scale.`, legend(labels.map((label, index) => [label, paint(index), symbol(index)])), plot(alt, draw), poor.map((curve) => el("p", { class: "missing" }, `${curve.label}: ${curve.told}`)));
}

function together(runViews) {
  const runs = runViews.map((it) => it.run);
  const isSweep = new Set(runs.map((run) => run.workload.concurrency)).size === runs.length;
  const names = runs.map((run, at) => `${at + 1}: ${isSweep ? `${run.workload.concurrency} clients` : moment(run.started_at)}`);
  return el("article", {},
    el("header", {}, el("p", { class: "eyebrow" }, "bookstore report"), el("h1", { class: "answer" }, `${runs.length} runs side by side`)),
    el("ol", { class: "listed" }, runViews.map((it, at) => el("li", {}, el("a", { href: `#run-${at + 1}` }, `${it.run.workload.name}, ${moment(it.run.started_at)}`), ` ${it.answer}`))),
    section("side-by-side", "Side by side", sideBySide(runs, names), differenceTable(runs, names), concurrencyChart(runViews)));
}

const page = document.getElementById("page");
page.replaceChildren(...data.runs.map((it, at) => {
  const made = article(it, data.runs.length > 1 ? `r${at + 1}-` : "", data.runs.length === 1);
  made.id = `run-${at + 1}`;
  return made;
}), el("footer", {}, "Generated by ", el("code", {}, "bookstore report"), ". The record and the samples of each request are in the run’s folder."));
if (data.runs.length > 1) page.prepend(together(data.runs));
