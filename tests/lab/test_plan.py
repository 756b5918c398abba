from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.plan import Plan, open_file_limit, plan
from bookstore.lab.record.run_record import Protocol
from bookstore.lab.testbed import external
from bookstore.lab.testbed.process import free_port
from bookstore.lab.workload.spec import RequestSpec, Workload

from .protocols import raw_service, steady_service

SMALL = Workload(name="it", requests=[RequestSpec(name="it", path="/books")])


def make(*specs: str, workload: Workload = SMALL, services: Sequence[str] = ()) -> Plan:
    protocol = Protocol(min_rounds=2, max_rounds=2, precision_ratio=0.03)
    running = external.parse_options(services, None)
    return plan([(spec, {}) for spec in specs], workload, protocol, Path("runs"), 7, running)


@pytest.fixture
def few_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_labels() -> None:
    """Contenders keep their order; repeated profiles get distinct labels."""
    comparison = make("asyncpg-json", "asyncpg-json@workers=2", "asyncpg-json", "asyncpg-json")
    labels = [contender.label for contender in comparison.contenders]
    assert labels == ["asyncpg-json", "asyncpg-json@workers=2", "asyncpg-json #2", "asyncpg-json #3"]
    assert comparison.contenders[1].spec == "asyncpg-json@workers=2"
    assert comparison.contenders[1].profile
    assert comparison.contenders[1].profile.workers == 2
    assert comparison.contenders[1].keys["workers"] == "2"


def test_all_errors_at_once() -> None:
    """Unknown profiles, bad overrides and profiles over the budget are reported together, each once."""
    with pytest.raises(ConfigurationError) as error:
        make("asyncpg-jsno", "asyncpg-json@pool_szie=1", "asyncpg-json@workers=50,pool_size=5", "asyncpg-jsno")
    message = str(error.value)
    assert message.count("asyncpg-jsno") == 1
    assert "pool_szie" in message
    assert "over the connection budget of the lab's database" in message


def test_open_files(few_files: None) -> None:
    """More clients than open files allow are refused, with the limit and the remedy."""
    many = Workload(name="it", requests=[RequestSpec(name="it", path="/books")], concurrency=500)
    with pytest.raises(
        ConfigurationError, match=r"concurrency: found 500 clients; allowed are at most 384 .* `ulimit -n 628`"
    ):
        make("asyncpg-json", workload=many)
    assert open_file_limit() == 512
    assert make("asyncpg-json").contenders


def test_running_services(tmp_path: Path) -> None:
    """Each service that runs already is probed with the workload's first GET; all that are not ready are named."""
    first, second = free_port(), free_port()
    services = [f"a=http://127.0.0.1:{first}", f"b=http://127.0.0.1:{second}/api"]
    with pytest.raises(ConfigurationError) as error:
        make("asyncpg-json", services=services)
    lines = str(error.value).splitlines()
    assert [line.partition(": no answer")[0] for line in lines] == [
        f"--external a: GET http://127.0.0.1:{first}/books",
        f"--external b: GET http://127.0.0.1:{second}/api/books",
    ]
    with raw_service(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as port:
        checked = make(steady_service(tmp_path), services=[f"a=http://127.0.0.1:{port}"])
    assert [it.service.ready for it in checked.contenders if it.service] == ["/books", "/books"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asyncpg-json", "external service asyncpg-json: found the name of a profile"),
        ("steady", "--external steady: found the name of another contender; allowed is another name"),
    ],
)
def test_names_of_services(name: str, message: str, tmp_path: Path) -> None:
    """A service may not have the name of a profile or of another contender: a record could not tell them apart."""
    with pytest.raises(ConfigurationError, match=message):
        make(steady_service(tmp_path), services=[f"{name}=http://127.0.0.1:{free_port()}"])
    with pytest.raises(ConfigurationError, match="external service asyncpg-json: found the name of a profile"):
        make(steady_service(tmp_path, "asyncpg-json"))
