"""One SGD trajectory, and when gradient estimators are measured along it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, Literal

import keras

# That of `keras_apps.experiments.training_problem`, which nothing else is needed of here.
LATER = {"later": True}

PLAIN = ("SG", "SG-2B", "SVRG", "strata", "GC")
OTHER_DRAWS = ("GC-proportional", "GC-bounded")
ESTIMATORS = (*PLAIN, *OTHER_DRAWS, "Discover")


@dataclasses.dataclass(slots=True)
class Trajectory:
    """SGD, at chosen steps of which gradient estimators are measured at the same weights.

    The data are shuffled anew for each epoch, whose last batch is dropped where it is not full.
    At a refresh SVRG takes a snapshot and the gradients are clustered. A stopped trajectory
    continues at the step where it was stopped, a killed one at its last measurement.

    Attributes:
        learning_rate: Of SGD, before any drop.
        momentum: Of SGD.
        batch_size: B, of the training and of the estimators; also the number of gradient clusters.
        steps: To take, a multiple of `refresh_every`.
        measure_every: Steps from one measurement to the next. The one at a refresh still sees the
            old snapshot and clusters.
        refresh_every: Steps from one refresh to the next, a multiple of `measure_every`.
        seed: Of the initial weights, the order of the data and the clustering.
        repeats: Trajectories, each with a seed of its own: `seed`, `seed` + 1 and so on.
        drops: After so many steps each, the learning rate is multiplied by `drop_factor`.
        drop_factor: See there.
        weight_decay: Coupled, of all weights, biases and scales: half of it times their squared
            norm joins the loss. Estimators are measured without it.
        first_snapshot: The step of the first refresh, below `measure_every`; the others are at the
            multiples of `refresh_every`.
        estimators: What is compared, the first one being "SG", B uniform draws. "SG-2B"; "SVRG";
            "strata", from each of the problem's clusters its share of B; "GC", one draw from each
            of B clusters of gradients; "GC-proportional", from the same clusters the shares of B;
            "GC-bounded", one from each as far as no example weighs more than `max_weight`;
            "Discover", the corrected gradient v_t with a buffer for each of the problem's clusters,
            which groups of their own move before each step, at the same weights.
        max_weight: Of "GC-bounded", in units of the weight in a plain batch.
        discover_groups: Groups in a step of "Discover"; each has an equal part of B.
        discover_alpha: How far its buffers move, in (0, 1].
        method: "exact"; "subset", from `subset_size` examples, with standard errors; "paper_2020",
            the statistic behind the paper's figures, from 2 `num_draws` estimates.
        subset_size: Examples of a subset, at least two for each cluster.
        num_draws: For "paper_2020".
        published_every: Steps between measurements of "paper_2020" beside `method`, a multiple of
            `measure_every`; 0: none.
        clustering: "sketch", exact moves on sketches of the gradients; "paper", Eq. 3 with running
            counts and centres of rank 1.
        clustering_passes: The most passes of a clustering.
    """

    learning_rate: float = 0.02
    momentum: float = 0.5
    batch_size: int = 128
    steps: int = 1000
    measure_every: int = 50
    refresh_every: int = 250
    seed: int = 0
    repeats: int = dataclasses.field(default=1, metadata=LATER)
    drops: tuple[int, ...] = dataclasses.field(default=(), metadata=LATER)
    drop_factor: float = dataclasses.field(default=0.1, metadata=LATER)
    weight_decay: float = dataclasses.field(default=0.0, metadata=LATER)
    first_snapshot: int = dataclasses.field(default=0, metadata=LATER)
    estimators: tuple[str, ...] = dataclasses.field(default=PLAIN, metadata=LATER)
    max_weight: float = dataclasses.field(default=2.0, metadata=LATER)
    discover_groups: int = dataclasses.field(default=8, metadata=LATER)
    discover_alpha: float = dataclasses.field(default=0.1, metadata=LATER)
    method: Literal["exact", "subset", "paper_2020"] = dataclasses.field(
        default="exact", metadata=LATER
    )
    subset_size: int = dataclasses.field(default=1024, metadata=LATER)
    num_draws: int = dataclasses.field(default=50, metadata=LATER)
    published_every: int = dataclasses.field(default=0, metadata=LATER)
    clustering: Literal["sketch", "paper"] = dataclasses.field(default="sketch", metadata=LATER)
    clustering_passes: int = dataclasses.field(default=10, metadata=LATER)

    @property
    def seeds(self) -> range:
        """The seed of each trajectory."""
        return range(self.seed, self.seed + self.repeats)

    @property
    def refreshes(self) -> list[int]:
        """The steps of all refreshes."""
        later = range(self.refresh_every, self.steps, self.refresh_every)
        return [self.first_snapshot, *later]

    def learning_rate_schedule(self) -> Any:
        """Return what a Keras optimizer takes: the number, or a schedule with the drops.

        Example:
            >>> rate = Trajectory(learning_rate=1.0, drops=(2,)).learning_rate_schedule()
            >>> [round(float(rate(steps_taken)), 3) for steps_taken in range(4)]
            [1.0, 1.0, 0.1, 0.1]
        """
        if not self.drops:
            return self.learning_rate
        rates = [self.learning_rate * self.drop_factor**k for k in range(len(self.drops) + 1)]
        # A boundary of Keras is the last step of the old rate.
        boundaries = [drop - 1 for drop in self.drops]
        return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)

    def next_refresh(self, step: int) -> int:
        """Return the first refresh after a step; the end where there is none."""
        return next((refresh for refresh in self.refreshes if refresh > step), self.steps)

    def check(self, name: str) -> None:
        """Refuse what cannot be run.

        Args:
            name: What the configuration calls this trajectory.

        Raises:
            ValueError: Fields that do not go together.
        """
        rules = itertools.chain(self._rules_of_steps(), self._rules_of_measuring())
        for holds, rule, fields in rules:
            if not holds:
                received = ", ".join(f"{field}={getattr(self, field)!r}" for field in fields)
                raise ValueError(f"In `{name}`, {rule}. Received: {received}.")

    def _rules_of_steps(self) -> Iterator[tuple[bool, str, tuple[str, ...]]]:
        """Yield whether a rule holds, its words, and the fields to show."""
        counts = ("batch_size", "steps", "refresh_every", "measure_every")
        yield (
            min(getattr(self, field) for field in counts) >= 1,
            "`batch_size`, `steps`, `refresh_every` and `measure_every` must be at least 1",
            counts,
        )
        yield (
            self.steps % self.refresh_every == 0 and self.refresh_every % self.measure_every == 0,
            "`steps` must be a multiple of `refresh_every`, and that of `measure_every`",
            counts,
        )
        yield (
            0 <= self.first_snapshot < self.measure_every,
            "`first_snapshot` must be from 0 to below `measure_every`, the first measurement",
            ("first_snapshot", "measure_every"),
        )
        yield self.repeats >= 1, "`repeats` must be at least 1", ("repeats",)
        yield (
            list(self.drops) == sorted({d for d in self.drops if 0 < d < self.steps}),
            "`drops` must be steps between 0 and `steps`, each larger than the one before",
            ("drops", "steps"),
        )
        yield self.drop_factor > 0, "`drop_factor` must be positive", ("drop_factor",)
        yield self.weight_decay >= 0, "`weight_decay` must not be negative", ("weight_decay",)

    def _rules_of_measuring(self) -> Iterator[tuple[bool, str, tuple[str, ...]]]:
        names = self.estimators
        yield (
            names[:1] == ("SG",)
            and len(set(names)) == len(names)
            and set(names) <= set(ESTIMATORS),
            f"`estimators` must be different ones of {list(ESTIMATORS)}, the first one 'SG'",
            ("estimators",),
        )
        yield self.max_weight >= 1, "`max_weight` must be at least 1", ("max_weight",)
        yield (
            "Discover" not in names
            or (self.discover_groups >= 1 and self.batch_size % self.discover_groups == 0),
            "`batch_size` must be a multiple of `discover_groups`",
            ("batch_size", "discover_groups"),
        )
        yield (
            0 < self.discover_alpha <= 1,
            "`discover_alpha` must be in (0, 1]",
            ("discover_alpha",),
        )
        yield self.subset_size >= 2, "`subset_size` must be at least 2", ("subset_size",)
        yield self.num_draws >= 2, "`num_draws` must be at least 2", ("num_draws",)
        yield (
            self.published_every >= 0
            and self.published_every % self.measure_every == 0
            and not (self.published_every and self.method == "paper_2020"),
            "`published_every` must be a multiple of `measure_every`, and 0 with "
            "`method='paper_2020'`",
            ("published_every", "measure_every", "method"),
        )
        yield (
            self.clustering_passes >= 1,
            "`clustering_passes` must be at least 1",
            ("clustering_passes",),
        )
