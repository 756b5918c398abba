from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from bookstore.guardian import Guardian
from bookstore.lab import load
from bookstore.lab.load import LoadError, measured, read_samples, send
from bookstore.lab.results import Sample
from bookstore.lab.workload import Ask, Workload


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []
    accepted: ClassVar[set[str | None]] = set()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.accepted.add(self.headers["Accept-Encoding"])
        if self.path == "/close" or (self.path == "/some" and len(self.asked) % 3 == 0):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.path == "/same":
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(500 if self.path == "/error" else 200)
        self.send_header("Content-Length", "2")
        if self.path == "/some":  # on a connection that was kept, k9 would ask again without a word
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing: the tests ask a thousand times."""


@pytest.fixture
def base() -> Iterator[str]:
    """A service that tells in `Handler.asked` what it was asked."""
    Handler.asked.clear()
    Handler.accepted.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(path: str, base: str, folder: Path, guardian: Guardian, ids: Sequence[int] = (1,)) -> list[Sample]:
    one = Workload(name="it", requests=[Ask(name="it", path=path)], concurrency=2, duration=0.5, warm_up=0.2)
    return send(one, base, ids, folder, guardian, lambda _: None)


def children() -> list[psutil.Process]:
    """This process's children that run k9."""
    found = psutil.Process().children(recursive=True)
    return [child for child in found if child.status() != psutil.STATUS_ZOMBIE and "k9" in child.cmdline()]


def test_a_sample_for_each_request(base: str, tmp_path: Path, guardian: Guardian) -> None:
    """Each request that the service got has its sample, in the order they were done, with time and status;
    the load goes on until all measured seconds are over."""
    shares: list[float] = []
    one = Workload(
        name="it", requests=[Ask(name="it", path="/books?limit=1")], concurrency=2, duration=0.5, warm_up=0.2
    )
    samples = send(one, base, [1], tmp_path, guardian, shares.append)
    assert len(samples) == len(Handler.asked)
    assert set(Handler.asked) == {"/books?limit=1"}
    assert [sample.done_s for sample in samples] == sorted(sample.done_s for sample in samples)
    assert all(sample.ok and sample.duration_ms > 0 for sample in samples)
    assert min(sample.done_s - sample.duration_ms / 1000 for sample in samples) == pytest.approx(0, abs=1e-4)
    assert samples[-1].done_s >= 0.7
    assert 0 < len(measured(samples, one)) < len(samples)
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    assert children() == []


@pytest.mark.parametrize("ids", [[1], [2, 3, 70]])
def test_every_book_is_asked(ids: list[int], base: str, tmp_path: Path, guardian: Guardian) -> None:
    """`{id}` stands for each of the catalogue's ids, gaps and all, and no other."""
    samples = ask("/books/{id}", base, tmp_path, guardian, ids)
    assert len(samples) == len(Handler.asked)
    assert set(Handler.asked) == {f"/books/{book_id}" for book_id in ids}


def test_headers_go_along(base: str, tmp_path: Path, guardian: Guardian) -> None:
    """Each request has the workload's headers."""
    headers = {"Accept-Encoding": 'gzip;q=0.9, "odd"'}
    one = Workload(
        name="it", requests=[Ask(name="it", path="/books", headers=headers)], concurrency=2, duration=0.5, warm_up=0.0
    )
    assert send(one, base, [1], tmp_path, guardian, lambda _: None)
    assert Handler.accepted == {'gzip;q=0.9, "odd"'}


def test_not_modified_is_a_success(base: str, tmp_path: Path, guardian: Guardian) -> None:
    """A client that has the newest got what it asked for."""
    assert {(sample.status, sample.ok) for sample in ask("/same", base, tmp_path, guardian)} == {(304, True)}


def test_errors_keep_their_status(base: str, tmp_path: Path, guardian: Guardian) -> None:
    """A service that answers 500 has samples that say so."""
    samples = ask("/error", base, tmp_path, guardian)
    assert len(samples) == len(Handler.asked)
    assert {(sample.status, sample.ok) for sample in samples} == {(500, False)}


def test_closed_connections_are_errors(base: str, tmp_path: Path, guardian: Guardian) -> None:
    """A request whose connection is closed without an answer is a sample too, with the status 0."""
    samples = ask("/close", base, tmp_path, guardian)
    assert len(samples) == len(Handler.asked)
    assert {(sample.status, sample.ok) for sample in samples} == {(0, False)}
    assert all(0 < sample.duration_ms < 60_000 for sample in samples)


def test_some_closed_connections(base: str, tmp_path: Path, guardian: Guardian) -> None:
    """Answered and unanswered requests of one load are told apart."""
    samples = ask("/some", base, tmp_path, guardian)
    statuses = [sample.status for sample in samples]
    assert set(statuses) == {0, 200}
    answered = sum(number % 3 != 0 for number in range(1, len(Handler.asked) + 1))
    assert statuses.count(200) == answered


def test_nobody_listens(tmp_path: Path, guardian: Guardian) -> None:
    """A refused connection is an error of the service, counted as such."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        samples = ask("/books", f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path, guardian)
    assert {sample.status for sample in samples} == {0}


def test_k9_fails(base: str, tmp_path: Path, guardian: Guardian) -> None:
    """Where k9 ends with an error there is no measurement, and its words are told."""
    (tmp_path / "samples.jsonl").mkdir()
    with pytest.raises(LoadError, match=r"k9 ended with code [1-9]\d*: .+"):
        ask("/books", base, tmp_path, guardian)
    assert children() == []


def test_k9_is_killed(base: str, tmp_path: Path, guardian: Guardian) -> None:
    """Samples of a k9 that was killed half-way are not taken for a measurement."""

    def kill(_: float) -> None:
        if Handler.asked:
            for child in children():
                child.kill()

    one = Workload(name="it", requests=[Ask(name="it", path="/books")], concurrency=2, duration=5, warm_up=0)
    with pytest.raises(LoadError, match="k9 ended with code -9"):
        send(one, base, [1], tmp_path, guardian, kill)


def test_interrupted(base: str, tmp_path: Path, guardian: Guardian) -> None:
    """Ctrl-C in the middle leaves no k9."""

    def interrupt(_: float) -> None:
        if Handler.asked:
            raise KeyboardInterrupt

    one = Workload(name="it", requests=[Ask(name="it", path="/books")], concurrency=2, duration=60, warm_up=0)
    with pytest.raises(KeyboardInterrupt):
        send(one, base, [1], tmp_path, guardian, interrupt)
    assert children() == []


def test_a_load_that_ended_early(
    base: str, tmp_path: Path, guardian: Guardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load without a request at the end of the measured time is no measurement: its figure would be low."""
    monkeypatch.setattr(load, "read_samples", lambda _: [Sample(0.69, 5.0, 200)])
    with pytest.raises(LoadError, match=r"no request ended after 0\.7 s"):
        ask("/books", base, tmp_path, guardian)


def test_measured_edges() -> None:
    """What is done at the warm-up's end counts, what is done at the load's end does not."""
    one = Workload(name="it", requests=[Ask(name="it", path="/")], warm_up=2, duration=5)
    samples = [Sample(done, 1.0, 200) for done in (0.0, 1.999999, 2.0, 6.999999, 7.0, 7.5)]
    assert [sample.done_s for sample in measured(samples, one)] == [2.0, 6.999999]


def test_no_samples(tmp_path: Path) -> None:
    """A file without a request is no measurement."""
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"type":"Metric","data":{"name":"vus"},"metric":"vus"}\n')
    with pytest.raises(LoadError, match="k9 sent no request"):
        read_samples(empty)
