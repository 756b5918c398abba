"""`bookstore openapi`: print the API's OpenAPI document without a running service."""

from __future__ import annotations

import json

import click
from sqlalchemy import make_url

from bookstore.app import make_app
from bookstore.database.unit_of_work import make_database
from bookstore.http.openapi.document import document
from bookstore.profile.loader import load


@click.command()
def openapi() -> None:
    """Print the OpenAPI 3.1 document as JSON. No database is needed."""
    unused_url = make_url("postgresql://")  # the app connects only when it starts
    app = make_app(make_database(load("default"), unused_url))
    click.echo(json.dumps(document(app), indent=2, ensure_ascii=False))
