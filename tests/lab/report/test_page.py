"""The page and the index in a real browser, opened from files: they are drawn, send no requests, and run nothing from
a record."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect, sync_playwright

from bookstore.lab.analysis import summary as judgement
from bookstore.lab.record import samples
from bookstore.lab.record.run_record import Problem, Run
from bookstore.lab.report import index as report_index
from bookstore.lab.report import page as report

from .. import records

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 30_000
MARKUP = "</script><script>attack()</script><img src=x onerror=attack()>"
LINK = "javascript:attack()"
PLOTS = (
    "Requests per second",
    "Ratio to the baseline",
    "Latency by percentile",
    "Latency over time",
    "Components of the mean latency",
    "Wait for a connection",
    "Connection pool over time",
    "Event loop and garbage collector",
    "Memory of each worker",
    "Database sessions by state",
    "CPU usage",
)
NEED_WATCHING = PLOTS[4:]

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("there is no chromium; Debian's package is `chromium`")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open a file. At the end, no page has requested anything else, logged an error, or run anything from a record."""
    requested: list[str] = []
    complaints: list[str] = []
    pages: list[Page] = []

    def complain(message: str) -> None:
        complaints.append(message)

    def open_(file: Path, width: int = 1280, scheme: str = "light") -> Page:
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
        )
        pages.append(page)
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.expose_function("complain", complain)
        page.expose_function("attack", lambda: complain("attack"))
        page.add_init_script("addEventListener('securitypolicyviolation', e => complain(e.violatedDirective))")
        page.goto(file.as_uri())
        if folder := os.environ.get("BOOKSTORE_TEST_SCREENSHOTS"):
            page.wait_for_timeout(500)
            page.screenshot(path=f"{folder}/{file.parent.name}-{width}-{scheme}.png", full_page=True)
        return page

    yield open_
    addresses = {page.url.split("#")[0] for page in pages}
    for page in pages:
        page.close()
    assert {url for url in requested if not url.startswith("data:")} == addresses
    assert complaints == []


