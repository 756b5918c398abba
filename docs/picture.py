"""Draw a run's table as docs/compare.svg: `python docs/picture.py RUN`.

rich's SVG export loads its font from a CDN. The exported font rules are replaced with the reader's monospace fonts, so
that the picture looks the same offline.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from bookstore.lab.report import conclusions, table
from bookstore.lab.storage import runs

COLUMNS = 80


def main() -> None:
    run = runs.read(Path(sys.argv[1]))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(f"[bold]$ bookstore compare {' '.join(it.spec for it in run.contenders)}[/]", soft_wrap=False)
    console.print("\n" + "\n\n".join([table.table(run, COLUMNS), *conclusions.paragraphs(run)]))
    console.print(f"\n[dim]{table.legend(run)}[/]")
    drawing = console.export_svg(title="make compare")
    drawing = re.sub(r"@font-face \{.*?\}", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"font-family: [^;]+;", "font-family: ui-monospace, Menlo, Consolas, monospace;", drawing)
    (Path(__file__).parent / "compare.svg").write_text(re.sub(r"\n\s*\n+", "\n", drawing))


if __name__ == "__main__":
    main()
