"""The page and the index in a real browser, from files: what is drawn, that nothing is asked for, that nothing in a
record can run."""

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
EVIL = "</script><script>hurt()</script><img src=x onerror=hurt()>"
LINK = "javascript:hurt()"
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
UNWATCHED = PLOTS[4:]

Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("there is no chromium; Debian's package is `chromium`")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Opens a file; at the end no page asked for anything else, complained, or ran what stood in a record."""
    asked: list[str] = []
    complaints: list[str] = []
    pages: list[Page] = []

    def complain(told: str) -> None:
        complaints.append(told)

    def open_(file: Path, width: int = 1280, scheme: str = "light") -> Page:
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
        )
        pages.append(page)
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.expose_function("complain", complain)
        page.expose_function("hurt", lambda: complain("hurt"))
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
    assert {url for url in asked if not url.startswith("data:")} == addresses
    assert complaints == []


def written(folder: Path, *runs: Run) -> Path:
    file = folder / report.FILE
    file.write_text(report.page([(run, partial(samples.read, folder / run.id)) for run in runs]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with all that can be watched, and one invalid measurement."""
    folder = tmp_path_factory.mktemp("page")
    return written(folder, records.make(folder))


def test_every_plot_has_marks(opened: Opened, page_file: Path) -> None:
    """Each plot of the page is drawn, with marks for each profile and words for who cannot see it."""
    page = opened(page_file)
    for title in PLOTS:
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        svg = figure.locator(".plot svg")
        expect(svg.first).to_be_visible()
        marks = svg.locator("path[d]:not([d='']), circle, rect, line[stroke]")
        assert marks.count() >= len(records.RATES), title
        for label in svg.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))"):
            assert re.search(r"\d", label), title
    assert page.get_by_text("max_connections 100").count() == len(records.RATES)


def test_the_first_screen_answers(opened: Opened, page_file: Path) -> None:
    """Answer, validity with its reason, and the cost of each profile stand above the fold of a laptop."""
    page = opened(page_file)
    answer = page.get_by_role("heading", level=1)
    expect(answer).to_contain_text("asyncpg-json serves")
    told = page.locator(".validity")
    expect(told).to_contain_text("round 4, asyncpg-json: others used 31 % of the CPUs")
    table = page.get_by_role("table", name="Throughput, latency and costs of each profile")
    assert table.locator("tbody tr").count() == len(records.RATES)
    expect(table.locator("tbody tr").last).to_contain_text("faster")
    box = table.bounding_box()
    assert box
    assert box["y"] + box["height"] < 900


def test_every_measurement_is_listed(opened: Opened, page_file: Path) -> None:
    """The last table has each profile in each round; the invalid one says why."""
    page = opened(page_file)
    rows = page.get_by_role("table", name="Every measurement").locator("tbody tr")
    assert rows.count() == 6 * len(records.RATES)
    expect(page.locator("tr.invalid")).to_contain_text("machine_busy: others used 31 %")


def test_keys_that_differ_are_marked(opened: Opened, page_file: Path) -> None:
    """Of the profiles' keys those that differ stand first and are marked; the rest is folded away."""
    page = opened(page_file)
    assert page.locator("tr.differs th").all_inner_texts() == ["driver", "loading"]
    expect(page.get_by_text("4 keys that are equal")).to_be_visible()


