"""The catalogue as data: import it from CSV, generate one, export it."""

from bookstore.catalog.export import export
from bookstore.catalog.generate import generate
from bookstore.catalog.intake import Progress, import_file, sample_path
from bookstore.catalog.report import Report

__all__ = ["Progress", "Report", "export", "generate", "import_file", "sample_path"]
