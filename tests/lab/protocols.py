"""Small plans and a service without a database, so that a round is cheap."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil

from bookstore.lab.plan import Plan, plan
from bookstore.lab.record.run_record import Protocol
from bookstore.lab.workload.spec import RequestSpec, Workload

SERVER: Final = Path(__file__).parents[2] / "benchmarks/truth/server.py"
_HANGING: Final = """
import http.server, itertools, sys, time
count = itertools.count()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if next(count) >= int(sys.argv[2]):
            time.sleep(600)
        self.send_response(200); self.send_header("Content-Length", "13"); self.end_headers()
        self.wfile.write(b'{"items": []}')
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
READING: Final = Workload(
    name="reading",
    requests=[
        RequestSpec(name="list", path="/books?limit=20", weight=3, expects="items"),
        RequestSpec(name="detail", path="/books/{id}", expects="items"),
    ],
    duration=0.5,
    warm_up=0,
)


def steady_service(folder: Path, name: str = "steady") -> str:
    """Write the file of a service that answers `{"items": []}` to every request."""
    file = folder / f"{name}.yaml"
    file.write_text(f"external:\n  command: {sys.executable} {SERVER} {{port}} 400\n")
    return str(file)


def hanging_service(folder: Path, answers: int) -> str:
    """Write the file of a service `hanging`, which answers `{"items": []}` this many times and then never again."""
    (folder / "hanging.py").write_text(_HANGING)
    file = folder / "hanging.yaml"
    file.write_text(f"external:\n  command: {sys.executable} hanging.py {{port}} {answers}\n")
    return str(file)


def make_plan(specs: Sequence[str], output: Path, workload: Workload = READING, seed: int = 1, **protocol: Any) -> Plan:
    """Return a plan of one round that tolerates a busy machine, unless `protocol` says otherwise."""
    defaults = {"min_rounds": 1, "max_rounds": 1, "precision_ratio": 0.5, "allow_busy": True, "inspect": False}
    return plan([(spec, {}) for spec in specs], workload, Protocol(**(defaults | protocol)), output, seed)


def ignore_progress(_what: str, _share: float) -> None:
    """Progress that nobody reads."""


def once(when: str, do: Callable[[], object]) -> Callable[[str, float], None]:
    """Progress that calls `do` once, after about a third of the activity `when`."""
    reports: list[str] = []

    def tell(what: str, _share: float) -> None:
        if when in what:
            reports.append(what)
            if len(reports) == 3:  # there are ten reports per second
                do()

    return tell


def child_processes(part: str) -> list[psutil.Process]:
    """Return the running processes below this one with `part` in their command."""
    processes = psutil.Process().children(recursive=True)
    return [
        process
        for process in processes
        if process.status() != psutil.STATUS_ZOMBIE and part in " ".join(process.cmdline())
    ]


@contextmanager
def raw_service(*parts: bytes, host: str = "127.0.0.1", pause_s: float = 0, ends: bool = True) -> Iterator[int]:
    """A service on the yielded port that sends these bytes in reply to each request, with pauses; then it closes the
    connection, or with `ends` false sends the last part again without end. Without parts it never answers."""
    stopped = threading.Event()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:

        def reply(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                if not parts:
                    stopped.wait(60)
                for part in parts:
                    connection.sendall(part)
                    stopped.wait(pause_s)
                while not ends and not stopped.is_set():
                    connection.sendall(parts[-1])
                    stopped.wait(pause_s)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=reply, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
