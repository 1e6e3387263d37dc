"""An optimizer of a comparison: its name, its rule, its arguments, its learning rates."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np

import tf_gradvar

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


@dataclasses.dataclass(slots=True)
class OptimizerChoice:
    """An optimizer of the comparison.

    Attributes:
        name: What records, tables and `--set optimizers.NAME...` call it; letters and digits.
        rule: The update rule, a key of `RULES`. Defaults to the name.
        arguments: Arguments of the rule beside the learning rate.
        base: Name of the same optimizer without the control variate, if this one has it.
        candidates: Learning rates to choose from. Every optimizer needs the same number.
        learning_rates: The rate for each number of groups in a step, by that number as a string.
            For numbers that are missing, the rate is chosen among the candidates by training with
            each of them.
        measures_variance: Whether the between-cluster variance is measured at each evaluation.
        clusters: What its clusters are: "classes", "random", or "gradients", which Gradient
            Clustering finds again and again while the run trains; None for those of the problem.
    """

    name: str
    _: dataclasses.KW_ONLY
    rule: str = ""
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    base: str | None = None
    candidates: tuple[float, ...] = ()
    learning_rates: dict[str, float] = dataclasses.field(default_factory=dict)
    measures_variance: bool = False
    clusters: Literal["classes", "random", "gradients"] | None = None

    def __post_init__(self) -> None:
        self.rule = self.rule or self.name

    @property
    def label(self) -> str:
        """The name for readers."""
        if self.rule == "DiscoverOver":
            name = f"DiscoverOver({self.arguments['over']})"
        else:
            name = self.name if self.clusters is None else self.rule
        return name if self.clusters is None else f"{name}, {self.clusters}"

    def build(self, learning_rate: Any, probabilities: np.ndarray) -> Any:
        """Return the Keras optimizer, not yet built.

        Args:
            learning_rate: A number or a schedule.
            probabilities: The share of each cluster, [K], for rules that keep a buffer for each.

        Raises:
            ValueError: A rule that is not one of `RULES`, or what the rule says of its arguments.
            TypeError: An argument that the rule does not have.
        """
        arguments = dict(self.arguments)
        clusters = {
            "num_clusters": len(probabilities),
            "cluster_probabilities": probabilities.tolist(),
        }
        if self.rule == "DiscoverOver":
            own = {key: arguments.pop(key) for key in ("alpha", "buffer_dtype") if key in arguments}
            inner = _rule(arguments.pop("over"))(learning_rate=learning_rate, **arguments)
            return RULES[self.rule](inner, **clusters, **own)
        if self.rule.startswith("Discover"):
            arguments.update(clusters)
        return _rule(self.rule)(learning_rate=learning_rate, **arguments)


def _rule(name: str) -> Callable[..., keras.optimizers.Optimizer]:
    if name not in RULES:
        close = difflib.get_close_matches(name, RULES)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"`rule` must be one of {list(RULES)}. Received: rule={name!r}.{hint}")
    return RULES[name]
