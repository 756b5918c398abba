"""How far a long command is, on stderr; and an end in good order when it is told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

Tell = Callable[[str, float], None]
"""What is done next, and the share of the whole that is behind us, 0 to 1."""


@contextmanager
def progress() -> Iterator[Tell]:
    """A bar at a terminal; in a pipe, a line for each thing that is begun."""
    console = Console(stderr=True)
    if not console.is_terminal:
        said = set[str]()

        def say(what: str, done: float) -> None:
            if what not in said:
                said.add(what)
                click.echo(f"{done * 100:3.0f}%  {what}", err=True)

        yield say
        return
    what = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    columns = (BarColumn(20), TaskProgressColumn(), TimeElapsedColumn(), what)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1)
        yield lambda what, done: bar.update(task, description=what, completed=done)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C is: what was started is stopped."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
