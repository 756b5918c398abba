"""`bookstore openapi`: the API's contract as a file, without a service that runs."""

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
    """Print the OpenAPI 3.1 document as JSON; needs no database."""
    nowhere = make_url("postgresql://")  # no connection is made before the app starts
    app = make_app(make_database(load("default"), nowhere))
    click.echo(json.dumps(document(app), indent=2, ensure_ascii=False))
