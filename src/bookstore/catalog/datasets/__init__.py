"""Catalogue data: CSV import and export, generated books, and the shipped sample.

Belongs here: bulk loads on a psycopg connection, each in one transaction of its own, and in `parsing` the reading of
other people's files. Does not belong here: requests (see `repositories`) and the schema (see `models`). `cli` imports
it.
"""

from bookstore.catalog.datasets.export import export
from bookstore.catalog.datasets.generate import generate
from bookstore.catalog.datasets.importer import Progress, import_file, sample_path
from bookstore.catalog.datasets.parsing.options import FileOptions
from bookstore.catalog.datasets.report import Report

__all__ = ["FileOptions", "Progress", "Report", "export", "generate", "import_file", "sample_path"]
