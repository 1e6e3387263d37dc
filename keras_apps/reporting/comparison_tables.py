"""Tables of a comparison: the summary, what the control variate changes, and the best rivals."""

from __future__ import annotations

from typing import Any

from keras_apps.experiments.search import shown
from keras_apps.reporting.comparison_results import Arm, Pair, Results, Spread, unit
from tf_gradvar.pages import MINUS, PERCENT, Table

# Columns of the summary: heading, when the value is taken, its name, and its digits.
COLUMNS = (
    ("training loss, end", "final", "training_loss", ".4f"),
    ("test accuracy, %", "final", "test_accuracy", ".2f"),
    ("training loss, step {step}", "early", "training_loss", ".3f"),
    ("test loss, end", "final", "test_loss", ".4f"),
    ("steady excess risk", "late", "excess_risk", ".3g"),
)
ONLY_ON_PAGE = ("arguments", "rate chosen", "test loss, end", "steps/s")


def summary_table(results: Results) -> Table:
    """Return a row for each arm, of which there must be one at least."""
    columns = [column for column in COLUMNS if results.measures(column[2])]
    values_of = [column[0].format(step=results.arms[0].early_step) for column in columns]
    searched = ["arguments"] if any(arm.chosen.arguments for arm in results.arms) else []
    headings = ["C", "optimizer", *values_of, "learning rate", *searched, "rate chosen", "steps/s"]
    return Table(
        headings=headings,
        cells=[_summary_row(arm, columns, bool(searched)) for arm in results.arms],
        strong={i for i, arm in enumerate(results.arms) if arm.optimizer.base is not None},
        only_on_page=ONLY_ON_PAGE,
    )


def _summary_row(arm: Arm, columns: list[tuple[str, str, str, str]], searched: bool) -> list[str]:
    diverged = f" ({arm.diverged} diverged)" if arm.diverged else ""
    return [
        str(arm.groups),
        arm.optimizer.label + diverged,
        *(
            _spread(getattr(arm, when)[name], unit(name), digits)
            for _, when, name, digits in columns
        ),
        f"{arm.chosen.learning_rate:g}",
        *([_arguments(arm)] if searched else []),
        arm.how,
        f"{arm.steps_per_second:.0f}",
    ]


def _arguments(arm: Arm) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in arm.chosen.arguments.items())


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
    cells: dict[str, dict[str, str]] = {}
    for groups in results.experiment.groups_per_batch:
        for step, name in ((early, f"step {early}"), (None, "end")):
            headings.append(f"C = {groups}, {name}")
            for pair in results.pairs(groups, "training_loss", step):
                row = cells.setdefault(f"{pair.name} against {pair.base}", {})
                mark = "*" if pair.is_lower and len(pair.values) > 1 else ""
                change = f"{100 * pair.change:+.0f}{PERCENT}{mark}".replace("-", MINUS)
                row[headings[-1]] = change
    rows = ([name, *(row.get(h, "") for h in headings[1:])] for name, row in cells.items())
    return Table(headings, list(rows))


def rivals_table(results: Results) -> Table:
    """Return each form with the control variate beside the best rival on the same batches."""
    cells = []
    for arm in results.arms:
        rival = results.best_rival(arm)
        if arm.optimizer.base is None or rival is None:
            continue
        pair = Pair.of(arm, rival, "training_loss")
        if pair.values:
            finals = (_spread(one.final["training_loss"], 1.0, ".3g") for one in (arm, rival))
            change = f"{100 * pair.change:+.0f}{PERCENT}".replace("-", MINUS)
            row = [pair.name, next(finals), pair.base, next(finals), change, _verdict(pair)]
            cells.append([str(arm.groups), *row])
    headings = ["C", "optimizer", "loss, end", "best rival", "its loss, end", "change", "seeds"]
    return Table(headings, cells)


def _verdict(pair: Pair) -> str:
    if len(pair.values) == 1:
        return "one seed: no verdict"
    if pair.is_lower:
        return "lower on every seed"
    return "higher on every seed" if pair.is_higher else "lower on some seeds, higher on others"


def summary_rows(results: Results) -> list[dict[str, Any]]:
    """Return the summary with all digits, a column for each number."""
    return [
        {
            "groups": arm.groups,
            "optimizer": arm.optimizer.name,
            "learning_rate": arm.chosen.learning_rate,
            "rate_chosen": arm.how,
            "seeds_diverged": arm.diverged,
            "steps_per_second": arm.steps_per_second,
        }
        | {f"argument_{name}": value for name, value in arm.chosen.arguments.items()}
        | {
            f"{when}_{name}_{statistic}": value
            for when in ("early", "late", "final")
            for name, spread in getattr(arm, when).items()
            for statistic, value in (("mean", spread.mean), ("std", spread.deviation))
        }
        for arm in results.arms
    ]
