"""Progress of a long command on stderr, and an orderly end on SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

ProgressCallback = Callable[[str, float], None]
"""Called with the step that begins and the share of all work that is done, 0 to 1."""


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """Yield a callback that shows progress: a bar at a terminal; otherwise a line for each new step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        printed = set[str]()

        def print_step(step: str, done: float) -> None:
            if step not in printed:
                printed.add(step)
                with suppress(BrokenPipeError):  # `… 2>&1 | head`: the work goes on and is stored
                    click.echo(f"{done * 100:3.0f}%  {step}", err=True)

        yield print_step
        return
    description = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    columns = (BarColumn(20), TaskProgressColumn(), TimeElapsedColumn(), description)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1)
        yield lambda step, done: bar.update(task, description=step, completed=done)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that the command stops the processes it has started."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
