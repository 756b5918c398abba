from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.plan import Plan, open_file_limit, plan
from bookstore.lab.record.run_record import Protocol
from bookstore.lab.workload.spec import RequestSpec, Workload

SMALL = Workload(name="it", requests=[RequestSpec(name="it", path="/books")])


def make(*specs: str, workload: Workload = SMALL) -> Plan:
    protocol = Protocol(min_rounds=2, max_rounds=2, precision_ratio=0.03)
    return plan([(spec, {}) for spec in specs], workload, protocol, Path("runs"), 7)


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
