"""Cost of recording changes: imports of books with and without the triggers and the index of migration 0005; paired.

    .venv/bin/python benchmarks/changes/measure.py [BOOKS] [ROUNDS]

Each round imports the same generated CSV file into two fresh databases, in random order: one at the newest revision,
one without triggers and index. Then it imports a second, new file into each, which keeps all indexes. It prints the
times and the geometric mean of the ratios with its 95 % interval. At the end it renames the genre with most books.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy as sa

from bookstore.catalog import datasets
from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo
from bookstore.lab.analysis.statistics import ratio
from bookstore.reaper import Reaper

BOOKS: Final = 10_000
ROUNDS: Final = 10
RECORDED, PLAIN = "recorded", "plain"


def import_s(connection: psycopg.Connection[tuple[object, ...]], path: Path) -> float:
    """Return the duration of an import in seconds."""
    connection.execute("CHECKPOINT")
    started = time.perf_counter()
    datasets.import_file(connection, path)
    return time.perf_counter() - started


def prepare(server: sa.URL, folder: Path, books: int) -> list[Path]:
    """Create the template databases, and return two files of `books` different books."""
    paths = []
    with psycopg.connect(conninfo(server), autocommit=True) as admin:
        for name in ("source", RECORDED):
            admin.execute(f"CREATE DATABASE {name}".encode())
            migrations.upgrade(server.set(drivername="postgresql+psycopg", database=name))
        for seed in (1, 2):
            with psycopg.connect(conninfo(server.set(database="source")), autocommit=True) as connection:
                connection.execute("TRUNCATE book, author, genre CASCADE")
                datasets.generate(connection, books=books, seed=seed)
                paths.append(folder / f"{seed}.csv")
                with paths[-1].open("wb") as file:
                    datasets.export(connection, file)
        admin.execute(f"CREATE DATABASE {PLAIN} TEMPLATE {RECORDED}".encode())
    with psycopg.connect(conninfo(server.set(database=PLAIN))) as connection:
        for table in ("book", "book_author", "book_genre", "author", "genre"):
            connection.execute(f"DROP FUNCTION {table}_changed() CASCADE".encode())
        connection.execute("DROP INDEX ix_book_updated_at")
    return paths


def main(books: int = BOOKS, rounds: int = ROUNDS) -> None:
    times: dict[tuple[str, int], list[float]] = {}
    with Reaper() as reaper, tempfile.TemporaryDirectory() as folder, embedded.temporary_cluster(reaper) as cluster:
        server = cluster.url()
        paths = prepare(server, Path(folder), books)
        for number in range(rounds):
            for way in random.sample((RECORDED, PLAIN), 2):
                with psycopg.connect(conninfo(server), autocommit=True) as admin:
                    admin.execute(b"DROP DATABASE IF EXISTS trial")
                    admin.execute(f"CREATE DATABASE trial TEMPLATE {way}".encode())
                with psycopg.connect(conninfo(server.set(database="trial")), autocommit=True) as connection:
                    for place, path in enumerate(paths):
                        times.setdefault((way, place), []).append(import_s(connection, path))
                    if number == rounds - 1:
                        rename(connection, way)
    for place, title in enumerate(("into an empty catalogue", "into a catalogue with books")):
        recorded, plain = times[RECORDED, place], times[PLAIN, place]
        found = ratio(recorded, plain)
        print(
            f"{books} books {title}: {statistics.median(recorded):.2f} s, without recording "
            f"{statistics.median(plain):.2f} s, ratio {found.estimate:.2f} ({found.low or 0:.2f}-{found.high or 0:.2f})"
        )


def rename(connection: psycopg.Connection[tuple[object, ...]], way: str) -> None:
    """Print the duration of renaming the genre with the most books, three times."""
    (genre, count) = connection.execute(
        "SELECT genre_id, count(*) FROM book_genre GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
    ).fetchone() or (0, 0)
    for number in range(3):
        started = time.perf_counter()
        connection.execute("UPDATE genre SET name = name || %s WHERE id = %s", ["x" * number + "y", genre])
        print(f"{way}: renaming a genre of {count} books: {(time.perf_counter() - started) * 1000:.1f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
