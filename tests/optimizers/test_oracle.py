"""Every optimizer against the float64 oracle, over many steps that build on each other."""

import math

import keras
import numpy as np
import pytest

from tests.optimizers import cases
from tests.optimizers.cases import BY_NAME, CASES, RATE, K, assert_close

pytestmark = pytest.mark.jax
STEPS = 60


def check(case, draw, base, variate, **kwargs):
    """Train both; compare the true weights, the shifted ones and the buffers."""
    weights = cases.variables()
    optimizer = case.optimizer(**kwargs)
    actual = cases.train(case, optimizer, weights, draw, STEPS)
    expected = cases.oracle.train(base, variate, cases.initial_weights(), draw, STEPS)[-1]
    assert_close(actual, expected)
    cases.use_shifted_weights(optimizer)
    assert_close(cases.values(weights), base.seen(expected))
    if case.clustered:
        check_buffers(optimizer, variate)


def check_buffers(optimizer, variate):
    for i, (buffers, average) in enumerate(
        zip(optimizer.cluster_gradients, optimizer.mean_cluster_gradients, strict=True)
    ):
        stacked = np.stack([variate.buffers[i][k] for k in range(optimizer.num_clusters)])
        assert_close([*cases.values([buffers, average])], [stacked, variate.average(i)])


@pytest.mark.parametrize("num_groups", [1, 2, 5])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_groups_of_unequal_probability(case, num_groups):
    check(case, cases.draws(num_groups), case.base(RATE), case.variate())


def test_uniform_probabilities_are_the_default():
    case = BY_NAME["Discover"]
    uniform = [1 / K] * K
    variate = case.variate(probabilities=uniform)
    check(case, cases.draws(2), case.base(RATE), variate, probabilities=None)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_weight_decay_and_a_schedule(case):
    schedule = keras.optimizers.schedules.CosineDecay(RATE, STEPS)

    def rate(taken):
        return RATE * (1 + math.cos(math.pi * taken / STEPS)) / 2

    base = case.base(rate, decay=0.1)
    check(case, cases.draws(2), base, case.variate(), rate=schedule, weight_decay=0.1)


@pytest.mark.parametrize("num_groups", [2, 5])
@pytest.mark.parametrize("case", [BY_NAME["Discover"], BY_NAME["DiscoverIGT"]], ids=str)
def test_group_sizes_weigh_every_example_alike(case, num_groups):
    equal = cases.draws(num_groups)

    def draw(t, weights):
        groups, clusters, _ = equal(t, weights)
        sizes = np.random.default_rng(t).integers(0, 4, size=num_groups)
        sizes[0] = 1  # at least one group is present
        return groups, clusters, sizes

    check(case, draw, case.base(RATE), case.variate())


@pytest.mark.parametrize("num_groups", [1, 2, 5])
def test_float_sizes_are_only_ratios(num_groups):
    """Sizes 0.5 for every group are equal sizes."""
    case = BY_NAME["Discover"]
    draw = cases.draws(num_groups)

    def half(t, weights):
        groups, clusters, _ = draw(t, weights)
        return groups, clusters, [0.5] * num_groups

    expected = cases.train(case, case.optimizer(), cases.variables(), draw, 10)
    actual = cases.train(case, case.optimizer(), cases.variables(), half, 10)
    assert_close(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("num_groups", [1, 2])
def test_a_group_of_size_0_is_absent(num_groups):
    case = BY_NAME["Discover"]
    optimizer, weights = case.optimizer(), cases.variables()
    cases.train(case, optimizer, weights, cases.draws(2), 5)
    before = cases.values(optimizer.variables)[2:]  # without iterations and learning rate
    averages = cases.values(optimizer.mean_cluster_gradients)
    groups, clusters, _ = cases.draws(num_groups)(9, cases.values(weights))
    absent = cases.corrected(case, optimizer, groups, clusters, [0] * num_groups)
    assert_close(cases.values(absent), averages, rtol=1e-7)
    for now, then in zip(cases.values(optimizer.variables)[2:], before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_alpha_of_one_remembers_the_last_gradient():
    case = BY_NAME["Discover"]
    optimizer, weights = case.optimizer(alpha=1.0), cases.variables()
    optimizer.build(weights)
    groups, _, _ = cases.draws(1)(0, cases.values(weights))
    cases.step(case, optimizer, groups, [2])
    for buffer, group in zip(optimizer.cluster_gradients, groups, strict=True):
        np.testing.assert_allclose(cases.values([buffer])[0][2], group[0], rtol=1e-6)
