"""A grid of random features models, and how each is trained and measured."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import keras

from keras_apps.experiments.teacher_and_student import TeacherAndStudent
from keras_apps.models.random_features import output_layer

# What is measured at the same weights, by name.
SG, SG_2B, GC, GC_PAPER, SVRG_NAME = "SG-B", "SG-2B", "GC", "GC (paper's form)", "SVRG"
# What is also measured by the statistic of the published figures; drawing takes much of the time.
DRAWN = (SG, GC, GC_PAPER)


class FeatureRun(NamedTuple):
    """One run of the grid: a training set and a learning rate.

    Attributes:
        ratio: h_s / N, the coefficient of overparametrization.
        problem: The training set.
        learning_rate: Of SGD.
    """

    ratio: float
    problem: TeacherAndStudent
    learning_rate: float

    @property
    def name(self) -> str:
        """What tells it apart in the records."""
        own = self.problem
        duplicates = f"-{100 * own.duplicates:g}percent" if own.duplicates else ""
        return (
            f"{self.ratio:g}-inputs{own.input_size}-teacher{own.teacher_features}{duplicates}"
            f"-seed{own.seed}-lr{self.learning_rate:g}"
        )


@dataclasses.dataclass(slots=True)
class FeatureGrid:
    """Random features models of many sizes, each along one trajectory of plain SGD.

    Every run is measured at the same weights with SG-B, SG-2B, SVRG and Gradient Clustering, the
    paper's form and ours; exactly, and by the statistic of the published figures.

    Attributes:
        title: What the report is headed with.
        student_features: h_s.
        ratios: h_s / N, for the numbers of examples N.
        learning_rates: Of SGD without momentum.
        input_widths: Dimensions of the inputs, in units of h_s.
        teacher_widths: Features of the teacher, in units of h_s.
        duplicates: Shares of the examples that are copies of five points.
        seeds: Of data, features, initial weights, order and clusterings.
        batch_size: B, of training and of the estimators; also the number K of clusters.
        steps: Of training, a multiple of `refresh_every`.
        measure_every: Steps from one exact measurement to the next, which sees the old snapshot
            and clusters where these are due, too.
        draw_every: Steps from one measurement by the statistic of the published figures to the
            next, a multiple of `measure_every`.
        refresh_every: Steps from one snapshot of SVRG and clustering to the next.
        paper_passes: Passes of a clustering in the paper's form.
        num_draws: n, of the statistic of the published figures.
        l2: Coupled weight decay.
    """

    command: ClassVar[str] = "keras_apps.random_features"

    title: str
    student_features: int = 1000
    ratios: tuple[float, ...] = (0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0)
    learning_rates: tuple[float, ...] = (0.1, 0.01, 0.001)
    input_widths: tuple[float, ...] = (0.1, 10.0)
    teacher_widths: tuple[float, ...] = (0.1, 10.0)
    duplicates: tuple[float, ...] = (0.0,)
    seeds: tuple[int, ...] = (0, 1, 2)
    batch_size: int = 10
    steps: int = 5000
    measure_every: int = 100
    draw_every: int = 100
    refresh_every: int = 1000
    paper_passes: int = 3
    num_draws: int = 10
    l2: float = 1e-4

    def check(self) -> None:
        """Refuse what cannot be run; called after all changes from the command line.

        Raises:
            ValueError: Fields that do not go together.
        """
        fields = (
            "batch_size",
            "steps",
            "measure_every",
            "draw_every",
            "refresh_every",
            "paper_passes",
        )
        received = ", ".join(f"{field}={getattr(self, field)}" for field in fields)
        if min(getattr(self, field) for field in fields) < 1:
            raise ValueError(
                "`batch_size`, `steps`, `measure_every`, `draw_every`, `refresh_every` and "
                f"`paper_passes` must be at least 1. Received: {received}."
            )
        if (
            self.steps % self.refresh_every
            or self.refresh_every % self.measure_every
            or self.steps % self.draw_every
            or self.draw_every % self.measure_every
        ):
            raise ValueError(
                "`steps` must be a multiple of `refresh_every` and `draw_every`, and these of "
                f"`measure_every`. Received: {received}."
            )
        for field in ("ratios", "learning_rates", "input_widths", "teacher_widths", "seeds"):
            if not getattr(self, field):
                raise ValueError(f"`{field}` must hold at least one value. Received: {field}=().")
        smallest = self.examples(max(self.ratios))
        if min(self.ratios) <= 0 or smallest < self.batch_size:
            raise ValueError(
                f"`ratios` must leave at least `batch_size` examples, of `student_features` over "
                f"the ratio. Received: ratios={self.ratios}, batch_size={self.batch_size}, "
                f"student_features={self.student_features}. Take smaller ratios above 0."
            )
        if not all(0 <= share < 1 for share in self.duplicates) or not self.duplicates:
            raise ValueError(
                "`duplicates` must be shares from 0 to below 1, at least one. Received: "
                f"duplicates={self.duplicates}. 0 is none."
            )

    def examples(self, ratio: float) -> int:
        """Return N."""
        return round(self.student_features / ratio)

    def build_model(self) -> keras.Model:
        """Return the output layer that every run trains."""
        return output_layer(self.student_features, self.l2)

    def runs(self) -> list[FeatureRun]:
        """Return all runs, those of the same training set in a row."""
        return [
            FeatureRun(ratio, self._problem(ratio, inputs, features, share, seed), rate)
            for seed in self.seeds
            for share in self.duplicates
            for inputs in self.input_widths
            for features in self.teacher_widths
            for ratio in self.ratios
            for rate in self.learning_rates
        ]

    def _problem(
        self, ratio: float, inputs: float, features: float, share: float, seed: int
    ) -> TeacherAndStudent:
        return TeacherAndStudent(
            examples=self.examples(ratio),
            input_size=max(1, round(inputs * self.student_features)),
            teacher_features=max(1, round(features * self.student_features)),
            student_features=self.student_features,
            duplicates=share,
            l2=self.l2,
            seed=seed,
        )
