from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from bookstore import profile
from bookstore.lab.compare import legend, of_profile, sentences, steps, table
from bookstore.lab.results import Run, Sample
from bookstore.lab.statistics import ratio

MakeRun = Callable[..., Run]

DEFAULT = ["psycopg-sync-lazy", "psycopg-sync-joined", "asyncpg-joined", "asyncpg-json"]


@pytest.fixture
def default(make_run: MakeRun) -> Run:
    """The default four profiles at figures of four digits."""
    figures = {name: [1000.0 * n + 111, 1000.0 * n + 175, 1000.0 * n + 143] for n, name in enumerate(DEFAULT, 1)}
    return make_run(figures, {name: profile.effective(profile.load(name)) for name in DEFAULT})


def test_summary(make_run: MakeRun) -> None:
    """Throughput is the rounds' mean; percentiles are of all requests together; peaks skip the gaps."""
    samples = {
        "one": [Sample(1, float(n), 200) for n in range(1, 101)][::-1],
        "two": [Sample(1, 7.0, 200)],
    }
    one, two = make_run({"one": [100.0, 300.0], "two": [200.0, 300.0]}, samples=samples).summary
    assert (one.throughput_per_s, two.throughput_per_s) == (200, 250)
    assert (one.throughput_ratio.low, one.throughput_ratio.estimate, one.throughput_ratio.high) == (1, 1, 1)
    assert two.throughput_ratio == ratio([200, 300], [100, 300])
    assert (one.p50_ms, one.p99_ms, one.max_ms) == (50, 99, 100)
    assert (two.p50_ms, two.p99_ms, two.max_ms) == (7, 7, 7)
    assert (one.pss_bytes, one.connections) == (120_000_000, 5)
    assert one.ceiling_share == pytest.approx(200 / 4000)
    assert (one.errors, one.statements) == (0, 1)


def test_no_readings(make_run: MakeRun) -> None:
    """Where nothing could be read, the table shows a dash and not a 0."""
    run = make_run({"one": [100.0]})
    bare = msgspec.structs.replace(
        run, summary=[msgspec.structs.replace(run.summary[0], pss_bytes=None, connections=None)]
    )
    assert table(bare, 80).splitlines()[2].split()[-5:] == ["0", "-", "-", "1", "2%"]


def test_of_profile(make_run: MakeRun) -> None:
    """A profile's measurements come in the rounds' order."""
    rounds = make_run({"one": [1.0, 2.0, 3.0], "two": [4.0, 5.0, 6.0]}).rounds
    assert [one.throughput_per_s for one in of_profile(rounds, "two")] == [4, 5, 6]
    assert of_profile(rounds, "three") == []


def test_steps(make_run: MakeRun) -> None:
    """A step is a pair that differs in one key alone, the ratio that of the later over the earlier; threads
    are a key where somebody set them, and none where they are as many as connections."""
    profiles = {
        "a": {"driver": "asyncpg", "loading": "lazy", "pool_size": "5", "description": "a"},
        "b": {"driver": "asyncpg", "loading": "json", "pool_size": "5", "description": "b"},
        "c": {"driver": "psycopg-sync", "loading": "json", "pool_size": "5", "threads": "5", "description": "c"},
        "d": {"driver": "psycopg-sync", "loading": "json", "pool_size": "5", "threads": "40", "description": "d"},
        "e": {"driver": "psycopg-sync", "loading": "json", "pool_size": "20", "threads": "20", "description": "e"},
    }
    speeds = {"a": [10.0, 10.0], "b": [40.0, 40.0], "c": [20.0, 20.0], "d": [20.0, 20.0], "e": [20.0, 20.0]}
    rounds = make_run(speeds).rounds
    found = steps(rounds, profiles)
    assert [(it.key, it.before, it.after, it.baseline, it.contender) for it in found] == [
        ("loading", "lazy", "json", "a", "b"),
        ("driver", "asyncpg", "psycopg-sync", "b", "c"),
        ("threads", "5", "40", "c", "d"),
        ("pool_size", "5", "20", "c", "e"),
    ]
    assert [it.throughput_ratio.estimate for it in found] == pytest.approx([4, 0.5, 1, 1])


def test_table(default: Run) -> None:
    """The default four profiles fit 80 columns with figures of four digits: a row each, in the order asked
    for, no space at a line's end, and no interval in the baseline's row."""
    head, rule, *rows = table(default, 80).splitlines()
    assert [row.split()[0] for row in rows] == DEFAULT
    assert max(map(len, (head, rule, *rows))) <= 80
    assert set(rule) == {"-"}
    assert all(line == line.rstrip() for line in (head, rule, *rows))
    assert rows[0].split()[1:4] == ["1143", "1.00", "20.0"]
    assert rows[1].split()[1:3] == ["2143", "1.88"]
    assert "-" in rows[1].split()[3]
    assert len(head.split()) == 13  # (95 %) is two words


def test_table_has_room_where_there_is(default: Run) -> None:
    """Columns stand apart by two spaces where the width allows, and never by none."""
    assert max(map(len, table(default, 200).splitlines())) > max(map(len, table(default, 80).splitlines()))
    cells = [line.split() for line in table(default, 20).splitlines()]
    assert cells == [line.split() if set(line) != {"-"} else cells[1] for line in table(default, 200).splitlines()]


def test_words(default: Run) -> None:
    """Legend and sentences name the baseline, the best, and each single key; nothing is over 80 columns."""
    said = "\n".join([legend(default), *sentences(default)])
    assert "asyncpg-json serves " in said
    assert " times the requests of psycopg-sync-lazy." in said
    assert "loading lazy -> joined: x " in said
    assert all(len(line) <= 110 for line in said.splitlines())
    assert max(map(len, legend(default).splitlines())) <= 80


def test_words_of_one_round(make_run: MakeRun) -> None:
    """One round tells no interval, and says so."""
    run = make_run({"one": [100.0], "two": [200.0]})
    assert "two serves 2.00 (one round tells no interval) times the requests of one." in sentences(run)
    assert table(run, 80).splitlines()[3].split()[1:4] == ["200", "2.00", "20.0"]