def write_page(folder: Path, *runs: Run) -> Path:
    file = folder / report.FILE
    file.write_text(report.page([(run, partial(samples.read, folder / run.id)) for run in runs]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with all telemetry and one invalid measurement."""
    folder = tmp_path_factory.mktemp("page")
    return write_page(folder, records.make(folder))


def test_every_plot_has_marks(open_page: OpenPage, page_file: Path) -> None:
    """Each plot has marks for each profile and a text alternative with figures."""
    page = open_page(page_file)
    for title in PLOTS:
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        svg = figure.locator(".plot svg")
        expect(svg.first).to_be_visible()
        marks = svg.locator("path[d]:not([d='']), circle, rect, line[stroke]")
        assert marks.count() >= len(records.RATES), title
        for label in svg.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))"):
            assert re.search(r"\d", label), title
    assert page.get_by_text("max_connections 100").count() == len(records.RATES)


def test_the_first_screen_answers(open_page: OpenPage, page_file: Path) -> None:
    """The answer, the validity and the costs of each profile are above the fold of a laptop."""
    page = open_page(page_file)
    answer = page.get_by_role("heading", level=1)
    expect(answer).to_contain_text("asyncpg-json serves")
    expect(page.locator(".validity")).to_contain_text("round 4, asyncpg-json: others used 31 % of the CPUs")
    table = page.get_by_role("table", name="Throughput, latency and costs of each profile")
    assert table.locator("tbody tr").count() == len(records.RATES)
    expect(table.locator("tbody tr").last).to_contain_text("faster")
    box = table.bounding_box()
    assert box
    assert box["y"] + box["height"] < 900


def test_every_measurement_is_listed(open_page: OpenPage, page_file: Path) -> None:
    """The last table has each profile in each round; the invalid one has its reason."""
    page = open_page(page_file)
    rows = page.get_by_role("table", name="Every measurement").locator("tbody tr")
    assert rows.count() == 6 * len(records.RATES)
    expect(page.locator("tr.invalid")).to_contain_text("machine_busy: others used 31 %")


def test_keys_that_differ_are_marked(open_page: OpenPage, page_file: Path) -> None:
    """Keys that differ come first and are marked; the others are collapsed."""
    page = open_page(page_file)
    assert page.locator("tr.differs th").all_inner_texts() == ["driver", "loading"]
    expect(page.get_by_text("4 keys that are equal")).to_be_visible()


@pytest.mark.parametrize("width", [375, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_each_screen_and_is_readable(open_page: OpenPage, page_file: Path, width: int, scheme: str) -> None:
    """No sideways scrolling on phone, tablet and laptop; the contrast of text is at least 4.5 to 1 (WCAG AA)."""
    page = open_page(page_file, width, scheme)
    expect(page.locator(".plot svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(LEAST_CONTRAST) >= 4.5


LEAST_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const parts = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([...rgb]) => rgb.slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const found = parts(getComputedStyle(node).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255];
  };
  const contrasts = [...document.querySelectorAll("main *")]
    .filter(node => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
    .filter(node => node.getClientRects().length && !node.closest("noscript"))
    .map(node => {
      const style = getComputedStyle(node);
      const own = light(parts(node.closest("svg") ? style.fill : style.color)), below = light(ground(node));
      return (Math.max(own, below) + 0.05) / (Math.min(own, below) + 0.05);
    });
  return Math.min(...contrasts);
}"""


def test_dark_mode_and_print(open_page: OpenPage, page_file: Path) -> None:
    """The background follows the reader's colour scheme and is white in print; lines change with it."""
    grounds, lines = set(), set()
    for scheme in ("light", "dark"):
        page = open_page(page_file, 1280, scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        line = page.locator("figure .plot svg [stroke='var(--profile-1)']").first
        lines.add(line.evaluate("it => getComputedStyle(it).stroke"))
    assert len(grounds) == len(lines) == 2
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_printing(open_page: OpenPage, page_file: Path) -> None:
    """A printed page has several sheets; collapsed parts are opened for printing and closed again."""
    page = open_page(page_file)
    expect(page.locator(".plot svg").first).to_be_visible()
    page.evaluate("""() => {
      const count = (selector) => document.querySelectorAll(selector).length;
      addEventListener("beforeprint", () => { window.folded = count("details:not([open])"); });
      addEventListener("afterprint", () => { window.unfolded = count("details[open]"); });
    }""")
    printed = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 3
    assert page.evaluate("[window.folded, window.unfolded]") == [0, 0]


def test_plots_without_telemetry_say_so(open_page: OpenPage, tmp_path: Path) -> None:
    """A plot without data is replaced by a line that says so; the others are drawn."""
    page = open_page(write_page(tmp_path, records.make(tmp_path, rounds=2, invalid=(), watch=False)))
    for title in PLOTS:
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        if title in NEED_WATCHING:
            expect(figure.locator("p")).to_contain_text("No data: ")
            assert figure.locator(".plot").count() == 0
        else:
            expect(figure.locator(".plot svg").first).to_be_visible()


def test_a_run_without_a_valid_round(open_page: OpenPage, tmp_path: Path) -> None:
    """A contender without a valid round has a row without figures, and the status is invalid."""
    run = replace(records.make(tmp_path, rounds=2, invalid=(1, 2)), status="invalid", told="2 valid rounds are needed")
    page = open_page(write_page(tmp_path, run))
    expect(page.locator(".validity")).to_contain_text("Invalid")
    expect(page.locator(".validity")).to_contain_text("2 valid rounds are needed")
    expect(page.locator("table.cards tbody tr").last).to_contain_text("no valid round")
    bad = [
        replace(each, measurements=[replace(one, problems=[Problem("errors", "all")]) for one in each.measurements])
        for each in run.rounds
    ]
    page = open_page(write_page(tmp_path, replace(run, rounds=bad, summary=[], steps=[])))
    expect(page.locator("#throughput")).to_contain_text("No round is valid for both")
    expect(page.locator("body")).not_to_contain_text("Only one profile was measured")


def test_plots_name_their_source(open_page: OpenPage, page_file: Path) -> None:
    """Plots of the service's own metrics name the inspection, the others a round."""
    page = open_page(page_file)
    expect(page.locator("p.aside")).to_contain_text("none of these figures is compared")
    for title, source in (("Connection pool over time", "inspection"), ("CPU usage", "round")):
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        sources = figure.locator("h4 small").all_inner_texts()
        assert [text.split()[0] for text in sources] == [source] * len(records.RATES), title


def with_warnings(run: Run, folder: Path) -> Run:
    """The run with its problems as warnings, as with --allow-busy."""
    rounds = [
        replace(each, measurements=[replace(one, problems=[], warnings=one.problems) for one in each.measurements])
        for each in run.rounds
    ]
    summary = judgement.summarise(rounds, run.contenders, partial(samples.read, folder / run.id))
    return replace(run, rounds=rounds, summary=summary)


def test_warnings(open_page: OpenPage, tmp_path: Path) -> None:
    """A measurement that counts although the machine was busy is listed below the validity and in the last table."""
    page = open_page(write_page(tmp_path, with_warnings(records.make(tmp_path, rounds=2, invalid=(2,)), tmp_path)))
    details = page.locator(".validity details")
    expect(details.locator("summary")).to_contain_text("1 of 6 measurements")
    details.locator("summary").click()
    expect(details.locator("li")).to_contain_text("round 2, asyncpg-json: others used 31 %")
    expect(page.get_by_role("table", name="Every measurement")).to_contain_text(
        "Warning machine_busy: others used 31 %"
    )


def test_the_intervals_of_two_rounds_stay_in_their_plot(open_page: OpenPage, tmp_path: Path) -> None:
    """The interval of two rounds far apart is many times the mean; it ends at the plot's edge."""
    page = open_page(write_page(tmp_path, with_warnings(records.make(tmp_path, rounds=2, invalid=(2,)), tmp_path)))
    boxes = """all => all.map(svg => {
      const box = svg.getBoundingClientRect();
      return [...svg.querySelectorAll("line")].every(it => it.getBoundingClientRect().right <= box.right + 1);
    })"""
    for title in PLOTS[:2]:
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        expect(figure.locator("svg").last).to_be_visible()
        assert all(figure.locator(".plot svg").evaluate_all(boxes)), title


@pytest.mark.parametrize("width", [375, 1280])
def test_many_profiles_of_long_names_fit(open_page: OpenPage, tmp_path: Path, width: int) -> None:
    """Seven overridden profiles fit phone and laptop; a problem in many rounds is listed once, with its rounds."""
    rates = {f"asyncpg-joined@pool_size={size},max_overflow=0,pool_pre_ping=on": 100.0 + size for size in range(7)}
    page = open_page(write_page(tmp_path, records.make(tmp_path, rates=rates, rounds=3, invalid=(1, 2, 3))), width)
    expect(page.locator(".plot svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    items = page.locator(".validity li").all_inner_texts()
    assert [text.split(", asyncpg")[0] for text in items] == ["rounds 1, 2, 3"]


def with_markup(run: Run) -> Run:
    """The run with markup in every text of its record that comes from outside."""
    label = run.contenders[-1].label
    bad = Problem(MARKUP, MARKUP)
    contenders = [
        replace(one, label=MARKUP, keys={MARKUP: LINK}, statements={MARKUP: [MARKUP]}) if one.label == label else one
        for one in run.contenders
    ]
    rounds = [
        replace(
            each,
            measurements=[
                replace(one, profile=MARKUP, problems=[bad] if one.problems else []) if one.profile == label else one
                for one in each.measurements
            ],
        )
        for each in run.rounds
    ]
    summary = [replace(one, profile=MARKUP) if one.profile == label else one for one in run.summary]
    steps = [replace(one, key=MARKUP, before=LINK, after=MARKUP, contender=MARKUP) for one in run.steps]
    machine = replace(run.machine, cpu=MARKUP, packages={MARKUP: LINK})
    return replace(
        run,
        told=MARKUP,
        workload=replace(run.workload, name=MARKUP, description=LINK),
        machine=machine,
        catalogue=replace(run.catalogue, source=MARKUP),
        contenders=contenders,
        rounds=rounds,
        summary=summary,
        steps=steps,
    )


def test_nothing_in_a_record_runs(open_page: OpenPage, tmp_path: Path) -> None:
    """Markup in names, problems, keys and statements is shown as text: no element, no link, no script."""
    run = with_markup(records.make(tmp_path, rounds=2, invalid=(2,)))
    page = open_page(write_page(tmp_path, run, run))
    expect(page.locator("h2.answer").first).to_contain_text(MARKUP)
    assert page.locator("main img, main script, a[href^='javascript']").count() == 0
    index = tmp_path / "index.html"
    index.write_text(report_index.index([(run, tmp_path / LINK), (run, tmp_path / run.id)], [MARKUP]), encoding="utf-8")
    page = open_page(index)
    expect(page.locator("tbody tr").first).to_contain_text(MARKUP)
    for box in page.locator("input[type=checkbox]").all():
        box.check()
    assert page.locator("main img, main script, a[href^='javascript']").count() == 0


def test_a_sweep_has_the_fitted_law(open_page: OpenPage, tmp_path: Path) -> None:
    """With four concurrencies or more, each profile has the fitted law as a dashed line, and a poor fit is named."""
    runs = []
    for clients in (1, 2, 5, 20):
        rates = {"sweeping": 100 * clients / (1 + 0.05 * (clients - 1)), "erratic": 100.0 if clients == 5 else 20.0}
        runs.append(records.make(tmp_path, run_id=f"{clients}", rates=rates, rounds=2, invalid=(), clients=clients))
    page = open_page(write_page(tmp_path, *runs))
    figure = page.locator("figure", has=page.get_by_role("heading", name="Throughput against concurrency"))
    expect(figure.locator("[stroke-dasharray]")).to_have_count(2)
    expect(figure.locator("p.missing")).to_contain_text("erratic: ")


def test_runs_at_several_concurrencies(open_page: OpenPage, tmp_path: Path) -> None:
    """Several runs are shown side by side; if concurrency differs, throughput is plotted against it."""
    runs = [
        records.make(tmp_path, run_id=f"with-{clients}", rounds=2, invalid=(), clients=clients)
        for clients in (1, 5, 25)
    ]
    page = open_page(write_page(tmp_path, *runs))
    figure = page.locator("figure", has=page.get_by_role("heading", name="Throughput against concurrency"))
    expect(figure.locator("svg").last).to_be_visible()
    assert figure.locator(".plot svg path[d]:not([d=''])").count() >= 3 * len(records.RATES)
    table = page.get_by_role("table", name="Profiles by run")
    assert table.locator("tbody tr").count() == 3 * len(records.RATES)
    fields = page.get_by_role("table", name="Fields that differ between the runs").locator("tbody th")
    assert fields.all_inner_texts() == ["workload.concurrency"]


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of 20 cells."""
    folder = tmp_path_factory.mktemp("sweep-page")
    return write_page(folder, records.sweep(folder))


def test_a_sweep_is_a_grid(open_page: OpenPage, sweep_file: Path) -> None:
    """Both heat maps have every cell and a frame around the best, which the answer names."""
    page = open_page(sweep_file)
    expect(page.get_by_role("heading", level=1)).to_contain_text(
        "with pool_size=10 and concurrency=20 (best of 20 cells)"
    )
    for title in ("Requests per second of each cell", "p99 of each cell"):
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        expect(figure.locator("svg rect[fill^='color-mix']")).to_have_count(20)
        expect(figure.locator("svg [fill='none'] rect, svg rect[fill='none']")).to_have_count(1)
    page.get_by_text("Every cell as a table").click()
    assert page.get_by_role("table", name="Every cell").locator("tbody tr").count() == 20
    assert page.get_by_role("heading", name="Ratio to the baseline").count() == 0


def test_a_sweep_has_curves_and_knees(open_page: OpenPage, sweep_file: Path) -> None:
    """A line and marks for each variant, the fitted law as a dashed line, a knee if the fit is good, and the reason if
    it is poor."""
    page = open_page(sweep_file)
    for title in ("Throughput against concurrency", "p99 against concurrency"):
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        expect(figure.locator(".plot svg")).to_be_visible()
        assert figure.locator(".plot svg path[d]:not([d=''])").count() >= 4
    figure = page.locator("figure", has=page.get_by_role("heading", name="Throughput against concurrency", exact=True))
    expect(figure.locator("[stroke-dasharray]")).to_have_count(4)
    expect(figure.locator("svg title").filter(has_text="knee of")).to_have_count(3)
    rows = page.get_by_role("table", name="The universal scalability law").locator("tbody tr")
    assert rows.count() == 4
    expect(rows.first).to_contain_text("the law does not fit")
    assert page.locator(".multiples").first.locator("> div").count() == 4


@pytest.mark.parametrize("width", [375, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_sweep_fits_each_screen(open_page: OpenPage, sweep_file: Path, width: int, scheme: str) -> None:
    """No sideways scrolling with 20 cells, and enough contrast."""
    page = open_page(sweep_file, width, scheme)
    expect(page.locator(".plot svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(LEAST_CONTRAST) >= 4.5


def test_a_sweep_without_valid_rounds_is_drawn(open_page: OpenPage, tmp_path: Path) -> None:
    """Cells without a valid round say so; there is a page even if no cell has one."""
    run = records.sweep(tmp_path)
    page = open_page(write_page(tmp_path, replace(run, summary=run.summary[1:])))
    figure = page.locator("figure", has=page.get_by_role("heading", name="p99 of each cell", exact=True))
    assert "no valid round" in (figure.locator("svg").get_attribute("aria-label") or "")
    bad = [
        replace(each, measurements=[replace(one, problems=[Problem("errors", "all")]) for one in each.measurements])
        for each in run.rounds
    ]
    page = open_page(write_page(tmp_path, replace(run, rounds=bad, summary=[], status="invalid")))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Invalid run: no conclusion")


@pytest.fixture
def index_file(tmp_path: Path) -> Path:
    """An index of three runs: two of list-100 on different machines, and an invalid one of list-20."""
    runs = [
        records.make(tmp_path, run_id="one", rounds=2, invalid=()),
        records.make(tmp_path, run_id="two", rounds=2, invalid=(), day=1, cores=8),
        replace(records.make(tmp_path, run_id="three", rounds=2, invalid=(), day=2, asked="list-20"), status="invalid"),
    ]
    file = tmp_path / report_index.FILE
    text = report_index.index([(run, tmp_path / run.id) for run in runs], ["broken/run.json: not a run record"])
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("width", [375, 1280])
def test_the_index_filters(open_page: OpenPage, index_file: Path, width: int) -> None:
    """Text, workload and status filter the list, alone and combined; unreadable records are named."""
    page = open_page(index_file, width)
    rows = page.locator("table.runs tbody tr:visible")
    assert rows.count() == 3
    page.locator("#text").fill("ASYNCPG-json two")
    assert rows.count() == 1
    page.locator("#text").fill("")
    page.locator("#workload").select_option("list-20")
    assert rows.count() == 1
    page.locator("#status").select_option("complete")
    assert rows.count() == 0
    expect(page.get_by_role("status")).to_have_text("0 of 3 runs")
    expect(page.get_by_text("broken/run.json: not a run record")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_two_runs_are_selected_and_compared(open_page: OpenPage, index_file: Path) -> None:
    """Two selected runs are shown side by side with ratios and the fields that differ; a third replaces the first."""
    page = open_page(index_file)
    boxes = page.locator("input[type=checkbox]")
    boxes.nth(2).check()
    expect(page.locator("#comparison")).to_contain_text("Select one more run.")
    boxes.nth(1).check()
    fields = page.get_by_role("table", name="Fields that differ between the runs")
    assert fields.locator("tbody tr").all_inner_texts() == ["machine.cores\t2\t8"]
    rows = page.get_by_role("table", name="Profiles by run").locator("tbody tr")
    assert rows.count() == 2 * len(records.RATES)
    expect(rows.nth(1)).to_contain_text("1.00x")
    boxes.nth(0).check()
    assert [box.is_checked() for box in boxes.all()] == [True, True, False]
    assert "workload.name" in "".join(fields.locator("tbody th").all_inner_texts())
