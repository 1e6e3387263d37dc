"""An optimizer of a comparison: its name, its rule, its arguments, what is tuned."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
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
    "QHDiscover": tf_gradvar.QHDiscover,
    "DiscoverIGT": tf_gradvar.DiscoverIGT,
    "DiscoverOver": tf_gradvar.DiscoverOver,
}
# The arguments of `DiscoverOver`; all others are those of the optimizer in it.
OF_DISCOVER = {"alpha", "gain", "scale", "buffer_dtype", "buffers", "rank"}


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
        search: In the place of `candidates`, values of `learning_rate` and of arguments of the
            rule. Of their combinations as many are tried as the experiment's `tuning_budget` says,
            see `keras_apps/experiments/search.py`.
        measures_variance: Whether the between-cluster variance is measured at each evaluation.
        clusters: What its clusters are: one of those that a `Classification` has, or "gradients",
            which Gradient Clustering finds again and again while the run trains; None for those of
            the problem.
    """

    name: str
    _: dataclasses.KW_ONLY
    rule: str = ""
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    base: str | None = None
    candidates: tuple[float, ...] = ()
    learning_rates: dict[str, float] = dataclasses.field(default_factory=dict)
    search: dict[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    measures_variance: bool = False
    clusters: Literal["classes", "labels", "random", "augmentations", "gradients"] | None = None

    def __post_init__(self) -> None:
        self.rule = self.rule or self.name

    @property
    def label(self) -> str:
        """The name for readers."""
        suffix = "" if self.clusters is None else self.clusters.capitalize()
        if self.rule == "DiscoverOver":
            name = f"DiscoverOver({self.arguments['over']})"
        elif self.name.endswith(suffix):
            name = self.name.removesuffix(suffix)
        else:
            name = self.rule
        return name if self.clusters is None else f"{name}, {self.clusters}"

    def tuning_runs(self, budget: int) -> int:
        """Return how many runs choose what is not given, for one number of groups in a step."""
        return budget if self.search else len(self.candidates)

    def build(
        self,
        learning_rate: Any,
        probabilities: np.ndarray,
        chosen: Mapping[str, Any] | None = None,
        weight_decay: float = 0.0,
    ) -> Any:
        """Return the Keras optimizer, not yet built.

        Args:
            learning_rate: A number or a schedule.
            probabilities: The share of each cluster, [K], for rules that keep a buffer for each.
            chosen: Arguments beside `arguments`. Defaults to none.
            weight_decay: Decoupled, for a rule whose arguments have none. Defaults to 0.

        Raises:
            ValueError: A rule that is not one of `RULES`, or what the rule says of its arguments.
            TypeError: An argument that the rule does not have.
        """
        decay = {"weight_decay": weight_decay} if weight_decay else {}
        arguments = {**decay, **self.arguments, **(chosen or {})}
        clusters = {
            "num_clusters": len(probabilities),
            "cluster_probabilities": probabilities.tolist(),
        }
        if self.rule == "DiscoverOver":
            own = {key: arguments.pop(key) for key in OF_DISCOVER & set(arguments)}
            inner = _rule(arguments.pop("over"))(learning_rate=learning_rate, **arguments)
            return RULES[self.rule](inner, **clusters, **own)
        if "Discover" in self.rule:
            arguments.update(clusters)
        return _rule(self.rule)(learning_rate=learning_rate, **arguments)


def _rule(name: str) -> Callable[..., keras.optimizers.Optimizer]:
    if name not in RULES:
        close = difflib.get_close_matches(name, RULES)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"`rule` must be one of {list(RULES)}. Received: rule={name!r}.{hint}")
    return RULES[name]
