"""Expectation and variance of v_t by enumeration of every draw of a small problem."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers.cases import PROBABILITIES, K
from tf_gradvar.optimizers import Discover

pytestmark = pytest.mark.jax
Q = np.array(PROBABILITIES)
EXAMPLES, DIMENSION = 2, 4
GRADIENTS = np.random.default_rng(0).normal(size=(K, EXAMPLES, DIMENSION)).astype("float32")
BUFFERS = np.random.default_rng(1).normal(size=(K, DIMENSION)).astype("float32")


def all_draws(num_groups):
    """Every (clusters, examples) of `num_groups` groups of one example, with its probability."""
    groups = list(itertools.product(range(K), range(EXAMPLES)))
    for draw in itertools.product(groups, repeat=num_groups):
        clusters = [k for k, _ in draw]
        yield clusters, [e for _, e in draw], np.prod(Q[clusters]) / EXAMPLES**num_groups


def corrected_gradients(num_groups, buffers, buffer_dtype="float32", **options):
    """v_t of every draw, from the same buffers, and the probability of each."""
    optimizer = Discover(
        0.1, K, cluster_probabilities=PROBABILITIES, buffer_dtype=buffer_dtype, **options
    )
    optimizer.build([keras.Variable(np.zeros(DIMENSION))])
    buffer, average = optimizer.cluster_gradients[0], optimizer.mean_cluster_gradients[0]
    results, weights = [], []
    for clusters, examples, probability in all_draws(num_groups):
        buffer.assign(ops.cast(buffers, buffer_dtype))
        average.assign(Q @ np.asarray(ops.convert_to_numpy(ops.cast(buffer, "float32")), "float64"))
        group = ops.convert_to_tensor(GRADIENTS[clusters, examples])
        (v,) = optimizer.correct_gradients([group], ops.convert_to_tensor(clusters, "int32"))
        results.append(ops.convert_to_numpy(v).astype("float64"))
        weights.append(probability)
    return np.stack(results), np.array(weights)


@pytest.mark.parametrize(
    ("num_groups", "buffer_dtype"), [(1, "float32"), (2, "float32"), (1, "bfloat16")]
)
def test_unbiased_with_the_variance_of_the_formula(num_groups, buffer_dtype):
    v, weights = corrected_gradients(num_groups, BUFFERS, buffer_dtype)
    assert weights.sum() == pytest.approx(1.0, rel=1e-12)
    means = GRADIENTS.astype("float64").mean(axis=1)
    risk = Q @ means
    np.testing.assert_allclose(weights @ v, risk, rtol=1e-6, atol=1e-7)

    variance = weights @ ((v - risk) ** 2).sum(axis=1)
    buffers = BUFFERS.astype("float64")
    if buffer_dtype == "bfloat16":
        rounded = ops.cast(ops.cast(BUFFERS, "bfloat16"), "float32")
        buffers = ops.convert_to_numpy(rounded).astype("float64")
    within = Q @ ((GRADIENTS.astype("float64") - means[:, None]) ** 2).sum(axis=2).mean(axis=1)
    between = Q @ ((means - buffers - (risk - Q @ buffers)) ** 2).sum(axis=1)
    assert between > 0.1
    assert variance == pytest.approx((within + between) / num_groups, rel=1e-6)


@pytest.mark.parametrize("num_groups", [1, 2])
@pytest.mark.parametrize(("gain", "share"), [(0.3, 1.0), ("alpha", 1.0), (1.0, 0.6), (0.3, 0.6)])
def test_bias_and_variance_for_any_gain_and_scale(gain, share, num_groups):
    """(1 - a) (gbar - grad R), and a G_c - b g^{k_c} as the only random part."""
    v, weights = corrected_gradients(num_groups, BUFFERS, gain=gain, scale=share)
    number = 0.1 if gain == "alpha" else gain
    a, b = 1 - share + share * number, share * number
    means, buffers = GRADIENTS.astype("float64").mean(axis=1), BUFFERS.astype("float64")
    risk, average = Q @ means, Q @ buffers
    mean = weights @ v
    np.testing.assert_allclose(mean - risk, (1 - a) * (average - risk), rtol=1e-5, atol=1e-6)
    within = Q @ ((GRADIENTS.astype("float64") - means[:, None]) ** 2).sum(axis=2).mean(axis=1)
    rest = a * (means - risk) - b * (buffers - average)
    variance = weights @ ((v - mean) ** 2).sum(axis=1)
    expected = (a**2 * within + Q @ (rest**2).sum(axis=1)) / num_groups
    assert variance == pytest.approx(expected, rel=1e-5)


def test_buffers_at_the_cluster_gradients_leave_the_within_cluster_part():
    means = GRADIENTS.mean(axis=1)
    v, weights = corrected_gradients(2, means)
    within = Q @ ((GRADIENTS - means[:, None]) ** 2).sum(axis=2).mean(axis=1)
    variance = weights @ ((v - Q @ means) ** 2).sum(axis=1)
    assert variance == pytest.approx(within / 2, rel=1e-5)
