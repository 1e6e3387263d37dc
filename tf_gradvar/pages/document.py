"""Parts of a report, which the terminal and the page lay out in two ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

MINUS = "\N{MINUS SIGN}"
PERCENT = "\N{NO-BREAK SPACE}%"


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph of plain text; a finding is set off, a note is set small."""

    text: str
    kind: Literal["", "finding", "note"] = ""


@dataclasses.dataclass(frozen=True)
class Markup:
    """A paragraph that brings its own HTML, for formulas and links; kinds are those of `Text`."""

    html: str
    kind: Literal["", "finding", "note"] = ""


@dataclasses.dataclass(frozen=True)
class Code:
    """Code or commands, to be copied."""

    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table. Where rows share the value of the first column, they stand in blocks.

    Rows in `strong` are set in bold; a terminal of 80 columns has no room for the columns with
    headings in `only_on_page`.
    """

    headings: Sequence[str]
    cells: Sequence[Sequence[str]]
    strong: Collection[int] = ()
    only_on_page: Collection[str] = ()

    @property
    def is_text(self) -> list[bool]:
        """Whether each column holds text, which is set to the left, and not numbers."""
        columns = zip(*self.cells, strict=True)
        return [not any(cell.lstrip(f"+{MINUS}")[:1].isdigit() for cell in own) for own in columns]

    def begins_block(self, row: int) -> bool:
        """Return whether a row begins a block after another one."""
        first = [cells[0] for cells in self.cells]
        return len(set(first)) < len(first) and row > 0 and first[row] != first[row - 1]


@dataclasses.dataclass(frozen=True)
class Terms:
    """Words and the paragraphs that explain them; (anchor, word, paragraph) each."""

    entries: Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A finished figure, the name of its files and what it shows."""

    name: str
    svg: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Pictures beside each other."""

    pictures: Sequence[Picture]


@dataclasses.dataclass(frozen=True)
class Section:
    """Parts under a heading."""

    title: str
    parts: Sequence[Part]


Part: TypeAlias = Text | Markup | Code | Table | Terms | Gallery | Section


@dataclasses.dataclass(frozen=True)
class Report:
    """A title and the parts of a page; of them, findings and a table are for the terminal, too."""

    title: str
    findings: Sequence[str]
    table: Table | None
    parts: Sequence[Part]


def findings_parts(findings: Sequence[str]) -> list[Part]:
    """Return the paragraphs of findings, of which the first is set off."""
    return [Text(text, "" if index else "finding") for index, text in enumerate(findings)]
