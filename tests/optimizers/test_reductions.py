"""The reductions: what each optimizer becomes in its limits, on random gradients."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import BY_NAME, PROBABILITIES, RATE, K, assert_close
from tests.oracles import discover_oracle as oracle
from tf_gradvar.optimizers import (
    IGT,
    QHM,
    Discover,
    DiscoverIGT,
    DiscoverOver,
    DiscoverQHM,
    QHDiscover,
)
from tf_gradvar.optimizers.igt import averaging_weight

pytestmark = pytest.mark.jax
STEPS = 50

# Name, the special case, what it must equal.
ONE_CLUSTER = {
    "SGD": (lambda: Discover(RATE, 1), lambda: keras.optimizers.SGD(RATE)),
    "SGD-momentum": (
        lambda: Discover(RATE, 1, momentum=0.9, nesterov=True),
        lambda: keras.optimizers.SGD(RATE, momentum=0.9, nesterov=True),
    ),
    "QHM": (lambda: DiscoverQHM(RATE, 1, momentum=0.9), lambda: QHM(RATE, momentum=0.9)),
    "IGT": (lambda: DiscoverIGT(RATE, 1), lambda: IGT(RATE)),
    "AdamW": (
        lambda: DiscoverOver(keras.optimizers.AdamW(RATE), 1),
        lambda: keras.optimizers.AdamW(RATE),
    ),
    "QHM-as-momentum": (
        lambda: DiscoverQHM(RATE, 1, momentum=0.9, nu=1.0),
        lambda: keras.optimizers.SGD(RATE * (1 - 0.9), momentum=0.9),
    ),
}
# With the gain alpha, a buffer is a momentum: with one, momentum of decay 1 - alpha.
ONE_CLUSTER |= {
    "multi-momentum": (
        lambda: Discover(RATE, 1, alpha=0.1, gain="alpha"),
        lambda: keras.optimizers.SGD(RATE * 0.1, momentum=1 - 0.1),
    ),
    "quasi-hyperbolic": (
        lambda: QHDiscover(RATE, 1, nu=0.7, alpha=0.1),
        lambda: QHM(RATE, momentum=1 - 0.1, nu=0.7),
    ),
    "quasi-hyperbolic-as-momentum": (
        lambda: QHDiscover(RATE, 1, nu=1.0, alpha=0.1),
        lambda: keras.optimizers.SGD(RATE * 0.1, momentum=1 - 0.1),
    ),
    "scaled": (lambda: Discover(RATE, 1, scale=0.3), lambda: keras.optimizers.SGD(RATE)),
    "learned-scale": (lambda: Discover(RATE, 1, scale="auto"), lambda: keras.optimizers.SGD(RATE)),
}
SAME = {
    "quasi-hyperbolic-of-v-alone": (
        lambda: QHDiscover(RATE, K, nu=1.0, cluster_probabilities=PROBABILITIES),
        lambda: Discover(RATE, K, gain="alpha", cluster_probabilities=PROBABILITIES),
    ),
    "quasi-hyperbolic-as-a-scale": (
        lambda: QHDiscover(RATE, K, nu=0.4, gain=1.0),
        lambda: Discover(RATE, K, scale=0.4),
    ),
    "gain-of-alpha": (
        lambda: DiscoverQHM(RATE, K, momentum=0.9, alpha=0.2, gain="alpha"),
        lambda: DiscoverQHM(RATE, K, momentum=0.9, alpha=0.2, gain=0.2),
    ),
    "QHM-without-momentum": (
        lambda: DiscoverQHM(RATE, K, nu=0.0, cluster_probabilities=PROBABILITIES),
        lambda: Discover(RATE, K, cluster_probabilities=PROBABILITIES),
    ),
    "over-QHM": (
        lambda: DiscoverOver(QHM(RATE, 0.9, 0.7), K),
        lambda: DiscoverQHM(RATE, K, momentum=0.9, nu=0.7),
    ),
    "over-IGT": (lambda: DiscoverOver(IGT(RATE), K), lambda: DiscoverIGT(RATE, K)),
}


def run(optimizer, draw, clustered=True):
    case = cases.Case("", None, None, clustered)
    return cases.train(case, optimizer, cases.variables(), draw, STEPS)


@pytest.mark.parametrize("num_groups", [1, 2])
@pytest.mark.parametrize(("special", "general"), ONE_CLUSTER.values(), ids=list(ONE_CLUSTER))
def test_one_cluster_is_the_base_optimizer(special, general, num_groups):
    """With the buffer of the only cluster cancelled, v_t is the mean gradient."""
    draw = cases.draws(num_groups, num_clusters=1)
    assert_close(run(special(), draw), run(general(), draw, clustered=False))


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=list(SAME))
def test_two_ways_to_write_the_same(one, other):
    draw = cases.draws(2)
    assert_close(run(one(), draw), run(other(), draw))


@pytest.mark.parametrize("num_groups", [1, 2])
def test_no_share_of_the_correction_is_the_base_optimizer_on_the_mean(num_groups):
    draw = cases.draws(num_groups)
    expected = run(keras.optimizers.SGD(RATE), draw, clustered=False)
    assert_close(run(QHDiscover(RATE, K, nu=0.0), draw), expected)


@pytest.mark.parametrize("name", ["Discover", "DiscoverQHM", "DiscoverIGT", "DiscoverOver-AdamW"])
def test_alpha_of_zero_is_the_base_optimizer_on_the_mean(name):
    """The constructor refuses alpha = 0, so it is set on the optimizer."""
    case = BY_NAME[name]
    optimizer = case.optimizer()
    optimizer.alpha = 0.0
    actual = run(optimizer, cases.draws(2))
    base, mean = case.base(RATE), oracle.PlainMean()
    expected = oracle.train(base, mean, cases.initial_weights(), cases.draws(2), STEPS)[-1]
    assert_close(actual, expected)
    assert all(not np.any(b) for b in cases.values(optimizer.cluster_gradients))


def test_the_average_of_all_steps_weighs_them_alike():
    for step in range(1, 60):
        gamma = ops.convert_to_numpy(averaging_weight(ops.convert_to_tensor(step), 1.0))
        np.testing.assert_allclose(gamma, (step - 1) / step, rtol=1e-6)


@pytest.mark.parametrize("tail_fraction", [1.0, 1.5, 2.0, 10.0, 90.0])
def test_averaging_weights(tail_fraction):
    for step in [1, 2, 3, 10, 100, 10_000]:
        gamma = ops.convert_to_numpy(averaging_weight(ops.convert_to_tensor(step), tail_fraction))
        expected = oracle.tail_averaging(step, tail_fraction)
        np.testing.assert_allclose(gamma, expected, rtol=1e-5, atol=2e-6)
        assert gamma < 1
