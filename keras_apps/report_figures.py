"""The pictures of a report, chosen from what its records hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from keras_apps import curves, figures, least_squares
from keras_apps.experiment import Experiment, OptimizerChoice
from keras_apps.figures import Picture
from keras_apps.problems import LeastSquares

Record = dict[str, Any]

LEGEND_LINE = 0.19  # inches


def comparison_pictures(
    records: Sequence[Record], experiment: Experiment, groups: int, folder: Path
) -> list[Picture]:
    """All optimizers in one picture for loss and one for accuracy, then each family alone.

    Where one family is all there is, only its pictures are drawn.

    Args:
        records: Of the experiment.
        experiment: The experiment.
        groups: With so many groups in a step.
        folder: Where the pictures and their numbers go.

    Returns:
        Pictures of what was measured.
    """
    pictures = []
    families = _families(experiment)
    several = len(experiment.seeds) > 1
    alone = any(len(family) == len(experiment.optimizers) for family in families.values())
    together = (("training_loss", "Training loss"), ("test_accuracy", "Test accuracy"))
    for value, text in () if alone else together:
        pictures.append(
            _values_picture(
                f"{value}-C{groups}",
                f"{text} of all optimizers{', mean over seeds' if several else ''}.",
                records,
                experiment,
                experiment.optimizers,
                groups,
                value,
                folder,
                seeds=False,
            )
        )
    for base, family in families.items():
        for value, text in (("training_loss", "training loss"), ("test_accuracy", "test accuracy")):
            pictures.append(
                _values_picture(
                    f"{value}-C{groups}-{base}",
                    f"{base} and its form with the control variate: {text}"
                    f"{', seeds and their standard deviation' if several else ''}.",
                    records,
                    experiment,
                    family,
                    groups,
                    value,
                    folder,
                )
            )
    return pictures


def variance_pictures(
    records: Sequence[Record], experiment: Experiment, folder: Path
) -> list[Picture]:
    """The between-cluster variance over training, a picture for each number of groups.

    Args:
        records: Of the experiment.
        experiment: The experiment.
        folder: Where the pictures and their numbers go.

    Returns:
        Pictures; none if the variance was not measured.
    """
    optimizers = [o for o in experiment.optimizers if o.measures_variance]
    pictures = []
    for groups in experiment.groups_per_batch:
        lines = [
            f"between_cluster_variance_{name}"
            for optimizer in optimizers
            for name, _, _ in curves.variances_of(records, optimizer.name, groups)
        ]
        if not lines:
            continue

        def plot(ax: Axes, groups: int = groups) -> Axes:
            curves.plot_variances(
                records, ax, experiment=experiment, optimizers=optimizers, groups=groups
            )
            return figures.add_legend(ax, columns=1)

        pictures.append(
            figures.draw(
                f"between_cluster_variance-C{groups}",
                f"With {groups} {'group' if groups == 1 else 'groups'} in a step.",
                folder,
                plot,
                curves.numbers_of(records, optimizers, groups, sorted(set(lines))),
                height=figures.FIGURE_INCHES[1] + LEGEND_LINE * max(0, len(lines) - 5),
            )
        )
    return pictures


def least_squares_pictures(
    records: Sequence[Record], experiment: Experiment, folder: Path
) -> list[Picture]:
    """Risk over the steps beside its prediction, a picture for each base optimizer.

    Args:
        records: Of the experiment.
        experiment: The experiment.
        folder: Where the pictures and their numbers go.

    Returns:
        Pictures; none if the problem is another one.
    """
    if not isinstance(experiment.problem, LeastSquares):
        return []
    pictures = []
    for groups in experiment.groups_per_batch:
        for base, family in _families(experiment).items():
            predicted = predictions(experiment, family[0], groups)
            numbers = curves.numbers_of(records, family, groups, ["excess_risk"])
            for name, risks in predicted.items():
                numbers += [
                    {"optimizer": f"prediction, {name}", "groups": groups, "value": "excess_risk"}
                    | {"step": step, "mean": risk}
                    for step, risk in enumerate(risks)
                    if step % experiment.evaluate_every == 0
                ]
            pictures.append(
                figures.draw(
                    f"excess_risk-C{groups}-{base}",
                    f"{base}: excess risk with {groups} groups in a step; seeds, their mean and "
                    "standard deviation, and what theory predicts.",
                    folder,
                    _risk_plot(records, experiment, family, groups, predicted),
                    numbers,
                )
            )
    return pictures


def predictions(experiment: Experiment, base: OptimizerChoice, groups: int) -> dict[str, Any]:
    """Expected excess risk over the steps, with both parts of the noise and with one.

    Args:
        experiment: One on least squares.
        base: SGD, QHM or IGT, with a given learning rate.
        groups: In a step.

    Returns:
        What the noise is -> risks [steps + 1].
    """
    if not isinstance(experiment.problem, LeastSquares):
        raise TypeError(
            "`experiment` must be on `LeastSquares` to have a prediction. Received "
            f"{type(experiment.problem).__name__}."
        )
    data = experiment.problem.data()
    within = data.noise_within(groups, experiment.group_size)
    noises = {
        "within and between clusters": within + data.noise_between(groups),
        "within clusters alone": within,
    }
    rate = base.learning_rates[str(groups)]
    return {
        name: least_squares.predicted_risk(
            base.rule, base.arguments, rate, experiment.steps, data, noise
        )
        for name, noise in noises.items()
    }


def _risk_plot(
    records: Sequence[Record],
    experiment: Experiment,
    family: Sequence[OptimizerChoice],
    groups: int,
    predicted: dict[str, Any],
) -> Callable[[Axes], Axes]:
    def plot(ax: Axes) -> Axes:
        curves.plot_values(
            records,
            ax,
            experiment=experiment,
            optimizers=family,
            groups=groups,
            value="excess_risk",
        )
        for (name, risks), line in zip(predicted.items(), ("-.", ":"), strict=True):
            ax.plot(risks, line, color="#333333", linewidth=1.0, label=f"predicted: {name}")
        return figures.add_legend(ax, columns=1)

    return plot


def _values_picture(
    name: str,
    caption: str,
    records: Sequence[Record],
    experiment: Experiment,
    optimizers: Sequence[OptimizerChoice],
    groups: int,
    value: str,
    folder: Path,
    seeds: bool = True,
) -> Picture:
    def plot(ax: Axes) -> Axes:
        curves.plot_values(
            records,
            ax,
            experiment=experiment,
            optimizers=optimizers,
            groups=groups,
            value=value,
            seeds=seeds,
        )
        short = max(len(optimizer.label) for optimizer in optimizers) < 16
        return figures.add_legend(ax, columns=3 if short and len(optimizers) > 4 else 2)

    return figures.draw(
        name, caption, folder, plot, curves.numbers_of(records, optimizers, groups, [value])
    )


def _families(experiment: Experiment) -> dict[str, list[OptimizerChoice]]:
    """Each base optimizer that has a form with the control variate, and that form."""
    families: dict[str, list[OptimizerChoice]] = {}
    by_name = {optimizer.name: optimizer for optimizer in experiment.optimizers}
    for optimizer in experiment.optimizers:
        if optimizer.base in by_name:
            families.setdefault(optimizer.base, [by_name[optimizer.base]]).append(optimizer)
    return families
