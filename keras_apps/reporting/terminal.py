"""View of a report in the terminal: its table, its findings, and where the page is."""

from __future__ import annotations

from pathlib import Path

import rich.table
from rich.console import Console

from tf_gradvar.pages import Report, Table


def show(report: Report, page: Path, console: Console) -> None:
    """Print a report, and where the whole of it is."""
    if report.table is not None:
        console.print(rich_table(report.table, report.title))
    for text in [*report.findings, f"Report: {page}"]:
        # Sentences are broken between words; commands and paths must stay whole.
        whole = text.startswith(("python -m ", "Report: "))
        console.print(text, highlight=False, markup=False, soft_wrap=whole)


def rich_table(table: Table, title: str) -> rich.table.Table:
    """Return the table for the terminal, narrow enough for 80 columns."""
    shown = rich.table.Table(title=title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    kept = [i for i, heading in enumerate(table.headings) if heading not in table.only_on_page]
    for index in kept:
        # Headings break between words, so that the numbers need not.
        texts = [*table.headings[index].split(), *(row[index] for row in table.cells)]
        shown.add_column(
            table.headings[index],
            justify="left" if table.is_text[index] else "right",
            width=max(map(len, texts)),
        )
    for index, row in enumerate(table.cells):
        if table.begins_block(index):
            shown.add_row()
        shown.add_row(*(row[column] for column in kept))
    return shown
