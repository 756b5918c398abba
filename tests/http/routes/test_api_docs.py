"""/schema in a real browser: the page comes from the service alone, keeps its own policy, and sends requests."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from importlib.resources import files

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from bookstore.auth.tokens import make

TOKEN, _KEPT = make("page", ["catalog:write"], date(2026, 1, 1))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def base(
    own_database: Callable[..., AbstractContextManager[sa.URL]], deployed: Callable[..., AbstractContextManager[str]]
) -> Iterator[str]:
    """The address of a server as it is deployed, with one book, which takes TOKEN."""
    with (
        own_database("INSERT INTO book (title) VALUES ('Book 1')") as url,
        deployed(url, BOOKSTORE_API_TOKENS=_KEPT.line()) as address,
    ):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("there is no chromium; Debian's package is `chromium`")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


class Watched:
    """A page, the requests that it wanted to send elsewhere, and everything it complained of."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.expose_function("complain", self.complain)
        page.add_init_script(
            "addEventListener('securitypolicyviolation', e => complain(`${e.violatedDirective}: ${e.blockedURI}`))"
        )

        def allow_local(route: Route) -> None:
            if route.request.url.startswith(f"{base}/"):
                route.continue_()
            else:
                self.elsewhere.append(route.request.url)
                route.abort()

        page.route("**/*", allow_local)

    def complain(self, text: str) -> None:
        self.complaints.append(text)


@pytest.fixture
def watched(browser: Browser, base: str) -> Iterator[Watched]:
    """An open page at /schema; at the end nothing came from elsewhere, and nothing went wrong."""
    page = browser.new_page()
    it = Watched(page, base)
    page.goto(f"{base}/schema")
    yield it
    page.close()
    assert it.elsewhere == []
    assert it.complaints == []


def test_a_request_from_the_page(watched: Watched) -> None:
    """A click on "Execute" sends GET /books and shows the answer: 200 and a book."""
    page = watched.page
    operation = page.locator("#operations-Books-listBooks")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    with page.expect_response("**/books*") as sent:
        operation.get_by_role("button", name="Execute").click()
    assert sent.value.status == 200
    answer = operation.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").last).to_contain_text("200")
    expect(answer.locator(".highlight-code").first).to_contain_text("Book 1")
    if folder := os.environ.get("BOOKSTORE_TEST_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/schema.png", full_page=True)


def test_writing_from_the_page(watched: Watched) -> None:
    """A token given to "Authorize" goes along with "Execute": POST /books is 201 and shows the new book."""
    page = watched.page
    page.get_by_role("button", name="Authorize").click()
    dialog = page.locator(".dialog-ux")
    dialog.locator("input").fill(TOKEN)
    dialog.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close").last.click()
    operation = page.locator("#operations-Books-createBook")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("textarea.body-param__text").fill(json.dumps({"title": "Written from the page"}))
    with page.expect_response("**/books") as sent:
        operation.get_by_role("button", name="Execute").click()
    assert (sent.value.status, sent.value.request.method) == (201, "POST")
    answer = operation.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").last).to_contain_text("201")
    expect(answer.locator(".highlight-code").first).to_contain_text("Written from the page")


def test_the_files(base: str) -> None:
    """Page, scripts and styles are served packed or plain, may be kept, and bear their own policy."""
    with httpx.Client(base_url=base) as client:
        page = client.get("/schema")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        names = re.findall(r'(?:href|src)="/schema/([a-z.-]+[a-z])"', page.text)
        assert names == ["swagger-ui.css", "swagger-ui-bundle.js", "start.js", "openapi.json"]
        for name in names[:-1]:
            packed = client.get(f"/schema/{name}", headers={"Accept-Encoding": "gzip"})
            plain = client.get(f"/schema/{name}", headers={"Accept-Encoding": "identity"})
            assert (packed.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
            assert packed.content == plain.content
            assert "max-age" in plain.headers["cache-control"]
            assert plain.headers["content-type"].startswith(("text/css", "text/javascript"))
            assert "'unsafe" not in plain.headers["content-security-policy"]
        assert "script-src 'self';" in page.headers["content-security-policy"]
        unknown = client.get("/schema/nothing.js")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_the_page_fits_into_a_small_wheel() -> None:
    """What is shipped of Swagger UI is less than 600 kB, its licences are beside it."""
    folder = files("bookstore") / "http" / "routes" / "swagger_ui"
    sizes = {file.name: len(file.read_bytes()) for file in folder.iterdir()}
    assert sum(sizes.values()) < 600_000
    assert {"LICENSE", "NOTICE.md", "swagger-ui-bundle.js.LICENSE.txt"} <= sizes.keys()
