from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np
import psutil
import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.load import k9, k9_plan
from bookstore.lab.load.k9 import LoadError, LoadResult, NoResponseError, Target, send
from bookstore.lab.load.k9_output import Points
from bookstore.lab.record.samples import Samples
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload
from bookstore.reaper import Reaper

from ..protocols import raw_service


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    paths: ClassVar[list[str]] = []
    received: ClassVar[list[tuple[str, str | None, str | None, bytes]]] = []
    accepted: ClassVar[set[str | None]] = set()
    clients: ClassVar[set[tuple[str, int]]] = set()
    stalls_at: ClassVar[float | None] = None
    stall: ClassVar[threading.Lock] = threading.Lock()

    def answer(self) -> None:
        self.paths.append(self.path)
        self.clients.add(self.client_address)
        self.accepted.add(self.headers["Accept-Encoding"])
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.received.append((self.command, self.headers["Authorization"], self.headers["Content-Type"], body))
        if self.path == "/close" or (self.path == "/some" and len(self.paths) % 3 == 0):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.path == "/stall":
            self.hold()
        if self.path == "/hang" and len(self.paths) > 20:
            time.sleep(5)
        if self.path == "/same":
            self.send_response(304)
            self.end_headers()
            return
        self.send_response({"/error": 500, "/elsewhere": 303}.get(self.path, 200))
        self.send_header("Content-Length", "2")
        if self.path == "/elsewhere":
            self.send_header("Location", "/books")
        if self.path == "/some":  # on a kept connection k9 would silently retry
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PATCH = answer  # noqa: N815 - http.server's names

    def hold(self) -> None:
        """Delay all answers for one second from `stalls_at`, which the first request sets."""
        with self.stall:
            if Handler.stalls_at is None:
                Handler.stalls_at = time.monotonic() + 1
        over_s = Handler.stalls_at + 1 - time.monotonic()
        if 0 < over_s <= 1:
            time.sleep(over_s)

    def log_message(self, *_: object) -> None:
        """Log nothing: the tests send thousands of requests."""


class Server(ThreadingHTTPServer):
    request_queue_size = 1024


@pytest.fixture
def base() -> Iterator[str]:
    """A service that records its requests in `Handler.paths`."""
    Handler.paths.clear()
    Handler.accepted.clear()
    Handler.received.clear()
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


def get_workload(path: str, duration: float = 0.5, warm_up: float = 0.2) -> Workload:
    return Workload(
        name="it", requests=[RequestSpec(name="it", path=path)], concurrency=2, duration=duration, warm_up=warm_up
    )


def send_load(workload: Workload, base: str, folder: Path, reaper: Reaper, ids: Sequence[int] = (1,)) -> LoadResult:
    return send(workload, Target(base, ids), folder, reaper, lambda *_: None, seed=7)


def send_get(path: str, base: str, folder: Path, reaper: Reaper, ids: Sequence[int] = (1,)) -> Samples:
    return send_load(get_workload(path), base, folder, reaper, ids).samples


def k9_processes() -> list[psutil.Process]:
    """Return this process's children that run k9."""
    processes = psutil.Process().children(recursive=True)
    return [child for child in processes if child.status() != psutil.STATUS_ZOMBIE and "k9" in child.cmdline()]


