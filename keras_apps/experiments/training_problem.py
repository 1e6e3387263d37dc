"""A problem, and the definitions from which problems are built."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import keras
import numpy as np

# The metadata of a field that is younger than some workdirs, whose configurations lack it.
LATER = {"later": True}


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem, ready to train on.

    Attributes:
        x: Training inputs [N, ...]: an array, or images on the disk, which come with `visits`.
        y: Training targets [N, ...].
        clusters: The cluster of each training example [N]; of each of `visits.examples` where the
            clusters are augmentations.
        probabilities: The share of each cluster [K], float64.
        build_model: Makes the model; its weights depend on Keras' global seed alone.
        loss: What the model is compiled with.
        evaluate: Model -> measured values by name, over the whole data.
        score: The name of the value that should be small, by which learning rates are chosen.
        description: One or two sentences about the data.
        fingerprint: Hash of data that are read; None for those that are drawn.
        visits: What happens to an example at each visit, a `Visits`; None: it is the same every
            time.
        named: The name of other clusters -> the problem with them.
    """

    x: Any
    y: np.ndarray
    clusters: np.ndarray
    probabilities: np.ndarray
    build_model: Callable[[], keras.Model]
    loss: Any
    evaluate: Callable[[keras.Model], dict[str, float]]
    score: str
    description: str
    fingerprint: str | None = None
    visits: Any = None
    named: Callable[[str], Problem] | None = None

    @property
    def is_in_memory(self) -> bool:
        """Whether the inputs are an array, so that gradients of given examples can be measured."""
        return isinstance(self.x, np.ndarray)

    def clustered(self, name: str | None) -> Problem:
        """Return the problem with the clusters of that name; None keeps its own."""
        return self if name is None or self.named is None else self.named(name)

    def with_clusters(self, clusters: np.ndarray) -> Problem:
        """Return the problem with other clusters [N], each with its share of the data."""
        shares = np.bincount(clusters, minlength=len(self.probabilities)) / len(clusters)
        return dataclasses.replace(self, clusters=clusters, probabilities=shares)


# (rule, its arguments, learning rate; groups, group_size, steps) -> predictions by name
Predictor: TypeAlias = Callable[..., dict[str, np.ndarray]]


class ProblemDefinition(abc.ABC):
    """Fields of a configuration from which a problem is built.

    A new problem is a dataclass of this kind, in a file of its own.

    Attributes:
        partition_names: What the built problem's clusters can be.
    """

    __slots__ = ()
    partition_names: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def build(self) -> Problem:
        """Load or draw the data."""

    def predictor(self) -> Predictor:
        """Return what theory predicts of runs at a constant learning rate; nothing without theory.

        It gives a name -> expected excess risks [steps + 1]. For plain rules the names are the
        parts of the gradient's noise that are left, "within and between clusters" and "within
        clusters alone".
        """
        return lambda *run, **batches: {}
