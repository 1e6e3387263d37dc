"""The optimizers of the comparisons, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import tf_gradvar
from keras_apps.experiment import Experiment, Run

RULES: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "SGD": keras.optimizers.SGD,
    "Adam": keras.optimizers.Adam,
    "AdamW": keras.optimizers.AdamW,
    "QHM": tf_gradvar.QHM,
    "IGT": tf_gradvar.IGT,
    "Discover": tf_gradvar.Discover,
    "DiscoverQHM": tf_gradvar.DiscoverQHM,
    "DiscoverIGT": tf_gradvar.DiscoverIGT,
    "DiscoverOver": tf_gradvar.DiscoverOver,
}


def build(run: Run, experiment: Experiment, probabilities: np.ndarray) -> Any:
    """The optimizer of a run.

    Args:
        run: The run.
        experiment: Whose schedule it follows.
        probabilities: Of the clusters, [K], for rules that keep a buffer for each.

    Returns:
        A Keras optimizer, not yet built.

    Raises:
        ValueError: A rule that is not one of `RULES`.
    """
    arguments = dict(run.optimizer.arguments)
    rate = _schedule(run.learning_rate, experiment)
    rule = run.optimizer.rule
    clusters = {"num_clusters": len(probabilities), "cluster_probabilities": probabilities.tolist()}
    if rule == "DiscoverOver":
        own = {key: arguments.pop(key) for key in ("alpha", "buffer_dtype") if key in arguments}
        inner = _rule(arguments.pop("over"))(learning_rate=rate, **arguments)
        return _rule(rule)(inner, **clusters, **own)
    if rule.startswith("Discover"):
        arguments.update(clusters)
    return _rule(rule)(learning_rate=rate, **arguments)


def check(experiment: Experiment, probabilities: np.ndarray) -> None:
    """Make every optimizer once, so that a misspelt argument shows before anything is trained.

    Args:
        experiment: The experiment.
        probabilities: Of the clusters, [K].

    Raises:
        ValueError, TypeError: What a rule says of its arguments.
    """
    for optimizer in experiment.optimizers:
        build(Run(optimizer, groups=1, seed=0, learning_rate=0.1), experiment, probabilities)


def _rule(name: str) -> Callable[..., Any]:
    if name not in RULES:
        close = difflib.get_close_matches(name, RULES)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"`rule` must be one of {list(RULES)}. Received {name!r}.{hint}")
    return RULES[name]


def _schedule(rate: float, experiment: Experiment) -> Any:
    schedules = keras.optimizers.schedules
    if experiment.schedule == "cosine":
        if not experiment.warmup_steps:
            return schedules.CosineDecay(rate, experiment.steps)
        return schedules.CosineDecay(
            0.0,
            experiment.steps - experiment.warmup_steps,
            warmup_target=rate,
            warmup_steps=experiment.warmup_steps,
        )
    if experiment.warmup_steps:
        return schedules.PolynomialDecay(0.0, experiment.warmup_steps, end_learning_rate=rate)
    return rate
