"""Prefetching iterator: produces the next item while the current one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield `items`, producing each in a thread while the previous one is used; at most one item is buffered.

    Python prepares a batch while PostgreSQL stores the previous one: on two cores a load takes as long as the slower of
    the two. Exceptions of `items` are raised here. Closing waits for the item in progress, so close this before the
    source of `items`.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item
