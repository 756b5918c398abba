"""`bookstore profiles`: look at engine profiles without starting anything."""

from __future__ import annotations

import click

from bookstore import profile as profiles_


@click.group()
def profiles() -> None:
    """List, show, check and compare engine profiles."""


@profiles.command("list")
def list_() -> None:
    """List the shipped profiles."""
    width = max(map(len, profiles_.names()))
    for name in profiles_.names():
        click.echo(f"{name:<{width}}  {profiles_.load(name).description}")


@profiles.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the effective profile NAME, defaults filled."""
    click.echo(profiles_.to_yaml(profiles_.load(name)), nl=False)
