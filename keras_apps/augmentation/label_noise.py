"""Label noise: with probability p a label is another class, each of the others as likely.

Anew at each visit (Discover paper, Section 5, "Learning with noisy labels"), or once and for all.
A cluster is then the true class, or the noisy label that the network is shown; the paper does not
say which.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tf_gradvar.assignments import rows_by_cluster


def fixed_noise(labels: np.ndarray, probability: float, num_classes: int, seed: int) -> np.ndarray:
    """Return labels [N] of which some are wrong for good.

    Args:
        labels: The true classes [N].
        probability: Of a wrong label, p.
        num_classes: The number of classes.
        seed: Of the draws.
    """
    generator = np.random.default_rng((seed, 1))
    is_noisy = generator.random(len(labels)) < probability
    shift = generator.integers(1, num_classes, size=len(labels))
    return np.where(is_noisy, (labels + shift) % num_classes, labels).astype(labels.dtype)


def expected_labels(labels: np.ndarray, probability: float, num_classes: int) -> np.ndarray:
    """Return the mean of the labels over all visits, float32 [N, classes].

    Cross-entropy is linear in the label, so the loss against these is the mean of the loss.

    Args:
        labels: The true classes [N].
        probability: Of a wrong label at a visit, p; 0 gives unit vectors.
        num_classes: The number of classes.
    """
    true = np.eye(num_classes, dtype="float32")[labels]
    return ((1 - probability) * true + probability / (num_classes - 1) * (1 - true)).astype(
        "float32"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class NoisyClasses:
    """Groups of one noisy label, drawn from groups of one true class k.

    Those that are shown the label k at a visit have the share

        q'_k = (1 - p) q_k + p / (K - 1) (1 - q_k)

    of all, and of these p / (K - 1) (1 - q_k) / q'_k are of another class, drawn from all the
    examples that are not of class k. So a group of true class k becomes one of the noisy label k by
    replacing each example with that probability.

    Attributes:
        rows: The examples, those of class 0 first, [N].
        first: The place of the first one of each class among them, [K].
        sizes: Examples of each class, [K].
        shares: q'_k, float64 [K].
        replaced: The probability that an example in a group is of another class, float64 [K].
    """

    rows: np.ndarray
    first: np.ndarray
    sizes: np.ndarray
    shares: np.ndarray
    replaced: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, probability: float, num_classes: int) -> NoisyClasses:
        """Return those of true classes.

        Args:
            labels: The true classes [N].
            probability: Of a wrong label at a visit, p.
            num_classes: K.
        """
        rows, sizes = rows_by_cluster(labels, num_classes)
        share = sizes / len(labels)
        wrong = probability / (num_classes - 1) * (1 - share)
        noisy = (1 - probability) * share + wrong
        return cls(rows, np.cumsum(sizes) - sizes, sizes, noisy, wrong / noisy)
