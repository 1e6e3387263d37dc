"""A comparison of optimizers: optimizers x groups per step x seeds on one problem."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import keras

from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.search import LEARNING_RATE, Candidate, candidates, grid
from keras_apps.experiments.training_problem import LATER, ProblemDefinition
from keras_apps.experiments.trajectory import Trajectory

NOT_EMPTY = {"optimizers": "optimizer", "groups_per_batch": "number", "seeds": "number"}


@dataclasses.dataclass(slots=True)
class GradientClusters:
    """Settings of the clusters that are found in the training set's gradients during a run.

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


@dataclasses.dataclass(slots=True)
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
        seeds: Seeds of the initial weights and the order of the data, one run each.
        schedule: "cosine" decays the learning rate to zero over the run; "constant" does not.
        warmup_steps: Steps over which the learning rate rises from zero.
        weight_decay: Decoupled weight decay of all weights: they shrink by it times the learning
            rate in every step. An optimizer whose arguments have one keeps its own.
        precision: A dtype policy of Keras for the network, for example "mixed_bfloat16"; None for
            that in effect, float32 unless changed.
        order: "random" draws the cluster of each group with its probability; "cycle" goes through
            the clusters in random order.
        run_length: How many groups in a row are of the cluster that was drawn: data that arrive
            cluster after cluster have more than 1.
        evaluate_every: Steps between evaluations on the whole training and test sets.
        checkpoint_every: Steps between checkpoints, a multiple of `evaluate_every`.
        steps_per_execution: Steps that TensorFlow takes in one call, at most; a divisor of
            `evaluate_every` is chosen.
        jit_compile: Whether XLA compiles the training step; on JAX it always does.
        tuning_seed: The seed of the runs that choose learning rates and arguments, none of `seeds`.
        tuning_budget: How many of them an optimizer with a `search` gets, for each number of
            groups in a step.
        variance_examples: Examples of each cluster on which the between-cluster variance is
            measured; None for all.
        gradient_clusters: How the clusters of optimizers with `clusters="gradients"` are found.
        gradient_variance: A trajectory of plain SGD on the same problem, along which gradient
            estimators are measured; None leaves it out.
    """

    command: ClassVar[str] = "keras_apps.train"

    title: str
    problem: ProblemDefinition
    optimizers: tuple[OptimizerChoice, ...] = ()
    groups_per_batch: tuple[int, ...] = (1,)
    group_size: int = 16
    steps: int = 1200
    seeds: tuple[int, ...] = (0, 1, 2)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 0
    weight_decay: float = dataclasses.field(default=0.0, metadata=LATER)
    precision: str | None = dataclasses.field(default=None, metadata=LATER)
    order: Literal["random", "cycle"] = "random"
    run_length: int = dataclasses.field(default=1, metadata=LATER)
    evaluate_every: int = 100
    checkpoint_every: int = 300
    steps_per_execution: int = 25
    jit_compile: bool = False
    tuning_seed: int = 1000
    tuning_budget: int = 0
    variance_examples: int | None = None
    gradient_clusters: GradientClusters | None = None
    gradient_variance: Trajectory | None = None

    def check(self) -> None:
        """Refuse what cannot be run; called after all changes from the command line.

        Raises:
            ValueError: Fields that do not go together.
        """
        for holds, rule, received in self._rules():
            if not holds:
                text = ", ".join(f"{name}={value!r}" for name, value in received.items())
                raise ValueError(f"{rule}. Received: {text}.")
        if self.gradient_variance is not None:
            self.gradient_variance.check("gradient_variance")

    def _rules(self) -> Iterator[tuple[bool, str, dict[str, Any]]]:
        """Yield whether a rule holds, its sentence, and what was received."""
        names = [optimizer.name for optimizer in self.optimizers]
        for name, what in NOT_EMPTY.items():
            values = getattr(self, name)
            yield len(values) > 0, f"`{name}` must hold at least one {what}", {name: values}
        yield (
            len(set(names)) == len(names),
            "The names of `optimizers` must differ",
            {"names": names},
        )
        yield from self._rules_of_steps()
        yield (
            self.tuning_seed not in self.seeds,
            "`tuning_seed` must not be one of `seeds`, or the comparison is tuned on itself",
            {"tuning_seed": self.tuning_seed, "seeds": self.seeds},
        )
        clusters = {optimizer.clusters for optimizer in self.optimizers} - {None}
        yield (
            clusters <= set(self.problem.partition_names),
            "`clusters` of an optimizer needs a `Classification`, whose data can be clustered in "
            "several ways",
            {"problem": type(self.problem).__name__},
        )
        yield (
            "gradients" not in clusters or self.gradient_clusters is not None,
            "`gradient_clusters` must say how clusters are found for optimizers with "
            "`clusters='gradients'`",
            {"gradient_clusters": None},
        )
        yield from self._rules_of_tuning()

    def _rules_of_tuning(self) -> Iterator[tuple[bool, str, dict[str, Any]]]:
        counts = {
            optimizer.name: optimizer.tuning_runs(self.tuning_budget)
            for groups in self.groups_per_batch
            for optimizer in self._to_tune(groups)
        }
        yield (
            len(set(counts.values())) <= 1 and 0 not in counts.values(),
            "Every optimizer without given `learning_rates` must have the same number of "
            "`candidates`, at least one, or a `search` with that number as the `tuning_budget`, or "
            "the comparison is not fair",
            counts,
        )
        for optimizer in self.optimizers:
            if not optimizer.search:
                continue
            received = {"optimizer": optimizer.name, "search": optimizer.search}
            twice = set(optimizer.search) & set(optimizer.arguments)
            yield (
                not (optimizer.candidates or optimizer.learning_rates or twice),
                "What is in `search` must not be in `candidates`, `learning_rates` or `arguments`, "
                "too",
                received,
            )
            yield (
                LEARNING_RATE in optimizer.search
                and len(grid(optimizer.search)) >= self.tuning_budget,
                "`search` must have the `learning_rate`, and at least as many combinations as the "
                "`tuning_budget`",
                received | {"tuning_budget": self.tuning_budget},
            )

    def _rules_of_steps(self) -> Iterator[tuple[bool, str, dict[str, Any]]]:
        names = ("steps", "evaluate_every", "checkpoint_every", "group_size")
        received = {name: getattr(self, name) for name in names}
        yield (
            min(received.values()) >= 1,
            "`steps`, `evaluate_every`, `checkpoint_every` and `group_size` must be at least 1",
            received,
        )
        yield (
            self.run_length >= 1,
            "`run_length` must be at least 1",
            {"run_length": self.run_length},
        )
        yield (
            self.steps % self.evaluate_every == self.checkpoint_every % self.evaluate_every == 0,
            "`steps` and `checkpoint_every` must be multiples of `evaluate_every`",
            received,
        )

    def learning_rate_schedule(self, peak: float) -> Any:
        """Return the schedule of a run with this peak learning rate; a number if it is constant."""
        schedules = keras.optimizers.schedules
        warmup = self.warmup_steps
        if self.schedule == "cosine" and warmup:
            return schedules.CosineDecay(
                0.0, self.steps - warmup, warmup_target=peak, warmup_steps=warmup
            )
        if self.schedule == "cosine":
            return schedules.CosineDecay(peak, self.steps)
        return schedules.PolynomialDecay(0.0, warmup, end_learning_rate=peak) if warmup else peak

    def evaluation_interval(self, tunes: bool) -> int:
        """Return the steps between the evaluations of a run.

        Only the last one of a tuning run counts; it has others where it is checkpointed.
        """
        return math.gcd(self.steps, self.checkpoint_every) if tunes else self.evaluate_every

    def tuning_runs(self, scores: Mapping[str, float]) -> list[Run]:
        """Return the runs that choose what is not given, as far as the scores tell.

        Args:
            scores: A run's name -> its score, of the finished ones.

        Returns:
            The finished ones and those that can be run now: a search goes on from what it found.
        """
        return [
            run
            for groups in self.groups_per_batch
            for optimizer in self._to_tune(groups)
            for run in self._tuning_runs_of(optimizer, groups, scores)
        ]

    def _tuning_runs_of(
        self, optimizer: OptimizerChoice, groups: int, scores: Mapping[str, float]
    ) -> list[Run]:
        as_run = functools.partial(Run, optimizer, groups, self.tuning_seed, tunes=True)

        def score(candidate: Candidate) -> float | None:
            return scores.get(as_run(candidate).name)

        if optimizer.search:
            tried = candidates(optimizer.search, self.tuning_budget, self.tuning_seed, score)
        else:
            tried = [Candidate(rate) for rate in optimizer.candidates]
        return [as_run(candidate) for candidate in tried]

    def number_of_tuning_runs(self) -> int:
        """Return how many runs choose what is not given."""
        return sum(
            optimizer.tuning_runs(self.tuning_budget)
            for groups in self.groups_per_batch
            for optimizer in self._to_tune(groups)
        )

    def _to_tune(self, groups: int) -> list[OptimizerChoice]:
        return [o for o in self.optimizers if str(groups) not in o.learning_rates]

    def runs(self, chosen: Mapping[tuple[str, int], Candidate]) -> Iterator[Run]:
        """Yield the runs of the comparison.

        Args:
            chosen: (optimizer's name, groups) -> learning rate and arguments, where no rate is
                given.
        """
        for groups in self.groups_per_batch:
            for optimizer in self.optimizers:
                rate = optimizer.learning_rates.get(str(groups))
                candidate = chosen[optimizer.name, groups] if rate is None else Candidate(rate)
                for seed in self.seeds:
                    yield Run(optimizer, groups, seed, candidate)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        optimizer: The optimizer.
        groups: Groups in a step.
        seed: Seed of the initial weights and the order of the data.
        candidate: The peak learning rate, and arguments beside those of the optimizer.
        tunes: Whether it only serves to choose them.
    """

    optimizer: OptimizerChoice
    groups: int
    seed: int
    candidate: Candidate
    tunes: bool = False

    @property
    def name(self) -> str:
        """What records and folders call it."""
        name = f"{self.optimizer.name}-C{self.groups}-seed{self.seed}"
        return f"tuning-{name}-{self.candidate.name}" if self.tunes else name

    @property
    def identity(self) -> dict[str, Any]:
        """What every record of the run begins with."""
        return {
            "run": self.name,
            "optimizer": self.optimizer.name,
            "groups": self.groups,
            "seed": self.seed,
            "tunes": self.tunes,
        }
