"use strict";
// Several runs side by side: each profile's figures, and every field in which the runs differ.

const LIKE = ["workload", "catalogue", "machine", "protocol"];

/** {"machine.python": "3.13.1", …}: every field that must be equal for runs to be comparable. */
function facts(run) {
  const values = {};
  function take(path, value) {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) take(`${path}.${key}`, inner);
    } else values[path] = asText(value);
  }
  for (const part of LIKE) take(part, run[part]);
  for (const contender of run.contenders) take(contender.label, contender.keys);
  return values;
}

/** The fields whose values differ: [[field, value of each run], …]. Keys of profiles count if all runs have them. */
function differences(runs) {
  const all = runs.map(facts);
  const fields = [...new Set(all.flatMap(Object.keys))].sort();
  const shared = (field) => LIKE.some((part) => field.startsWith(`${part}.`)) || all.every((it) => field in it);
  return fields
    .filter((field) => shared(field) && new Set(all.map((it) => it[field])).size > 1)
    .map((field) => [field, all.map((it) => it[field] ?? NONE)]);
}

function differenceTable(runs, names) {
  const fields = differences(runs);
  if (!fields.length) return el("p", { class: "alike" }, "Workload, catalogue, machine, versions, protocol and profiles are equal.");
  const columns = [{ head: "field", text: true, cell: (row) => el("code", {}, row[0].split(/(?<=\.)/).flatMap((part) => [part, el("wbr")])) }];
  names.forEach((name, at) => columns.push({ head: name, text: true, cell: (row) => row[1][at] }));
  return el("div", {},
    el("p", { class: "warning" }, `The runs differ in ${fields.length === 1 ? "one field" : `${fields.length} fields`}, which affects the ratios, too.`),
    table(columns, fields, { caption: "Fields that differ between the runs" }));
}

/** A row for each profile in each run, with ratios to the same profile in the first run that has it. */
function sideBySide(runs, names) {
  const rows = [];
  for (const label of new Set(runs.flatMap((run) => run.summary.map((one) => one.profile)))) {
    const own = runs.flatMap((run, at) => run.summary.filter((one) => one.profile === label).map((one) => ({ one, run: names[at] })));
    own.forEach((it, at) => rows.push({ ...it, first: own[0].one, isFirst: at === 0 }));
  }
  const ratio = (row, key) => (row.isFirst || !row.first[key] || !isKnown(row.one[key]) ? null : el("small", {}, `${threeDigits(row.one[key] / row.first[key])}x`));
  const figure = (head, unit, key, format = threeDigits) => ({ head, unit, cell: (row) => [format(row.one[key]), ratio(row, key)] });
  const columns = [
    { head: "profile", text: true, cell: (row) => (row.isFirst ? row.one.profile : el("span", { class: "again" }, row.one.profile)) },
    { head: "run", text: true, cell: (row) => row.run },
    figure("throughput", "req/s", "throughput_per_s"),
    figure("p50", "ms", "p50_ms"),
    figure("p99", "ms", "p99_ms"),
    figure("CPU", "ms/request", "cpu_ms_per_request"),
    figure("PSS", "MB", "pss_bytes", megabytes),
    { head: "errors", cell: (row) => whole(row.one.errors) },
  ];
  return table(columns, rows, { caption: "Profiles by run", cards: true, mark: (row) => (row.isFirst ? "first" : null) });
}
