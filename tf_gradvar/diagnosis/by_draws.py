r"""Signal and noise from mini-batches that are really drawn.

The only way where no example has a gradient of its own: batch normalization in training mode,
dropout, layers that draw noise in inference. Batches e_j of B examples come in R groups with the
means M_p, and

    ||m||^2 <- mean_{p != q} <M_p, M_q>,        V_B <- mean_j ||e_j||^2 - ||m||^2

are unbiased; leaving out one group after the other (jackknife) tells their errors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from tf_gradvar.data.examples import Examples
from tf_gradvar.diagnosis.examples_seen import Progress
from tf_gradvar.diagnosis.limits import DRAWS, SHARE_OF_TIME, Clock, too_short
from tf_gradvar.diagnosis.noise import Estimate, GradientNoise, LayerNoise, layer_rows, ratio
from tf_gradvar.estimators.weighted_gradient import WeightedGradient
from tf_gradvar.losses import ModelLoss
from tf_gradvar.moments import Layout, added

GROUPS = 8
# The batches are drawn from at most so many random examples, which stay in memory.
MOST_EXAMPLES = 20_000
# Student's quantile of 95 % with 7 degrees of freedom over the normal one: the errors come from
# eight groups alone.
WIDER = 2.365 / 1.96


@dataclass(frozen=True)
class Draws:
    """What was found.

    Attributes:
        noise: Signal and noise.
        layers: Of every layer.
        count: Batches that were drawn.
    """

    noise: GradientNoise
    layers: list[LayerNoise]
    count: int


def measure_draws(
    loss: ModelLoss,
    examples: Examples,
    layout: Layout,
    *,
    batch_size: int,
    training: bool,
    budget: str,
    clock: Clock,
    seed: int,
    progress: Progress,
) -> Draws:
    """Return signal and noise from batches drawn with replacement.

    Args:
        loss: The loss, with its model.
        examples: The data.
        layout: The layers.
        batch_size: B.
        training: Whether layers run in training mode.
        budget: A key of `DRAWS`.
        clock: Knows the time that is left.
        seed: Of the draws.
        progress: Is told how many batches were drawn.

    Raises:
        ValueError: A limit in which nothing can be measured.
    """
    gradient = WeightedGradient(loss, training)
    rng = np.random.default_rng(seed)
    weights = np.full(batch_size, 1.0 / batch_size)

    pool = rng.choice(examples.count, min(examples.count, MOST_EXAMPLES), replace=False)
    loaded = examples.select(pool)

    def draw() -> list[np.ndarray]:
        data = loaded.take(rng.choice(pool, batch_size))
        return gradient(data, weights, None, int(rng.integers(2**31)))

    draw()  # compiles
    start = time.perf_counter()
    draw()
    seconds = time.perf_counter() - start
    affordable = max(SHARE_OF_TIME * clock.left, 0.0) / max(seconds, 1e-9)
    each = int(min(DRAWS[budget], affordable)) // GROUPS
    if each < 1 and clock.limit is not None:
        raise too_short(clock.limit, clock.elapsed)
    means: list[list[np.ndarray]] = []
    powers = []
    for group in range(GROUPS):
        total: list[np.ndarray] = []
        power = np.zeros(len(layout.layers))
        for place in range(each):
            estimate = draw()
            power += layout.squared_norms(estimate) / each
            total = added(total, [e / each for e in estimate])
            progress(group * each + place + 1, GROUPS * each)
        means.append(total)
        powers.append(power)
    return summary(_products(means, layout), np.array(powers), layout, batch_size, each)


def summary(
    products: np.ndarray, powers: np.ndarray, layout: Layout, batch_size: int, each: int
) -> Draws:
    """Return what follows from the groups.

    Args:
        products: <M_p, M_q> by layer, `[L, R, R]`.
        powers: The mean ||e_j||^2 of each group, by layer, `[R, L]`.
        layout: The layers.
        batch_size: B.
        each: Batches in a group.
    """
    everyone = np.arange(len(powers))
    variance, signal = _moments(products, powers, everyone)
    left_out = [_moments(products, powers, np.delete(everyone, p)) for p in everyone]
    totals = np.array([[v.sum(), s.sum()] for v, s in left_out])
    centred = totals - totals.mean(axis=0)
    errors = centred.T @ centred * (len(powers) - 1) / len(powers) * WIDER**2
    v, s = float(variance.sum()), float(signal.sum())
    of_variance, of_signal = np.sqrt(np.diag(errors))
    scale = np.diag([batch_size, 1.0])
    noise = GradientNoise(
        batch_size,
        signal=Estimate.of(max(s, 0.0), float(of_signal)),
        noise=Estimate.of(batch_size * v, float(batch_size * of_variance)),
        noise_scale=ratio(batch_size * v, s, scale @ errors @ scale),
        batch_variance=Estimate.of(v, float(of_variance)),
        normalized_variance=None,
    )
    layers = layer_rows(layout, np.maximum(batch_size * variance, 0.0), signal, batch_size)
    return Draws(noise, layers, each * len(powers))


def _moments(
    products: np.ndarray, powers: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return V_B and ||m||^2 by layer, `[L]` each, from some of the groups."""
    count = len(kept)
    inside = products[:, kept[:, None], kept]
    own = np.trace(inside, axis1=1, axis2=2)
    signal = (inside.sum(axis=(1, 2)) - own) / (count * (count - 1))
    return powers[kept].mean(axis=0) - signal, signal


def _products(means: list[list[np.ndarray]], layout: Layout) -> np.ndarray:
    found = np.empty((len(layout.layers), len(means), len(means)))
    for p, ours in enumerate(means):
        for q, theirs in enumerate(means[: p + 1]):
            pairs = zip(ours, theirs, strict=True)
            sums = layout.by_layer([float(np.sum(a * b)) for a, b in pairs])
            found[:, p, q] = found[:, q, p] = sums
    return found
