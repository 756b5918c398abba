from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
import numpy as np
import psutil
import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.load import k9
from bookstore.lab.load.k9 import LoadError, LoadResult, Target, send
from bookstore.lab.load.k9_output import Points
from bookstore.lab.record.samples import Samples
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload
from bookstore.reaper import Reaper


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    asked: ClassVar[list[str]] = []
    told: ClassVar[list[tuple[str, str | None, str | None, bytes]]] = []
    accepted: ClassVar[set[str | None]] = set()
    clients: ClassVar[set[tuple[str, int]]] = set()
    stalls_at: ClassVar[float | None] = None
    stall: ClassVar[threading.Lock] = threading.Lock()

    def answer(self) -> None:
        self.asked.append(self.path)
        self.clients.add(self.client_address)
        self.accepted.add(self.headers["Accept-Encoding"])
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.told.append((self.command, self.headers["Authorization"], self.headers["Content-Type"], body))
        if self.path == "/close" or (self.path == "/some" and len(self.asked) % 3 == 0):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.path == "/stall":
            self.hold()
        if self.path == "/same":
            self.send_response(304)
            self.end_headers()
            return
        self.send_response({"/error": 500, "/elsewhere": 303}.get(self.path, 200))
        self.send_header("Content-Length", "2")
        if self.path == "/elsewhere":
            self.send_header("Location", "/books")
        if self.path == "/some":  # on a connection that was kept, k9 would ask again without a word
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PATCH = answer  # noqa: N815 - http.server names them so

    def hold(self) -> None:
        """Nobody gets an answer in the second after `stalls_at`, which the first request sets."""
        with self.stall:
            if Handler.stalls_at is None:
                Handler.stalls_at = time.monotonic() + 1
        over_s = Handler.stalls_at + 1 - time.monotonic()
        if 0 < over_s <= 1:
            time.sleep(over_s)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests ask a thousand times."""


class Server(ThreadingHTTPServer):
    request_queue_size = 1024


@pytest.fixture
def base() -> Iterator[str]:
    """A service that tells in `Handler.asked` what it was asked."""
    Handler.asked.clear()
    Handler.accepted.clear()
    Handler.told.clear()
    Handler.clients.clear()
    Handler.stalls_at = None
    server = Server(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def one_get(path: str, duration: float = 0.5, warm_up: float = 0.2) -> Workload:
    return Workload(
        name="it", requests=[RequestSpec(name="it", path=path)], concurrency=2, duration=duration, warm_up=warm_up
    )


def sent(workload: Workload, base: str, folder: Path, reaper: Reaper, ids: Sequence[int] = (1,)) -> LoadResult:
    return send(workload, Target(base, ids), folder, reaper, lambda *_: None, seed=7)


def ask(path: str, base: str, folder: Path, reaper: Reaper, ids: Sequence[int] = (1,)) -> Samples:
    return sent(one_get(path), base, folder, reaper, ids).samples


def children() -> list[psutil.Process]:
    """This process's children that run k9."""
    found = psutil.Process().children(recursive=True)
    return [child for child in found if child.status() != psutil.STATUS_ZOMBIE and "k9" in child.cmdline()]


