"""An optimizer of a comparison: its name, its rule, its arguments, what is tuned."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(kw_only=True, slots=True)
class OptimizerChoice:
    """An optimizer of the comparison.

    Attributes:
        name: What records, tables and `--set optimizers.NAME...` call it; letters and digits.
        rule: The update rule, a key of `optimizer_rules.RULES`. Defaults to the name.
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

    name: str = dataclasses.field(kw_only=False)
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

    @property
    def carries_buffers(self) -> bool:
        """Whether it only shows what buffers would hold, at the weights of SGD."""
        return self.rule == "CarriedBuffers"

    def tuning_runs(self, budget: int) -> int:
        """Return how many runs choose what is not given, for one number of groups in a step."""
        return budget if self.search else len(self.candidates)
