"use strict";
// All runs of a folder: filter them, select two, compare them side by side.

const RANK = { complete: ["valid", "valid"], invalid: ["bad", "invalid"], aborted: ["warn", "aborted"] };
const page = document.getElementById("page");
const selected = [];

const best = (run) => (run.summary.length ? Math.max(...run.summary.map((one) => one.throughput_per_s)) : null);

function choice(name, values) {
  return el("label", {}, el("span", {}, name), el("select", { id: name }, el("option", { value: "" }, "any"), [...new Set(values)].sort().map((value) => el("option", { value }, value))));
}

function row(entry, at) {
  const { run } = entry;
  const [kind, label] = RANK[run.status] ?? ["warn", run.status];
  const box = el("input", { type: "checkbox", "aria-label": `Compare the run of ${moment(run.started_at)}`, "data-at": at });
  box.addEventListener("change", () => select(at, box.checked));
  const when = entry.page ? el("a", { href: entry.page }, moment(run.started_at)) : moment(run.started_at);
  const made = el("tr", {},
    el("th", { scope: "row", class: "text", "data-label": "run" }, box, when),
    el("td", { class: "text", "data-label": "workload" }, run.workload.name),
    el("td", { class: "text", "data-label": "profiles" }, run.contenders.slice(0, 6).map((it) => el("span", { class: "name" }, it.label)), run.contenders.length > 6 ? `and ${run.contenders.length - 6} more` : null),
    el("td", { "data-label": "best, req/s" }, threeDigits(best(run))),
    el("td", { class: "text", "data-label": "status" }, el("span", { class: `badge ${kind}` }, label)));
  made.entry = entry;
  made.search = [run.id, run.workload.name, run.workload.description, run.status, run.machine.cpu, ...run.contenders.map((it) => it.label), run.told].join(" ").toLowerCase();
  return made;
}

const rows = data.runs.map(row);
const text = el("input", { type: "search", id: "text", placeholder: "profile, workload, id, …" });
const workload = choice("workload", data.runs.map((it) => it.run.workload.name));
const status = choice("status", data.runs.map((it) => it.run.status));
const leap = el("p", { class: "leap", hidden: true }, el("a", { href: "#comparison" }, "Compare the two selected runs"));
const count = el("p", { class: "count", role: "status" });
const comparison = el("section", { id: "comparison", "aria-live": "polite" });

function filter() {
  const terms = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = (label) => label.querySelector("select").value;
  let visible = 0;
  for (const it of rows) {
    const { run } = it.entry;
    it.hidden = !(terms.every((word) => it.search.includes(word)) && ["", run.workload.name].includes(chosen(workload)) && ["", run.status].includes(chosen(status)));
    visible += it.hidden ? 0 : 1;
  }
  count.textContent = `${visible} of ${rows.length} runs`;
}

/** At most two: a third replaces the one that was selected first. */
function select(at, isOn) {
  if (isOn) selected.push(at);
  else selected.splice(selected.indexOf(at), 1);
  if (selected.length > 2) selected.shift();
  compare();
}

function compare() {
  rows.forEach((it, index) => { it.querySelector("input").checked = selected.includes(index); it.classList.toggle("selected", selected.includes(index)); });
  const runs = selected.map((index) => data.runs[index].run).sort((one, other) => (one.started_at < other.started_at ? -1 : 1));
  const names = runs.map((run, index) => `${"AB"[index]}: ${moment(run.started_at)}`);
  leap.hidden = runs.length < 2;
  comparison.replaceChildren(el("h2", {}, "Two runs side by side"), ...(runs.length === 2 ? [differenceTable(runs, names), sideBySide(runs, names)] : [el("p", {}, runs.length ? "Select one more run." : "Select two runs above.")]));
}

text.addEventListener("input", filter);
for (const it of [workload, status]) it.addEventListener("change", filter);
page.replaceChildren(
  el("header", {}, el("p", { class: "eyebrow" }, "bookstore report --index"), el("h1", {}, "Runs")),
  el("form", { class: "filter", role: "search" }, el("label", {}, el("span", {}, "find"), text), workload, status, count),
  rows.length ? el("table", { class: "cards runs" }, el("thead", {}, el("tr", {}, ["run", "workload", "profiles", "best, req/s", "status"].map((head, at) => el("th", { scope: "col", class: at === 3 ? null : "text" }, head)))), el("tbody", {}, rows)) : el("p", { class: "missing" }, "There are no runs yet. bookstore compare creates one."),
  leap,
  comparison,
  data.unreadable.length ? el("section", {}, el("h2", {}, "Unreadable records"), el("ul", {}, data.unreadable.map((reason) => el("li", {}, reason)))) : "",
);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
filter();
compare();