def test_a_sample_for_each_request(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Each request that the service got has its sample, in the order they were done, with time and status; the
    warm-up's are before zero; the load goes on until all measured seconds are over. Nothing else is left."""
    ticks: list[tuple[str, float]] = []
    pids: list[int] = []
    one = one_get("/books?limit=1")
    before_s = time.monotonic()
    it = send(one, Target(base, [1]), tmp_path, reaper, lambda *tick: ticks.append(tick), seed=7, pid=pids.append)
    samples = it.samples
    assert len(samples) == len(Handler.asked)
    assert set(Handler.asked) == {"/books?limit=1"}
    assert np.all(np.diff(samples.done_s) >= 0)
    assert samples.ok.all()
    assert Handler.accepted == {"identity"}
    assert (samples.latency_ms > 0).all()
    assert (samples.latency_ms == samples.service_ms).all()
    assert set(samples.kind.tolist()) == {0}
    began_s = samples.done_s - samples.latency_ms / 1000
    assert began_s[samples.done_s >= 0].min() == pytest.approx(0, abs=1e-4)
    assert began_s.min() == pytest.approx(-it.warm_up_s, abs=1e-4)
    assert samples.done_s[-1] >= 0.5
    assert before_s < it.began_s < time.monotonic()
    assert 0 < len(samples.measured(one.duration, one.model)) < len(samples)
    assert [what for what, _ in ticks] == sorted((what for what, _ in ticks), reverse=True)
    assert {what for what, _ in ticks} == {"warms up", "is loaded"}
    assert all(0 <= share <= 1 for _, share in ticks)
    assert it.generator.cpu_ratio is not None
    assert (it.generator.late_ms, it.generator.dropped) == (None, 0)
    assert len(set(pids)) == 2
    assert children() == []
    assert list(tmp_path.glob("*.jsonl")) == []


def test_no_warm_up(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Without a warm-up each request counts, and nobody says it was not steady."""
    it = sent(one_get("/books", warm_up=0), base, tmp_path, reaper)
    assert (it.samples.done_s > 0).all()
    assert (it.warm_up_s, it.steady) == (0, True)


def test_warm_up_ends_when_steady(base: str, tmp_path: Path, reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that is steady is measured before the warm-up's cap; one that never is, is said to be so."""
    monkeypatch.setattr(k9, "is_steady", lambda samples, **_: len(samples) > 0)
    monkeypatch.setattr(k9, "WINDOWS", 1)
    it = sent(one_get("/books", warm_up=60), base, tmp_path, reaper)
    assert it.steady
    assert it.warm_up_s < 30
    monkeypatch.setattr(k9, "is_steady", lambda *_, **__: False)
    assert not sent(one_get("/books", warm_up=0.6), base, tmp_path, reaper).steady


@pytest.mark.parametrize("ids", [[1], [2, 3, 70]])
def test_every_book_is_asked(ids: list[int], base: str, tmp_path: Path, reaper: Reaper) -> None:
    """`{id}` stands for each of the catalogue's ids, gaps and all, and no other."""
    samples = ask("/books/{id}", base, tmp_path, reaper, ids)
    assert len(samples) == len(Handler.asked)
    assert set(Handler.asked) == {f"/books/{book_id}" for book_id in ids}


def test_same_keys_for_each_contender(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """The same seed asks for the same books in the same order, however long the warm-up was."""
    asked = Workload(
        name="it",
        requests=[RequestSpec(name="it", path="/books/{id}")],
        keys="zipf",
        concurrency=1,
        duration=0.5,
        warm_up=0,
    )
    orders = []
    for number in range(2):
        Handler.asked.clear()
        it = sent(asked, base, tmp_path, reaper, range(1, 1001))
        assert len(it.samples) == len(Handler.asked) > 20
        orders.append(Handler.asked[:20] if number else list(Handler.asked[:20]))
    assert orders[0] == orders[1]
    assert len(set(orders[0])) > 1


def test_mix(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Kinds are mixed by their weights and told apart; writes have the token, which no file holds, and their
    placeholders are filled."""
    body = '{"title": "A {uuid}", "publication_year": {number}, "of": {id}}'
    asked = [
        RequestSpec(name="list", path="/books", weight=3),
        RequestSpec(name="create", method="POST", path="/books", body=body),
        RequestSpec(name="update", method="PATCH", path="/books/{id}", body="{}", headers={"content-type": "text/x"}),
    ]
    one = Workload(name="it", requests=asked, concurrency=2, duration=1, warm_up=0)
    it = send(one, Target(base, [5], "a-secret"), tmp_path, reaper, lambda *_: None, seed=7)
    kinds = Counter(it.samples.kind.tolist())
    methods = Counter(method for method, *_ in Handler.told)
    assert methods == {"GET": kinds[0], "POST": kinds[1], "PATCH": kinds[2]}
    assert kinds[0] > kinds[1] > 0
    assert kinds[0] > kinds[2] > 0
    seen = {(method, token, kind) for method, token, kind, _ in Handler.told}
    assert seen == {
        ("GET", None, None),
        ("POST", "Bearer a-secret", "application/json"),
        ("PATCH", "Bearer a-secret", "text/x"),
    }
    bodies = [msgspec.json.decode(body) for method, *_, body in Handler.told if method == "POST"]
    assert len({body["title"] for body in bodies}) == len(bodies)
    assert {body["of"] for body in bodies} == {5}
    assert all(1 <= body["publication_year"] <= 1000 for body in bodies)
    assert not any(b"a-secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_open_model(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Requests come at the rate, whatever the number of clients; each is counted from its planned moment."""
    one = Workload(
        name="it", requests=[RequestSpec(name="it", path="/books")], model="open", rate=50.5, duration=2, warm_up=0.5
    )
    it = sent(one, base, tmp_path, reaper)
    assert len(it.samples.measured(one.duration, one.model)) == pytest.approx(101, abs=2)
    assert (it.samples.latency_ms >= it.samples.service_ms).all()
    assert it.generator.late_ms is not None


def test_no_coordinated_omission(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """While the service stalls for a second, requests stay planned, and each of them shows its wait: one that was
    planned t seconds after the stall began took at least 1 - t seconds."""
    one = Workload(
        name="it", requests=[RequestSpec(name="it", path="/stall")], model="open", rate=100, duration=3, warm_up=0
    )
    it = sent(one, base, tmp_path, reaper)
    planned_s = it.samples.done_s - it.samples.latency_ms / 1000
    assert Handler.stalls_at is not None
    since_s = planned_s - (Handler.stalls_at - it.began_s)
    stalled = (since_s > 0.05) & (since_s < 0.95)
    assert np.count_nonzero(stalled) == pytest.approx(90, abs=2)
    assert (it.samples.latency_ms[stalled] / 1000 > 1 - since_s[stalled] - 0.05).all()
    assert it.generator.dropped == 0
    assert len(it.samples.measured(one.duration, one.model)) == pytest.approx(300, abs=2)


@pytest.mark.parametrize("model", ["closed", "open"])
def test_stages(model: Literal["closed", "open"], base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Stages ramp up to as many clients (closed), or to as many requests as were planned (open)."""
    stages = [Stage(duration=1, target=10 if model == "closed" else 100), Stage(duration=1, target=10)]
    asked = [RequestSpec(name="it", path="/books")]
    start = {"concurrency": 1} if model == "closed" else {"rate": 1.0}
    one = Workload(name="it", requests=asked, model=model, stages=stages, duration=2, warm_up=0, **start)
    it = sent(one, base, tmp_path, reaper)
    counted = it.samples.measured(one.duration, one.model)
    if model == "closed":
        assert len(Handler.clients) == 10
    else:  # the areas below both ramps: (1 + 100) / 2 and (100 + 10) / 2
        assert len(counted) == pytest.approx(50.5 + 55, abs=4)


def test_headers_go_along(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Each request has the workload's headers."""
    headers = {"Accept-Encoding": 'gzip;q=0.9, "odd"'}
    one = Workload(
        name="it",
        requests=[RequestSpec(name="it", path="/books", headers=headers)],
        concurrency=2,
        duration=0.5,
        warm_up=0.0,
    )
    assert len(sent(one, base, tmp_path, reaper).samples)
    assert Handler.accepted == {'gzip;q=0.9, "odd"'}


def test_not_modified_is_a_success(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """A client that has the newest got what it asked for."""
    samples = ask("/same", base, tmp_path, reaper)
    assert (set(samples.status.tolist()), bool(samples.ok.all())) == ({304}, True)


def test_errors_keep_their_status(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """A service that answers 500 has samples that say so."""
    samples = ask("/error", base, tmp_path, reaper)
    assert len(samples) == len(Handler.asked)
    assert (set(samples.status.tolist()), bool(samples.ok.any())) == ({500}, False)


def test_closed_connections_are_errors(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """A request whose connection is closed without an answer is a sample too, with the status 0."""
    samples = ask("/close", base, tmp_path, reaper)
    assert len(samples) == len(Handler.asked)
    assert (set(samples.status.tolist()), bool(samples.ok.any())) == ({0}, False)
    assert ((samples.latency_ms > 0) & (samples.latency_ms < 60_000)).all()


def test_some_closed_connections(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Answered and unanswered requests of one load are told apart."""
    samples = ask("/some", base, tmp_path, reaper)
    statuses = samples.status.tolist()
    assert set(statuses) == {0, 200}
    answered = sum(number % 3 != 0 for number in range(1, len(Handler.asked) + 1))
    assert statuses.count(200) == answered


def test_nobody_listens(tmp_path: Path, reaper: Reaper) -> None:
    """A refused connection is an error of the service, counted as such."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        samples = ask("/books", f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path, reaper)
    assert set(samples.status.tolist()) == {0}


def test_redirects_are_not_followed(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """A redirect is the answer: what it leads to was not asked for."""
    samples = ask("/elsewhere", base, tmp_path, reaper)
    assert (set(samples.status.tolist()), set(Handler.asked)) == ({303}, {"/elsewhere"})


def test_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """k9 is there in the version that is known; another version, or none, is refused by name."""
    k9.check()
    monkeypatch.setattr(k9, "VERSION", "k9 9.9.9")
    with pytest.raises(ConfigurationError, match=r"load generator: found k9 \d.*; allowed is k9 9\.9\.9"):
        k9.check()
    monkeypatch.setattr(k9, "_K9", (*k9._K9[:-1], "no_such_module"))
    with pytest.raises(
        ConfigurationError, match=r"load generator: found .*No module named no_such_module; allowed is k9"
    ):
        k9.check()


def test_k9_fails(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Where k9 ends with an error there is no measurement, and its words are told."""
    (tmp_path / "samples.jsonl").mkdir()
    with pytest.raises(LoadError, match=r"k9 ended with code [1-9]\d*: .+"):
        ask("/books", base, tmp_path, reaper)
    assert children() == []


def test_k9_is_killed(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Samples of a k9 that was killed half-way are not taken for a measurement."""

    def kill(*_: object) -> None:
        if Handler.asked:
            for child in children():
                child.kill()

    with pytest.raises(LoadError, match="k9 ended with code -9"):
        send(one_get("/books", duration=5, warm_up=0), Target(base, [1]), tmp_path, reaper, kill, seed=7)


def test_k9_is_interrupted_by_another(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """A k9 that somebody else ended early in good order is no measurement either."""

    def interrupt(*_: object) -> None:
        if Handler.asked:
            for child in children():
                child.terminate()

    with pytest.raises(LoadError, match="k9 ended"):
        send(one_get("/books", duration=5, warm_up=0), Target(base, [1]), tmp_path, reaper, interrupt, seed=7)


def test_interrupted(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Ctrl-C in the middle leaves no k9."""

    def interrupt(*_: object) -> None:
        if Handler.asked:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(one_get("/books", duration=60, warm_up=0), Target(base, [1]), tmp_path, reaper, interrupt, seed=7)
    assert children() == []


def test_a_load_that_hangs(base: str, tmp_path: Path, reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load without a request at the end of the measured time is no measurement: its figure would be low."""
    whole = Points.samples
    monkeypatch.setattr(Points, "samples", lambda *it: whole(*it).between(-9, 0.3))
    with pytest.raises(LoadError, match=r"no request ended after 0\.[23] s"):
        ask("/books", base, tmp_path, reaper)


def test_measured_edges() -> None:
    """What is done at the load's end does not count in the closed model; in the open one, what was planned in the
    measured seconds counts, whenever it was done."""
    done_s = np.array([-1.0, 0.0, 1.0, 4.999999, 5.0, 5.5])
    latency_ms = np.array([1, 0, 500, 1, 1000, 100], np.float32)
    samples = Samples(done_s, latency_ms, latency_ms, np.full(6, 200, np.int16), np.zeros(6, np.uint8))
    one = one_get("/", duration=5)
    assert samples.measured(one.duration, one.model).done_s.tolist() == [0.0, 1.0, 4.999999]
    planned = Workload(name="it", requests=one.requests, model="open", rate=1, duration=5)
    assert samples.measured(planned.duration, planned.model).done_s.tolist() == [0.0, 1.0, 4.999999, 5.0]
