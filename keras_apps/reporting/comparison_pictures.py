"""Pictures of a comparison, chosen from what its results hold."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from keras_apps.reporting import curves_over_steps as curves
from keras_apps.reporting import final_values, pictures
from keras_apps.reporting.comparison_results import Arm, Results
from tf_gradvar.pages import Picture

ROW_HEIGHT = 0.24
COMPARED = ("training_loss", "test_accuracy")


def comparison_pictures(results: Results, groups: int, folder: Path) -> list[Picture]:
    """Draw all optimizers in one picture for loss and one for accuracy, then each family alone.

    Where one family is all there is, only its pictures are drawn.
    """
    found = []
    families = _families(results, groups)
    arms = [arm for arm in results.arms if arm.groups == groups]
    own = [arm for arm in arms if arm.optimizer.clusters is None] or arms
    several = len(results.experiment.seeds) > 1
    if not any(len(family) == len(arms) for family in families.values()):
        spread = ", mean over seeds" if several else ""
        for value in COMPARED:
            on = "" if len(own) == len(arms) else " on the problem's own clusters"
            caption = f"{value.replace('_', ' ').capitalize()} of all optimizers{on}{spread}."
            name = f"{value}-C{groups}"
            found.append(_values_picture(results, name, caption, own, value, folder, seeds=False))
    spread = ", seeds and their standard deviation" if several else ""
    for base, family in families.items():
        for value in COMPARED:
            text = value.replace("_", " ")
            names = " and ".join(dict.fromkeys(arm.optimizer.label for arm in family))
            caption = f"{names}: {text}{spread}."
            name = f"{value}-C{groups}-{base}"
            found.append(_values_picture(results, name, caption, family, value, folder))
    return found


def final_pictures(results: Results, folder: Path) -> list[Picture]:
    """Draw the final training loss of every optimizer, a picture for each number of groups."""
    found = []
    for groups in results.experiment.groups_per_batch:
        arms = final_values.sorted_arms(results, groups)
        if not arms:
            continue
        found.append(
            pictures.draw(
                f"final_training_loss-C{groups}",
                f"Final training loss with {groups} {'group' if groups == 1 else 'groups'} in a "
                "step: dots are seeds, bars their mean; filled with a buffer for each cluster.",
                folder,
                functools.partial(final_values.plot_finals, arms=arms),
                final_values.numbers_of(arms),
                height=1.1 + ROW_HEIGHT * len(arms),
            )
        )
    return found


def variance_pictures(results: Results, folder: Path) -> list[Picture]:
    """Draw the between-cluster variance, if it was measured, for each number of groups."""
    found = []
    for groups in results.experiment.groups_per_batch:
        arms = [
            arm
            for arm in results.arms
            if arm.groups == groups
            and arm.optimizer.measures_variance
            and not arm.optimizer.carries_buffers
        ]
        values = [value for arm in arms for value, _, _ in curves.variances_of(arm)]
        if not values:
            continue

        def plot(ax: Axes, arms: Sequence[Arm] = arms) -> Axes:
            return pictures.add_legend(curves.plot_variances(results, ax, arms=arms), columns=1)

        found.append(
            pictures.draw(
                f"between_cluster_variance-C{groups}",
                f"With {groups} {'group' if groups == 1 else 'groups'} in a step.",
                folder,
                plot,
                curves.numbers_of(arms, sorted(set(values))),
                height=pictures.FIGURE_INCHES[1] + pictures.LEGEND_LINE * max(0, len(values) - 5),
            )
        )
    return found


def risk_pictures(results: Results, folder: Path) -> list[Picture]:
    """Draw the risk beside its prediction, a picture for each base optimizer."""
    found = []
    for groups in results.experiment.groups_per_batch:
        for base, family in _families(results, groups).items():
            predicted = _predictions(results, family)
            numbers = curves.numbers_of(family, ["excess_risk"])
            for name, risks in predicted.items():
                numbers += [
                    {"optimizer": f"prediction, {name}", "groups": groups, "value": "excess_risk"}
                    | {"step": step, "mean": risk}
                    for step, risk in enumerate(risks)
                    if step % results.experiment.evaluate_every == 0
                ]
            found.append(
                pictures.draw(
                    f"excess_risk-C{groups}-{base}",
                    f"{base}: excess risk with {groups} groups in a step; seeds, their mean and "
                    "standard deviation, and what theory predicts.",
                    folder,
                    functools.partial(_plot_risk, results, family, predicted),
                    numbers,
                )
            )
    return found


def _plot_risk(
    results: Results, family: Sequence[Arm], predicted: Mapping[str, np.ndarray], ax: Axes
) -> Axes:
    curves.plot_values(results, ax, arms=family, value="excess_risk")
    lines: Iterator[Any] = itertools.cycle(("-.", ":", "--", (0, (6, 1.5)), (0, (1, 2))))
    for (name, risks), line in zip(predicted.items(), lines, strict=False):
        ax.plot(risks, linestyle=line, color="#333333", linewidth=1.0, label=f"predicted: {name}")
    return pictures.add_legend(ax, columns=1)


def _values_picture(
    results: Results,
    name: str,
    caption: str,
    arms: Sequence[Arm],
    value: str,
    folder: Path,
    seeds: bool = True,
) -> Picture:
    def plot(ax: Axes) -> Axes:
        curves.plot_values(results, ax, arms=arms, value=value, seeds=seeds)
        short = max(len(arm.optimizer.label) for arm in arms) < 16
        return pictures.add_legend(ax, columns=3 if short and len(arms) > 4 else 2)

    return pictures.draw(name, caption, folder, plot, curves.numbers_of(arms, [value]))


def _predictions(results: Results, family: Sequence[Arm]) -> dict[str, np.ndarray]:
    """Return the predictions for a base optimizer, then those for its forms, by name."""
    base, *forms = family
    found = dict(results.predictions[base.optimizer.name, base.groups])
    for arm in forms:
        own = results.predictions.get((arm.optimizer.name, arm.groups), {})
        found |= {f"{arm.optimizer.label}, {name}": risks for name, risks in own.items()}
    return found


def _families(results: Results, groups: int) -> dict[str, list[Arm]]:
    """Return each base optimizer that has a form with the control variate, and that form."""
    families: dict[str, list[Arm]] = {}
    for arm, base in results.pairs_of_arms(groups):
        families.setdefault(base.optimizer.name, [base]).append(arm)
    return families
