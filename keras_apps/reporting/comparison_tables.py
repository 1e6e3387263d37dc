"""Tables of a comparison: the summary, and what the control variate changes."""

from __future__ import annotations

from typing import Any

from keras_apps.reporting.comparison_results import Arm, Results, Spread, unit
from keras_apps.reporting.document import MINUS, PERCENT, Table

# Columns of the summary: heading, when the value is taken, its name, and its digits.
COLUMNS = (
    ("training loss, end", "final", "training_loss", ".4f"),
    ("test accuracy, %", "final", "test_accuracy", ".2f"),
    ("training loss, step {step}", "early", "training_loss", ".3f"),
    ("test loss, end", "final", "test_loss", ".4f"),
    ("steady excess risk", "late", "excess_risk", ".3g"),
)
ONLY_ON_PAGE = ("rate chosen", "test loss, end", "steps/s")


def summary_table(results: Results) -> Table:
    """Return a row for each arm, of which there must be one at least."""
    columns = [column for column in COLUMNS if results.measures(column[2])]
    values_of = [column[0].format(step=results.arms[0].early_step) for column in columns]
    return Table(
        headings=["C", "optimizer", *values_of, "learning rate", "rate chosen", "steps/s"],
        cells=[_summary_row(arm, columns) for arm in results.arms],
        strong={i for i, arm in enumerate(results.arms) if arm.optimizer.base is not None},
        only_on_page=ONLY_ON_PAGE,
    )


def _summary_row(arm: Arm, columns: list[tuple[str, str, str, str]]) -> list[str]:
    diverged = f" ({arm.diverged} diverged)" if arm.diverged else ""
    return [
        str(arm.groups),
        arm.optimizer.label + diverged,
        *(
            _spread(getattr(arm, when)[name], unit(name), digits)
            for _, when, name, digits in columns
        ),
        f"{arm.learning_rate:g}",
        arm.chosen,
        f"{arm.steps_per_second:.0f}",
    ]


def _spread(spread: Spread, factor: float, digits: str) -> str:
    """Return mean ± deviation, or the mean alone for one seed."""
    mean = format(factor * spread.mean, digits)
    if len(spread.values) == 1:
        return mean
    return f"{mean} ± {format(factor * spread.deviation, digits)}"


def changes_table(results: Results) -> Table:
    """Return what the control variate changes in the training loss of each optimizer."""
    early = results.arms[0].early_step
    headings = ["change of training loss"]
    cells: dict[str, list[str]] = {}
    for groups in results.experiment.groups_per_batch:
        for step, name in ((early, f"step {early}"), (None, "end")):
            headings.append(f"C = {groups}, {name}")
            for pair in results.pairs(groups, "training_loss", step):
                row = cells.setdefault(pair.name, [f"{pair.name} against {pair.base}"])
                mark = "*" if pair.is_lower and len(pair.values) > 1 else ""
                row.append(f"{100 * pair.change:+.0f}{PERCENT}{mark}".replace("-", MINUS))
    return Table(headings, list(cells.values()))


def summary_rows(results: Results) -> list[dict[str, Any]]:
    """Return the summary with all digits, a column for each number."""
    return [
        {
            "groups": arm.groups,
            "optimizer": arm.optimizer.name,
            "learning_rate": arm.learning_rate,
            "rate_chosen": arm.chosen,
            "seeds_diverged": arm.diverged,
            "steps_per_second": arm.steps_per_second,
        }
        | {
            f"{when}_{name}_{statistic}": value
            for when in ("early", "late", "final")
            for name, spread in getattr(arm, when).items()
            for statistic, value in (("mean", spread.mean), ("std", spread.deviation))
        }
        for arm in results.arms
    ]
