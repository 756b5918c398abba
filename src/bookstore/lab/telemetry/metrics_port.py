"""Client for the service's metrics port, and a parser for Prometheus text format 0.0.4.

prometheus_client's parser takes 17 µs a line. For the 350 lines of two workers that is 6 ms, four times a second:
more than the rest of the watcher. The 30 lines here parse only the wanted names, at 1.4 µs a line.
"""

from __future__ import annotations

import http.client
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

PREFIX: Final = "bookstore_"

WANTED: Final = frozenset(
    PREFIX + name
    for name in (
        "worker_info",
        "requests_in_flight",
        "request_seconds_sum",
        "request_seconds_count",
        "pool_checked_out",
        "pool_checked_in",
        "pool_overflow",
        "pool_requests_waiting",
        "pool_requests_errors_total",
        "pool_wait_seconds_bucket",
        "pool_wait_seconds_sum",
        "statement_seconds_total",
        "encode_seconds_total",
        "event_loop_lag_max_seconds",
        "gc_pause_seconds_total",
    )
)

_BY_ROUTE: Final = ("request_seconds_sum", "request_seconds_count")
"""These appear with a route's first request; until then they are known to be 0 and not a gap."""

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SAMPLE: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_LABELS: Final = re.compile(r'(?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*')
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")


class Sample(NamedTuple):
    name: str
    labels: Mapping[str, str]
    value: float


class NoMetrics(Exception):  # noqa: N818 - an expected outcome
    """The port did not answer in time, or not in the format."""


def samples(text: str, wanted: Collection[str]) -> Iterator[Sample]:
    """Yield the samples with `wanted` names. Raises ValueError with the first line that is not in the format."""
    for line in text.splitlines():
        if not line or line[0] == "#":
            continue
        name = _NAME.match(line)
        if name and name[0] not in wanted:
            continue
        match = _SAMPLE.fullmatch(line)
        if not name or not match or not _LABELS.fullmatch(match[1] or ""):
            raise ValueError(f"not Prometheus text format: {line[:80]!r}")
        labels = {key: _ESCAPED.sub(_unescape, value) for key, value in _LABEL.findall(match[1] or "")}
        yield Sample(name[0], labels, float(match[2]))


def by_worker(text: str) -> dict[int, dict[str, float]]:
    """Return the wanted figures of each worker by pid, without the prefix.

    Figures are summed over all labels except the worker and a bucket's bound, which is appended to the name:
    `pool_wait_seconds_bucket 0.005`. Raises ValueError if `text` is not in the format.
    """
    pids: dict[str, int] = {}
    figures: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, labels, value in samples(text, WANTED):
        worker = labels.get("worker", "")
        if name == f"{PREFIX}worker_info":
            pids[worker] = int(labels["pid"]) if "pid" in labels else 0
        else:
            bound = f" {labels['le']}" if "le" in labels else ""
            figures[worker][name.removeprefix(PREFIX) + bound] += value
    return {pid: dict.fromkeys(_BY_ROUTE, 0.0) | figures[worker] for worker, pid in pids.items()}


class Port:
    """Queries the metrics port at `url` over a persistent connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._path = parts.path or "/"
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=0.1)
        self._send_error = ""

    def send(self) -> None:
        self._send_error = ""
        try:
            self._connection.request("GET", self._path)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._send_error = f"not sent: {error!r}"

    def receive(self, until_s: float) -> Mapping[int, Mapping[str, float]]:
        """Return each worker's figures by pid, waiting until `until_s` (time.monotonic()). Raises NoMetrics."""
        if self._send_error:
            raise NoMetrics(self._send_error)
        try:
            if self._connection.sock:
                self._connection.sock.settimeout(max(0.001, until_s - time.monotonic()))
            response = self._connection.getresponse()
            body = response.read()
            return by_worker(body.decode())  # an error page is not in the format
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise NoMetrics(repr(error)) from error

    def close(self) -> None:
        self._connection.close()


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
