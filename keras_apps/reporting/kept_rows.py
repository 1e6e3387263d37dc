"""Rows of a page of claims that stay as they are, where an experiment's records are elsewhere.

Runs take hours and their records are large; they may be made on several machines. A page then says
what each of them found, although no folder holds the records of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from keras_apps.reporting.verdicts import NOT_RUN, Row

_HEADING = re.compile(r"## \d+\. (.+)")
_ROW = re.compile(r"\| `(.+?)` \| (.*?) \| (.*) \| \*\*(.+)\*\* \|")


def rows_on(page: str) -> dict[str, list[Row]]:
    r"""Return the rows of a page, by the statement of their claim.

    Example:
        >>> page = ["## 1. It helps.", "| `a:small` | gain 1 | 2 and 3 | **holds** |"]
        >>> rows_on("\n".join(page))["It helps."][0].verdict
        'holds'
    """
    rows: dict[str, list[Row]] = {}
    statement = ""
    for line in page.splitlines():
        if heading := _HEADING.fullmatch(line):
            statement = heading[1]
        elif row := _ROW.fullmatch(line):
            rows.setdefault(statement, []).append(Row(*row.groups()))
    return rows


def with_kept(rows: Sequence[Row], kept: Sequence[Row]) -> list[Row]:
    """Return the rows of a claim, with kept ones for each experiment that was not run at all.

    Those of an experiment stand together.

    Args:
        rows: What the records say.
        kept: What the page said before, of the same claim.
    """
    before = _by_experiment([row for row in kept if row.verdict != NOT_RUN])
    chosen = []
    for experiment, own in _by_experiment(rows).items():
        not_run = all(row.verdict == NOT_RUN for row in own)
        chosen += before.get(experiment, own) if not_run else own
    return chosen


def _by_experiment(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    own: dict[str, list[Row]] = {}
    for row in rows:
        own.setdefault(row.experiment, []).append(row)
    return own