def test_a_sample_for_each_request(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Each request has one sample, in order of completion, with time and status. The warm-up's samples are before zero,
    the load lasts for all measured seconds, and nothing else is left."""
    ticks: list[tuple[str, float]] = []
    pids: list[int] = []
    workload = get_workload("/books?limit=1")
    before_s = time.monotonic()
    load = send(
        workload, Target(base, [1]), tmp_path, reaper, lambda *tick: ticks.append(tick), seed=7, on_pid=pids.append
    )
    samples = load.samples
    assert len(samples) == len(Handler.paths)
    assert set(Handler.paths) == {"/books?limit=1"}
    assert np.all(np.diff(samples.done_s) >= 0)
    assert samples.ok.all()
    assert Handler.accepted == {"identity"}
    assert (samples.latency_ms > 0).all()
    assert (samples.latency_ms == samples.service_ms).all()
    assert set(samples.kind.tolist()) == {0}
    began_s = samples.done_s - samples.latency_ms / 1000
    assert began_s[samples.done_s >= 0].min() == pytest.approx(0, abs=1e-4)
    assert began_s.min() == pytest.approx(-load.warm_up_s, abs=1e-4)
    assert samples.done_s[-1] >= 0.5
    assert before_s < load.began_s < time.monotonic()
    assert 0 < len(samples.measured(workload.duration, workload.model)) < len(samples)
    assert [activity for activity, _ in ticks] == sorted((activity for activity, _ in ticks), reverse=True)
    assert {activity for activity, _ in ticks} == {"warming up", "measuring"}
    assert all(0 <= share <= 1 for _, share in ticks)
    assert load.generator.cpu_ratio is not None
    assert (load.generator.late_ms, load.generator.dropped) == (None, 0)
    assert len(set(pids)) == 2
    assert k9_processes() == []
    assert list(tmp_path.glob("*.jsonl")) == []


def test_no_warm_up(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Without a warm-up every request counts and the load counts as steady."""
    load = send_load(get_workload("/books", warm_up=0), base, tmp_path, reaper)
    assert (load.samples.done_s > 0).all()
    assert (load.warm_up_s, load.steady) == (0, True)


def test_warm_up_ends_when_steady(base: str, tmp_path: Path, reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A steady load is measured before the warm-up's cap; one that never becomes steady is reported."""
    monkeypatch.setattr(k9, "is_steady", lambda samples, **_: len(samples) > 0)
    monkeypatch.setattr(k9, "WINDOWS", 1)
    load = send_load(get_workload("/books", warm_up=60), base, tmp_path, reaper)
    assert load.steady
    assert load.warm_up_s < 30
    monkeypatch.setattr(k9, "is_steady", lambda *_, **__: False)
    assert not send_load(get_workload("/books", warm_up=0.6), base, tmp_path, reaper).steady


@pytest.mark.parametrize("ids", [[1], [2, 3, 70]])
def test_every_book_is_asked(ids: list[int], base: str, tmp_path: Path, reaper: Reaper) -> None:
    """`{id}` is replaced by each of the catalogue's ids, and no other."""
    samples = send_get("/books/{id}", base, tmp_path, reaper, ids)
    assert len(samples) == len(Handler.paths)
    assert set(Handler.paths) == {f"/books/{book_id}" for book_id in ids}


def test_same_keys_for_each_contender(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """The same seed requests the same books in the same order, however long the warm-up was."""
    workload = Workload(
        name="it",
        requests=[RequestSpec(name="it", path="/books/{id}")],
        keys="zipf",
        concurrency=1,
        duration=0.5,
        warm_up=0,
    )
    orders = []
    for number in range(2):
        Handler.paths.clear()
        load = send_load(workload, base, tmp_path, reaper, range(1, 1001))
        assert len(load.samples) == len(Handler.paths) > 20
        orders.append(Handler.paths[:20] if number else list(Handler.paths[:20]))
    assert orders[0] == orders[1]
    assert len(set(orders[0])) > 1


def test_mix(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Requests are mixed by weight and told apart. Writes carry the token, which is in no file, and placeholders are
    replaced."""
    body = '{"title": "A {uuid}", "publication_year": {number}, "of": {id}}'
    requests = [
        RequestSpec(name="list", path="/books", weight=3),
        RequestSpec(name="create", method="POST", path="/books", body=body),
        RequestSpec(name="update", method="PATCH", path="/books/{id}", body="{}", headers={"content-type": "text/x"}),
    ]
    workload = Workload(name="it", requests=requests, concurrency=2, duration=1, warm_up=0)
    load = send(workload, Target(base, [5], "a-secret"), tmp_path, reaper, lambda *_: None, seed=7)
    kinds = Counter(load.samples.kind.tolist())
    methods = Counter(method for method, *_ in Handler.received)
    assert methods == {"GET": kinds[0], "POST": kinds[1], "PATCH": kinds[2]}
    assert kinds[0] > kinds[1] > 0
    assert kinds[0] > kinds[2] > 0
    received = {(method, token, kind) for method, token, kind, _ in Handler.received}
    assert received == {
        ("GET", None, None),
        ("POST", "Bearer a-secret", "application/json"),
        ("PATCH", "Bearer a-secret", "text/x"),
    }
    bodies = [msgspec.json.decode(body) for method, *_, body in Handler.received if method == "POST"]
    assert len({body["title"] for body in bodies}) == len(bodies)
    assert {body["of"] for body in bodies} == {5}
    assert all(1 <= body["publication_year"] <= 1000 for body in bodies)
    assert not any(b"a-secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_open_model(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Requests start at the rate, whatever the number of clients; latency counts from the planned moment."""
    workload = Workload(
        name="it", requests=[RequestSpec(name="it", path="/books")], model="open", rate=50.5, duration=2, warm_up=0.5
    )
    load = send_load(workload, base, tmp_path, reaper)
    assert len(load.samples.measured(workload.duration, workload.model)) == pytest.approx(101, abs=2)
    assert (load.samples.latency_ms >= load.samples.service_ms).all()
    assert load.generator.late_ms is not None


def test_no_coordinated_omission(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """While the service stalls for a second, requests stay planned and show their wait: a request planned t seconds
    after the stall began takes at least 1 - t seconds."""
    workload = Workload(
        name="it", requests=[RequestSpec(name="it", path="/stall")], model="open", rate=100, duration=3, warm_up=0
    )
    load = send_load(workload, base, tmp_path, reaper)
    planned_s = load.samples.done_s - load.samples.latency_ms / 1000
    assert Handler.stalls_at is not None
    since_s = planned_s - (Handler.stalls_at - load.began_s)
    stalled = (since_s > 0.05) & (since_s < 0.95)
    assert np.count_nonzero(stalled) == pytest.approx(90, abs=2)
    assert (load.samples.latency_ms[stalled] / 1000 > 1 - since_s[stalled] - 0.05).all()
    assert load.generator.dropped == 0
    assert len(load.samples.measured(workload.duration, workload.model)) == pytest.approx(300, abs=2)


@pytest.mark.parametrize("model", ["closed", "open"])
def test_stages(model: Literal["closed", "open"], base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Stages ramp up to as many clients (closed) or requests (open) as planned."""
    stages = [Stage(duration=1, target=10 if model == "closed" else 100), Stage(duration=1, target=10)]
    requests = [RequestSpec(name="it", path="/books")]
    start = {"concurrency": 1} if model == "closed" else {"rate": 1.0}
    workload = Workload(name="it", requests=requests, model=model, stages=stages, duration=2, warm_up=0, **start)
    load = send_load(workload, base, tmp_path, reaper)
    counted = load.samples.measured(workload.duration, workload.model)
    if model == "closed":
        assert len(Handler.clients) == 10
    else:  # the areas below both ramps: (1 + 100) / 2 and (100 + 10) / 2
        assert len(counted) == pytest.approx(50.5 + 55, abs=4)


def test_headers_go_along(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Each request has the workload's headers."""
    headers = {"Accept-Encoding": 'gzip;q=0.9, "odd"'}
    workload = Workload(
        name="it",
        requests=[RequestSpec(name="it", path="/books", headers=headers)],
        concurrency=2,
        duration=0.5,
        warm_up=0.0,
    )
    assert len(send_load(workload, base, tmp_path, reaper).samples)
    assert Handler.accepted == {'gzip;q=0.9, "odd"'}


def test_not_modified_is_a_success(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """304 counts as a success."""
    samples = send_get("/same", base, tmp_path, reaper)
    assert (set(samples.status.tolist()), bool(samples.ok.all())) == ({304}, True)


def test_errors_keep_their_status(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Answers of 500 are in the samples as such."""
    samples = send_get("/error", base, tmp_path, reaper)
    assert len(samples) == len(Handler.paths)
    assert (set(samples.status.tolist()), bool(samples.ok.any())) == ({500}, False)


def test_closed_connections_are_errors(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """A request whose connection closes without an answer has a sample with status 0."""
    samples = send_get("/close", base, tmp_path, reaper)
    assert len(samples) == len(Handler.paths)
    assert (set(samples.status.tolist()), bool(samples.ok.any())) == ({0}, False)
    assert ((samples.latency_ms > 0) & (samples.latency_ms < 60_000)).all()


def test_some_closed_connections(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """A load counts answered and unanswered requests separately."""
    samples = send_get("/some", base, tmp_path, reaper)
    statuses = samples.status.tolist()
    assert set(statuses) == {0, 200}
    answered = sum(number % 3 != 0 for number in range(1, len(Handler.paths) + 1))
    assert statuses.count(200) == answered


def test_nobody_listens(tmp_path: Path, reaper: Reaper) -> None:
    """A refused connection counts as an error of the service."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        samples = send_get("/books", f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path, reaper)
    assert set(samples.status.tolist()) == {0}


def test_redirects_are_not_followed(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """A redirect counts as the answer and is not followed."""
    samples = send_get("/elsewhere", base, tmp_path, reaper)
    assert (set(samples.status.tolist()), set(Handler.paths)) == ({303}, {"/elsewhere"})


def test_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supported version of k9 is installed; another version, or none, is refused by name."""
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
    """If k9 fails there is no measurement, and the error has its output."""
    (tmp_path / "samples.jsonl").mkdir()
    with pytest.raises(LoadError, match=r"k9 exited with code [1-9]\d*: .+"):
        send_get("/books", base, tmp_path, reaper)
    assert k9_processes() == []


def test_k9_is_killed(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Samples of a k9 that was killed are not a measurement."""

    def kill(*_: object) -> None:
        if Handler.paths:
            for child in k9_processes():
                child.kill()

    with pytest.raises(LoadError, match="k9 exited with code -9"):
        send(get_workload("/books", duration=5, warm_up=0), Target(base, [1]), tmp_path, reaper, kill, seed=7)


def test_k9_is_interrupted_by_another(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """A k9 that another process terminated early is no measurement either."""

    def interrupt(*_: object) -> None:
        if Handler.paths:
            for child in k9_processes():
                child.terminate()

    with pytest.raises(LoadError, match=r"k9 (ended|exited)"):
        send(get_workload("/books", duration=5, warm_up=0), Target(base, [1]), tmp_path, reaper, interrupt, seed=7)


def test_interrupted(base: str, tmp_path: Path, reaper: Reaper) -> None:
    """Ctrl-C during the load leaves no k9 process."""

    def interrupt(*_: object) -> None:
        if Handler.paths:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(get_workload("/books", duration=60, warm_up=0), Target(base, [1]), tmp_path, reaper, interrupt, seed=7)
    assert k9_processes() == []


def test_a_load_that_hangs(base: str, tmp_path: Path, reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load without requests at its end is no measurement, because its throughput would be too low."""
    whole = Points.samples
    monkeypatch.setattr(Points, "samples", lambda *arguments: whole(*arguments).between(-9, 0.3))
    with pytest.raises(LoadError, match=r"no request completed after 0\.[23] s"):
        send_get("/books", base, tmp_path, reaper)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ({"model": "closed", "concurrency": 2}, r"no request completed after \d\.\d s: the service hangs"),
        ({"model": "open", "rate": 100}, r"(79|80) of 100 requests got no response within 1 s of the end"),
    ],
)
def test_a_service_that_stops_answering(
    load: dict[str, Any], message: str, base: str, tmp_path: Path, reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that hangs in the middle of the load gives no measurement of its first answers."""
    monkeypatch.setattr(k9_plan, "GRACE_S", 1)
    request = RequestSpec(name="it", path="/hang")
    workload = Workload(name="it", requests=[request], duration=1, warm_up=0, **load)
    with pytest.raises(NoResponseError, match=message):
        send_load(workload, base, tmp_path, reaper)


@pytest.mark.parametrize("parts", [(), (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n")])
@pytest.mark.parametrize("load", [{"model": "closed", "concurrency": 2}, {"model": "open", "rate": 20}])
def test_a_service_that_never_answers(
    parts: tuple[bytes, ...], load: dict[str, Any], tmp_path: Path, reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer, or one without end, is an error that says so, within bounded time."""
    monkeypatch.setattr(k9_plan, "GRACE_S", 1)
    request = RequestSpec(name="it", path="/")
    workload = Workload(name="it", requests=[request], duration=0.5, warm_up=0.2, **load)
    with (
        raw_service(*parts, pause_s=0.05, ends=False) as port,
        pytest.raises(NoResponseError, match=r"no request got a response within \d s"),
    ):
        send_load(workload, f"http://127.0.0.1:{port}", tmp_path, reaper)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("answer", [b"HTTP/1.0 200 OK\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"])
def test_services_that_close_each_connection(answer: bytes, host: str, tmp_path: Path, reaper: Reaper) -> None:
    """A service of HTTP/1.0 or on IPv6 can be measured."""
    with raw_service(answer, host=host) as port:
        base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        samples = send_get("/", base, tmp_path, reaper)
    assert samples.ok.mean() > 0.9  # k9 may reuse a connection that is being closed


def test_measured_edges() -> None:
    """Closed model: requests completed at the end do not count. Open model: requests planned in the measured seconds
    count, whenever they complete."""
    done_s = np.array([-1.0, 0.0, 1.0, 4.999999, 5.0, 5.5])
    latency_ms = np.array([1, 0, 500, 1, 1000, 100], np.float32)
    samples = Samples(done_s, latency_ms, latency_ms, np.full(6, 200, np.int16), np.zeros(6, np.uint8))
    workload = get_workload("/", duration=5)
    assert samples.measured(workload.duration, workload.model).done_s.tolist() == [0.0, 1.0, 4.999999]
    planned = Workload(name="it", requests=workload.requests, model="open", rate=1, duration=5)
    assert samples.measured(planned.duration, planned.model).done_s.tolist() == [0.0, 1.0, 4.999999, 5.0]
