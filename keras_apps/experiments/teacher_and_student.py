"""Random features: a student with frozen features learns the labels of a random teacher."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np

from keras_apps.experiments.training_problem import Problem, ProblemDefinition
from keras_apps.models.random_features import output_layer, student, teacher

ROWS = 256  # examples at a time, whose inputs are then forgotten


@dataclasses.dataclass(slots=True)
class TeacherAndStudent(ProblemDefinition):
    """A training set of a random teacher, seen through the random features of a student.

        x_i ~ N(0, 1),  y_i = sign(teacher(x_i)),  a_i = relu(x_i W)

    Only the student's output layer is trained, so that its features a_i are computed once and take
    the place of the inputs. With the same seed and sizes, a smaller set is the beginning of a
    larger one.

    Attributes:
        examples: N.
        input_size: I.
        teacher_features: h_t.
        student_features: h_s.
        duplicates: The share of the examples that are copies of `repeated_points` examples, each
            equally often.
        repeated_points: How many.
        l2: Coupled weight decay of the output layer.
        seed: Of the inputs, the teacher and the student's features.
    """

    examples: int = 1000
    input_size: int = 100
    teacher_features: int = 100
    student_features: int = 1000
    duplicates: float = 0.0
    repeated_points: int = 5
    l2: float = 1e-4
    seed: int = 0

    def build(self) -> Problem:
        """Draw the models and the data, and compute the features."""
        features, labels = self._labelled_features()
        rows = self.rows()
        x, y = features[rows], labels[rows]
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        return Problem(
            x=x,
            y=y,
            clusters=y[:, 0].astype(int),
            probabilities=np.array([1 - y.mean(), y.mean()], np.float64),
            build_model=lambda: output_layer(self.student_features, self.l2),
            loss=loss,
            evaluate=lambda model: {"training_loss": float(loss(y, model(x)))},
            score="training_loss",
            description=(
                f"{self.examples:,} examples in {self.input_size:,} dimensions, labelled by a "
                f"teacher of {self.teacher_features:,} features; "
                f"{100 * y.mean():.0f} % are positive. The student has {self.student_features:,} "
                "frozen random features and a trained output layer."
            ),
        )

    def rows(self) -> np.ndarray:
        """Return which of the distinct points each example is, int [N].

        Example:
            >>> TeacherAndStudent(examples=12, duplicates=0.5, repeated_points=3).rows()
            array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8])
        """
        copies = round(self.duplicates * self.examples / self.repeated_points)
        if not copies:
            return np.arange(self.examples)
        repeated = np.repeat(np.arange(self.repeated_points), copies)
        others = self.repeated_points + np.arange(self.examples - len(repeated))
        return np.concatenate([repeated, others])

    def _labelled_features(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the features [n, h_s] and labels 0 or 1 [n, 1] of the distinct points."""
        sizes = (self.input_size, self.teacher_features, self.student_features)
        return _stream(*sizes, self.seed).first(int(self.rows().max()) + 1)


class _Stream:
    """Labelled features, drawn as they are needed and kept."""

    def __init__(
        self, input_size: int, teacher_features: int, student_features: int, seed: int
    ) -> None:
        seeds = np.random.SeedSequence(seed).generate_state(3)
        teacher_seed, student_seed, input_seed = (int(seed) % 2**30 for seed in seeds)
        self._teacher = teacher(input_size, teacher_features, teacher_seed)
        self._features = student(input_size, student_features, student_seed).layers[0]
        self._generator = np.random.default_rng(input_seed)
        self._input_size = input_size
        self._drawn: tuple[np.ndarray, np.ndarray] = (
            np.empty((0, student_features), np.float32),
            np.empty((0, 1), np.float32),
        )

    def first(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the features and labels of the first examples."""
        parts = [self._drawn]
        for start in range(len(self._drawn[0]), count, ROWS):
            shape = (min(ROWS, count - start), self._input_size)
            x = self._generator.standard_normal(shape, np.float32)
            positive = np.asarray(self._teacher(x)) > 0
            parts.append((np.asarray(self._features(x)), positive.astype(np.float32)))
        features, labels = (np.concatenate(own) for own in zip(*parts, strict=True))
        self._drawn = features, labels
        return features[:count], labels[:count]


@functools.lru_cache(maxsize=1)
def _stream(*sizes_and_seed: int) -> _Stream:
    return _Stream(*sizes_and_seed)
