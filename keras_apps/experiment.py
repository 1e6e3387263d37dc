"""Definition of a training experiment: optimizers x groups per step x seeds on one problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from keras_apps.problems import Classification, LeastSquares
from keras_apps.trajectory import Trajectory


@dataclasses.dataclass(frozen=True)
class OptimizerChoice:
    """An optimizer of the comparison.

    Attributes:
        name: What records, tables and `--set optimizers.NAME...` call it; letters and digits.
        rule: The update rule, a key of `keras_apps.optimizers.RULES`.
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
    rule: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    base: str | None = None
    candidates: tuple[float, ...] = ()
    learning_rates: dict[str, float] = dataclasses.field(default_factory=dict)
    measures_variance: bool = False
    clusters: Literal["classes", "random", "gradients"] | None = None

    @property
    def label(self) -> str:
        """The name for readers."""
        if self.rule == "DiscoverOver":
            name = f"DiscoverOver({self.arguments['over']})"
        else:
            name = self.name if self.clusters is None else self.rule
        return name if self.clusters is None else f"{name}, {self.clusters}"


@dataclasses.dataclass(frozen=True)
class GradientClusters:
    """How clusters are found in the gradients of the training set while a run trains.

    Attributes:
        every: Steps from one clustering to the next; the first one is before the first step.
        sketch_size: Numbers that stand for a gradient.
        max_passes: The most passes of a clustering.
        max_size_ratio: The most examples in a cluster, in units of N / K; None for no limit.
        buffers: What becomes of the buffers of an optimizer: "match" or "restart".
    """

    every: int = 100
    sketch_size: int = 256
    max_passes: int = 10
    max_size_ratio: float | None = None
    buffers: Literal["match", "restart"] = "match"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A comparison of optimizers, every one on the same batches.

    Attributes:
        title: What the report is headed with.
        problem: The data, the clusters and the model.
        optimizers: The optimizers to compare.
        groups_per_batch: The numbers C of groups in a step to compare; a group holds examples of
            one cluster.
        group_size: Examples in a group.
        steps: Optimizer steps of a run.
        seeds: Of the initial weights and the order of the data, one run each.
        schedule: "cosine" decays the learning rate to zero over the run; "constant" does not.
        warmup_steps: Steps over which the learning rate rises from zero.
        order: "random" draws the cluster of each group with its probability; "cycle" goes through
            the clusters in random order.
        evaluate_every: Steps between evaluations on the whole training and test sets.
        checkpoint_every: Steps between checkpoints, a multiple of `evaluate_every`.
        steps_per_execution: Steps that TensorFlow takes in one call, at most; a divisor of
            `evaluate_every` is chosen.
        jit_compile: Whether XLA compiles the training step.
        tuning_seed: The seed of the runs that choose the learning rates, none of `seeds`.
        variance_examples: Examples of each cluster on which the between-cluster variance is
            measured; None for all.
        gradient_clusters: How the clusters of optimizers with `clusters="gradients"` are found.
        gradient_variance: A trajectory of plain SGD on the same problem, along which gradient
            estimators are measured; None leaves it out.
    """

    title: str
    problem: Classification | LeastSquares
    optimizers: tuple[OptimizerChoice, ...]
    groups_per_batch: tuple[int, ...] = (1,)
    group_size: int = 16
    steps: int = 1200
    seeds: tuple[int, ...] = (0, 1, 2)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 0
    order: Literal["random", "cycle"] = "random"
    evaluate_every: int = 100
    checkpoint_every: int = 300
    steps_per_execution: int = 25
    jit_compile: bool = False
    tuning_seed: int = 1000
    variance_examples: int | None = None
    gradient_clusters: GradientClusters | None = None
    gradient_variance: Trajectory | None = None

    def check(self) -> None:
        """Refuse what cannot be run; `keras_apps.config.load` calls it after all changes.

        Raises:
            ValueError: Fields that do not go together.
        """
        names = [optimizer.name for optimizer in self.optimizers]
        clusters = {optimizer.clusters for optimizer in self.optimizers} - {None}
        rules = (
            (names, "`optimizers` must hold at least one optimizer", names),
            (self.groups_per_batch, "`groups_per_batch` must hold at least one number", ()),
            (self.seeds, "`seeds` must hold at least one number", ()),
            (len(set(names)) == len(names), "The names of `optimizers` must differ", names),
            (
                min(self.steps, self.evaluate_every, self.checkpoint_every, self.group_size) >= 1,
                "`steps`, `evaluate_every`, `checkpoint_every` and `group_size` must be at least 1",
                (self.steps, self.evaluate_every, self.checkpoint_every, self.group_size),
            ),
            (
                self.steps % max(self.evaluate_every, 1) == 0
                and self.checkpoint_every % max(self.evaluate_every, 1) == 0,
                "`steps` and `checkpoint_every` must be multiples of `evaluate_every`",
                (self.steps, self.checkpoint_every, self.evaluate_every),
            ),
            (
                self.tuning_seed not in self.seeds,
                "`tuning_seed` must not be one of `seeds`, or the comparison is tuned on itself",
                self.tuning_seed,
            ),
            (
                not clusters or isinstance(self.problem, Classification),
                "`clusters` of an optimizer needs a `Classification`, whose data can be clustered "
                "in several ways",
                type(self.problem).__name__,
            ),
            (
                "gradients" not in clusters or self.gradient_clusters is not None,
                "`gradient_clusters` must say how clusters are found for optimizers with "
                "`clusters='gradients'`",
                self.gradient_clusters,
            ),
        )
        for holds, rule, received in rules:
            if not holds:
                raise ValueError(f"{rule}. Received {received}.")
        self._check_learning_rates()
        if self.gradient_variance is not None:
            self.gradient_variance.check("gradient_variance")

    def _check_learning_rates(self) -> None:
        counts = {
            optimizer.name: len(optimizer.candidates)
            for optimizer in self.optimizers
            if any(str(groups) not in optimizer.learning_rates for groups in self.groups_per_batch)
        }
        if len(set(counts.values())) > 1 or 0 in counts.values():
            raise ValueError(
                "Every optimizer without given `learning_rates` must have the same number of "
                f"`candidates`, at least one, or the comparison is not fair. Received {counts}."
            )

    def tuning_runs(self) -> list[Run]:
        """The runs that choose the learning rates that are not given."""
        return [
            Run(optimizer, groups, self.tuning_seed, rate, tunes=True)
            for groups in self.groups_per_batch
            for optimizer in self.optimizers
            if str(groups) not in optimizer.learning_rates
            for rate in optimizer.candidates
        ]

    def runs(self, chosen: dict[tuple[str, int], float]) -> Iterator[Run]:
        """The runs of the comparison.

        Args:
            chosen: (optimizer's name, groups) -> learning rate, for those that are not given.
        """
        for groups in self.groups_per_batch:
            for optimizer in self.optimizers:
                rate = optimizer.learning_rates.get(str(groups))
                if rate is None:
                    rate = chosen[optimizer.name, groups]
                for seed in self.seeds:
                    yield Run(optimizer, groups, seed, rate)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        optimizer: The optimizer.
        groups: Groups in a step.
        seed: Of the initial weights and the order of the data.
        learning_rate: The peak learning rate.
        tunes: Whether it only serves to choose the learning rate.
    """

    optimizer: OptimizerChoice
    groups: int
    seed: int
    learning_rate: float
    tunes: bool = False

    @property
    def name(self) -> str:
        """What records and folders call it."""
        name = f"{self.optimizer.name}-C{self.groups}-seed{self.seed}"
        return f"tuning-{name}-lr{self.learning_rate:g}" if self.tunes else name
