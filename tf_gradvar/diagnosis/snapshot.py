"""The variance of SVRG, measured with the weights of some time ago as its snapshot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_gradvar.data.examples import ArrayExamples, Examples
from tf_gradvar.diagnosis.examples_seen import CHUNK_SIZE, Seen
from tf_gradvar.diagnosis.noise import Estimate
from tf_gradvar.estimators.whole import PieceStatistics
from tf_gradvar.losses import ModelLoss
from tf_gradvar.moments import Sums

# The ratio of two variances of the same examples needs no more.
MOST_EXAMPLES = 2_000


def svrg_ratio(
    loss: ModelLoss, examples: Examples, seen: Seen, earlier: Sequence[Any], seed: int
) -> Estimate:
    """Return V[SVRG] / V[SG] at the present weights, from at most 2 000 of the examples seen.

        (mean_i ||g_i - g~_i||^2 - ||m - m~||^2) / (mean_i ||g_i||^2 - ||m||^2)

    Args:
        loss: The loss, with its model.
        examples: The data.
        seen: The examples seen.
        earlier: Weights, in the order of `model.trainable_variables` or of `model.weights`.
        seed: Of the subset.
    """
    rng = np.random.default_rng(seed)
    count = min(MOST_EXAMPLES, len(seen.indices))
    chosen = np.sort(rng.choice(seen.indices, count, replace=False))
    loaded: ArrayExamples = examples.select(chosen)
    statistics = PieceStatistics(loss)
    sums = {False: Sums(), True: Sums()}
    for piece in loaded.pieces([chosen], None, CHUNK_SIZE):
        for differences, total in sums.items():
            other = list(earlier) if differences else None
            found = statistics(piece, other, squares=False, sketch=False)
            norms = np.asarray(found.squared_norms, np.float64)
            gradients = [len(norms) * np.asarray(g, np.float64) for g in found.mean_gradient or []]
            total.add(Sums(len(norms), np.array([norms.sum()]), gradients))
    plain, corrected = (_variance(sums[key]) for key in (False, True))
    if plain <= 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan)
    value = corrected / plain
    # Of a ratio of two means of squares, roughly, as if they did not move together.
    error = 0.0 if count == seen.count else value * math.sqrt(4.0 / count)
    return Estimate.of(value, error)


def check_earlier(earlier: Any, shapes: Sequence[tuple[int, ...]], others: int) -> None:
    """Raise unless earlier weights are those of the model.

    Args:
        earlier: The argument.
        shapes: Of the trainable variables.
        others: How many weights the model has in all.

    Raises:
        ValueError: Another number of arrays.
    """
    if earlier is not None and len(earlier) not in (len(shapes), others):
        raise ValueError(
            "`earlier_weights` must be what `model.get_weights()` returned some time before, "
            f"{others} arrays. Received: {len(earlier)} arrays."
        )


def _variance(sums: Sums) -> float:
    mean = [gradient / sums.count for gradient in sums.gradients]
    squared = sum(float(np.square(m).sum()) for m in mean)
    return max(float(np.sum(sums.squared_norms)) / sums.count - squared, 0.0)