@pytest.mark.parametrize("width", [375, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_each_screen_and_can_be_read(opened: Opened, page_file: Path, width: int, scheme: str) -> None:
    """No sideways scrolling on phone, tablet and laptop; words stand out from their ground by 4.5 to 1 (WCAG AA)."""
    page = opened(page_file, width, scheme)
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


def test_dark_mode_is_dark_and_paper_is_white(opened: Opened, page_file: Path) -> None:
    """The ground follows the reader's scheme on a screen, on paper it is white; lines change with it."""
    grounds, lines = set(), set()
    for scheme in ("light", "dark"):
        page = opened(page_file, 1280, scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        line = page.locator("figure .plot svg [stroke='var(--profile-1)']").first
        lines.add(line.evaluate("it => getComputedStyle(it).stroke"))
    assert len(grounds) == len(lines) == 2
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_it_prints(opened: Opened, page_file: Path) -> None:
    """Printing makes a document of several pages, with what was folded away opened for it and closed again."""
    page = opened(page_file)
    expect(page.locator(".plot svg").first).to_be_visible()
    page.evaluate("""() => {
      const count = (what) => document.querySelectorAll(what).length;
      addEventListener("beforeprint", () => { window.folded = count("details:not([open])"); });
      addEventListener("afterprint", () => { window.unfolded = count("details[open]"); });
    }""")
    printed = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 3
    assert page.evaluate("[window.folded, window.unfolded]") == [0, 0]


def test_what_was_not_watched_is_said(opened: Opened, tmp_path: Path) -> None:
    """A plot without data is one line that says so, not an empty box; the others are drawn."""
    page = opened(written(tmp_path, records.make(tmp_path, rounds=2, invalid=(), watch=False)))
    for title in PLOTS:
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        if title in UNWATCHED:
            expect(figure.locator("p")).to_contain_text("No data: ")
            assert figure.locator(".plot").count() == 0
        else:
            expect(figure.locator(".plot svg").first).to_be_visible()


def test_a_run_without_a_valid_round_is_told(opened: Opened, tmp_path: Path) -> None:
    """A contender without a valid round has a row without figures, and the status says that the run is not valid."""
    run = replace(records.make(tmp_path, rounds=2, invalid=(1, 2)), status="invalid", told="2 valid rounds are needed")
    page = opened(written(tmp_path, run))
    expect(page.locator(".validity")).to_contain_text("Invalid")
    expect(page.locator(".validity")).to_contain_text("2 valid rounds are needed")
    expect(page.locator("table.cards tbody tr").last).to_contain_text("no valid round")


def test_what_is_of_the_inspection_is_said(opened: Opened, page_file: Path) -> None:
    """What only the service tells names the inspection as its source; what was watched names a round."""
    page = opened(page_file)
    expect(page.locator("p.aside")).to_contain_text("none of these figures is compared")
    for title, of in (("Connection pool over time", "inspection"), ("CPU usage", "round")):
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        told = figure.locator("h4 small").all_inner_texts()
        assert [text.split()[0] for text in told] == [of] * len(records.RATES), title


def borne(run: Run, folder: Path) -> Run:
    """The run as if it had been told to bear what made rounds invalid."""
    rounds = [
        replace(each, measurements=[replace(one, problems=[], warnings=one.problems) for one in each.measurements])
        for each in run.rounds
    ]
    summary = judgement.summarise(rounds, run.contenders, partial(samples.read, folder / run.id))
    return replace(run, rounds=rounds, summary=summary)


def test_warnings_are_told(opened: Opened, tmp_path: Path) -> None:
    """A measurement that counts although the machine was busy is folded below the validity, and in the last table."""
    page = opened(written(tmp_path, borne(records.make(tmp_path, rounds=2, invalid=(2,)), tmp_path)))
    told = page.locator(".validity details")
    expect(told.locator("summary")).to_contain_text("1 of 6 measurements")
    told.locator("summary").click()
    expect(told.locator("li")).to_contain_text("round 2, asyncpg-json: others used 31 %")
    expect(page.get_by_role("table", name="Every measurement")).to_contain_text(
        "Warning machine_busy: others used 31 %"
    )


def test_the_intervals_of_two_rounds_stay_in_their_plot(opened: Opened, tmp_path: Path) -> None:
    """Two rounds that lie far apart have an interval of many times the mean; it ends at the plot's edge."""
    page = opened(written(tmp_path, borne(records.make(tmp_path, rounds=2, invalid=(2,)), tmp_path)))
    boxes = """all => all.map(svg => {
      const box = svg.getBoundingClientRect();
      return [...svg.querySelectorAll("line")].every(it => it.getBoundingClientRect().right <= box.right + 1);
    })"""
    for title in PLOTS[:2]:
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        expect(figure.locator("svg").last).to_be_visible()
        assert all(figure.locator(".plot svg").evaluate_all(boxes)), title


@pytest.mark.parametrize("width", [375, 1280])
def test_many_profiles_of_long_names_fit(opened: Opened, tmp_path: Path, width: int) -> None:
    """Seven overridden profiles fit phone and laptop; one problem in many rounds is told once, with its rounds."""
    rates = {f"asyncpg-joined@pool_size={size},max_overflow=0,pool_pre_ping=on": 100.0 + size for size in range(7)}
    page = opened(written(tmp_path, records.make(tmp_path, rates=rates, rounds=3, invalid=(1, 2, 3))), width)
    expect(page.locator(".plot svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    told = page.locator(".validity li").all_inner_texts()
    assert [text.split(", asyncpg")[0] for text in told] == ["rounds 1, 2, 3"]


def wicked(run: Run) -> Run:
    """The run with markup wherever a record holds words of somebody's."""
    label = run.contenders[-1].label
    bad = Problem(EVIL, EVIL)
    contenders = [
        replace(one, label=EVIL, keys={EVIL: LINK}, statements={EVIL: [EVIL]}) if one.label == label else one
        for one in run.contenders
    ]
    rounds = [
        replace(
            each,
            measurements=[
                replace(one, profile=EVIL, problems=[bad] if one.problems else []) if one.profile == label else one
                for one in each.measurements
            ],
        )
        for each in run.rounds
    ]
    summary = [replace(one, profile=EVIL) if one.profile == label else one for one in run.summary]
    steps = [replace(one, key=EVIL, before=LINK, after=EVIL, contender=EVIL) for one in run.steps]
    machine = replace(run.machine, cpu=EVIL, packages={EVIL: LINK})
    return replace(
        run,
        told=EVIL,
        workload=replace(run.workload, name=EVIL, description=LINK),
        machine=machine,
        catalogue=replace(run.catalogue, source=EVIL),
        contenders=contenders,
        rounds=rounds,
        summary=summary,
        steps=steps,
    )


def test_nothing_in_a_record_runs(opened: Opened, tmp_path: Path) -> None:
    """Markup in names, problems, keys and statements is shown as it is written: no element, no link, no script."""
    run = wicked(records.make(tmp_path, rounds=2, invalid=(2,)))
    page = opened(written(tmp_path, run, run))
    expect(page.locator("h2.answer").first).to_contain_text(EVIL)
    assert page.locator("main img, main script, a[href^='javascript']").count() == 0
    index = tmp_path / "index.html"
    index.write_text(report_index.index([(run, tmp_path / LINK), (run, tmp_path / run.id)], [EVIL]), encoding="utf-8")
    page = opened(index)
    expect(page.locator("tbody tr").first).to_contain_text(EVIL)
    for box in page.locator("input[type=checkbox]").all():
        box.check()
    assert page.locator("main img, main script, a[href^='javascript']").count() == 0


def test_a_sweep_has_the_fitted_law(opened: Opened, tmp_path: Path) -> None:
    """From four concurrencies on each profile has the fitted law as a broken line, and a word where it is poor."""
    runs = []
    for clients in (1, 2, 5, 20):
        rates = {"sweeping": 100 * clients / (1 + 0.05 * (clients - 1)), "erratic": 100.0 if clients == 5 else 20.0}
        runs.append(records.make(tmp_path, run_id=f"{clients}", rates=rates, rounds=2, invalid=(), clients=clients))
    page = opened(written(tmp_path, *runs))
    figure = page.locator("figure", has=page.get_by_role("heading", name="Throughput against concurrency"))
    expect(figure.locator("[stroke-dasharray]")).to_have_count(2)
    expect(figure.locator("p.missing")).to_contain_text("erratic: ")


def test_runs_at_several_concurrencies_make_a_curve(opened: Opened, tmp_path: Path) -> None:
    """Several runs stand beside each other; where concurrency differs throughput is drawn against it."""
    runs = [
        records.make(tmp_path, run_id=f"with-{clients}", rounds=2, invalid=(), clients=clients)
        for clients in (1, 5, 25)
    ]
    page = opened(written(tmp_path, *runs))
    figure = page.locator("figure", has=page.get_by_role("heading", name="Throughput against concurrency"))
    expect(figure.locator("svg").last).to_be_visible()
    assert figure.locator(".plot svg path[d]:not([d=''])").count() >= 3 * len(records.RATES)
    table = page.get_by_role("table", name="Profiles by run")
    assert table.locator("tbody tr").count() == 3 * len(records.RATES)
    fields = page.get_by_role("table", name="Fields that differ between the runs").locator("tbody th")
    assert fields.all_inner_texts() == ["workload.concurrency"]


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of 20 cells, made of one run."""
    folder = tmp_path_factory.mktemp("sweep-page")
    return written(folder, records.sweep(folder))


def test_a_sweep_is_a_grid(opened: Opened, sweep_file: Path) -> None:
    """Both heat maps have each cell with its figure and a frame around the best; the answer names that one."""
    page = opened(sweep_file)
    expect(page.get_by_role("heading", level=1)).to_contain_text("with pool_size=10 and concurrency=20 (best of 20 cells)")
    for title in ("Requests per second of each cell", "p99 of each cell"):
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        expect(figure.locator("svg rect[fill^='color-mix']")).to_have_count(20)
        expect(figure.locator("svg [fill='none'] rect, svg rect[fill='none']")).to_have_count(1)
    page.get_by_text("Every cell as a table").click()
    assert page.get_by_role("table", name="Every cell").locator("tbody tr").count() == 20
    assert page.get_by_role("heading", name="Ratio to the baseline").count() == 0


def test_a_sweep_has_curves_and_knees(opened: Opened, sweep_file: Path) -> None:
    """A line and marks for each variant, the fitted law as a broken line, a knee where the fit is good, and a word
    where it is poor."""
    page = opened(sweep_file)
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
def test_a_sweep_fits_each_screen(opened: Opened, sweep_file: Path, width: int, scheme: str) -> None:
    """No sideways scrolling with 20 cells, and words stand out."""
    page = opened(sweep_file, width, scheme)
    expect(page.locator(".plot svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(LEAST_CONTRAST) >= 4.5


def test_a_sweep_of_one_round_or_none_is_drawn(opened: Opened, tmp_path: Path) -> None:
    """Cells without a valid round are said to have none; without any there is still a page."""
    run = records.sweep(tmp_path)
    page = opened(written(tmp_path, replace(run, summary=run.summary[1:])))
    figure = page.locator("figure", has=page.get_by_role("heading", name="p99 of each cell", exact=True))
    assert "no valid round" in (figure.locator("svg").get_attribute("aria-label") or "")
    bad = [
        replace(each, measurements=[replace(one, problems=[Problem("errors", "all")]) for one in each.measurements])
        for each in run.rounds
    ]
    page = opened(written(tmp_path, replace(run, rounds=bad, summary=[], status="invalid")))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Invalid run: no conclusion")


@pytest.fixture
def index_file(tmp_path: Path) -> Path:
    """An index of three runs: two of list-100 on unlike machines, one of list-20 that is not valid."""
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
def test_the_index_filters(opened: Opened, index_file: Path, width: int) -> None:
    """Words, workload and status narrow the list, together too; what cannot be read is named."""
    page = opened(index_file, width)
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


def test_two_runs_are_picked_and_compared(opened: Opened, index_file: Path) -> None:
    """Two picked runs stand beside each other with ratios and the fields in which they differ; a third takes the
    place of the first."""
    page = opened(index_file)
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
