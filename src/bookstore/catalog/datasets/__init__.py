"""The catalogue as data: import it from CSV, generate one, export it."""

from bookstore.catalog.datasets.export import export
from bookstore.catalog.datasets.generate import generate
from bookstore.catalog.datasets.importer import Progress, import_file, sample_path
from bookstore.catalog.datasets.report import Report

__all__ = ["Progress", "Report", "export", "generate", "import_file", "sample_path"]
