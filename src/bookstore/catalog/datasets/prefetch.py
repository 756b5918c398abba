"""An iterator that works ahead: while one item is used, the next is made."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The same items, each made in a thread while the one before is used; never more than one waits.

    Python prepares a batch while PostgreSQL stores the last: on two cores a load takes as long as the
    slower of them. What `items` raises is raised here; closing waits for the item in the making,
    so close it before what `items` reads from.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item
