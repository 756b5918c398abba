"""/schema in a real browser: the page loads only from the service, obeys its own policy, and sends requests."""

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

from bookstore.auth.tokens import create

TOKEN, _KEPT = create("page", ["catalog:write"], date(2026, 1, 1))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def base(
    own_database: Callable[..., AbstractContextManager[sa.URL]], deployed: Callable[..., AbstractContextManager[str]]
) -> Iterator[str]:
    """The address of a deployed server with one book, which accepts TOKEN."""
    with (
        own_database("INSERT INTO book (title) VALUES ('Book 1')") as url,
        deployed(url, BOOKSTORE_API_TOKENS=_KEPT.line()) as address,
    ):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("Chromium is not installed (Debian package: `chromium`)")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


class WatchedPage:
    """A page with its blocked requests to other servers and all its errors."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.blocked: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.expose_function("report", self.report)
        page.add_init_script(
            "addEventListener('securitypolicyviolation', e => report(`${e.violatedDirective}: ${e.blockedURI}`))"
        )

        def allow_local(route: Route) -> None:
            if route.request.url.startswith(f"{base}/"):
                route.continue_()
            else:
                self.blocked.append(route.request.url)
                route.abort()

        page.route("**/*", allow_local)

    def report(self, error: str) -> None:
        self.errors.append(error)


@pytest.fixture
def watched(browser: Browser, base: str) -> Iterator[WatchedPage]:
    """The page at /schema. At the end it must have sent no request to other servers and reported no error."""
    page = browser.new_page()
    watched = WatchedPage(page, base)
    page.goto(f"{base}/schema")
    yield watched
    page.close()
    assert watched.blocked == []
    assert watched.errors == []


def test_read_from_the_page(watched: WatchedPage) -> None:
    """A click on "Execute" sends GET /books and shows the response: 200 and a book."""
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


def test_write_from_the_page(watched: WatchedPage) -> None:
    """The "Execute" button sends the token entered in "Authorize": POST /books is 201 and shows the new book."""
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


def test_files(base: str) -> None:
    """Page, scripts and styles are served compressed or plain, are cacheable, and have their own policy."""
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


def test_size_of_swagger_ui() -> None:
    """The shipped files of Swagger UI have less than 600 kB and include their licences."""
    folder = files("bookstore") / "http" / "routes" / "swagger_ui"
    sizes = {file.name: len(file.read_bytes()) for file in folder.iterdir()}
    assert sum(sizes.values()) < 600_000
    assert {"LICENSE", "NOTICE.md", "swagger-ui-bundle.js.LICENSE.txt"} <= sizes.keys()
