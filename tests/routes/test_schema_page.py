"""/schema in a real browser: the page comes from the service alone, keeps its own policy, and sends requests."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from bookstore.database_url import conninfo

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def base(books_url: sa.URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server as it is deployed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": str(home)}
    ours = {"DATABASE_URL": conninfo(books_url), "BOOKSTORE_PORT": str(port), "BOOKSTORE_PROFILE": "default@workers=1"}
    command = [sys.executable, "-m", "bookstore", "serve"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=given | ours, cwd=home, stdout=log, stderr=log)
    try:
        client = httpx.Client(transport=httpx.HTTPTransport(retries=0))
        end = time.monotonic() + PATIENCE_MS / 1000
        while not _is_ready(client, f"http://127.0.0.1:{port}"):
            assert server.poll() is None, (home / "log").read_text()
            assert time.monotonic() < end, (home / "log").read_text()
            time.sleep(0.05)
        client.close()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(PATIENCE_MS / 1000)


def _is_ready(client: httpx.Client, base: str) -> bool:
    try:
        return client.get(f"{base}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


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
    folder = files("bookstore") / "routes" / "swagger_ui"
    sizes = {file.name: len(file.read_bytes()) for file in folder.iterdir()}
    assert sum(sizes.values()) < 600_000
    assert {"LICENSE", "NOTICE.md", "swagger-ui-bundle.js.LICENSE.txt"} <= sizes.keys()
