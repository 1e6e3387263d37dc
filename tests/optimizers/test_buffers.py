"""The buffers: their average, the names of clusters, alpha, and groups that are left out."""

import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import BY_NAME, CLUSTERED, PROBABILITIES, RATE, K, assert_close

pytestmark = pytest.mark.jax
DISCOVER = BY_NAME["Discover"]


def state(optimizer):
    """What a group that is left out must not touch."""
    return cases.values([*optimizer.cluster_gradients, *optimizer.mean_cluster_gradients])


@pytest.mark.parametrize("buffer_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("num_groups", [1, 2, 5])
def test_the_average_stays_that_of_the_buffers(num_groups, buffer_dtype):
    optimizer = DISCOVER.optimizer(buffer_dtype=buffer_dtype)
    cases.train(DISCOVER, optimizer, cases.variables(), cases.draws(num_groups), 300)
    for buffers, average in zip(
        optimizer.cluster_gradients, optimizer.mean_cluster_gradients, strict=True
    ):
        assert ops.cast(buffers, buffer_dtype).dtype == ops.convert_to_tensor(buffers).dtype
        stacked = ops.convert_to_numpy(ops.cast(buffers, "float32")).astype("float64")
        expected = np.tensordot(PROBABILITIES, stacked, axes=1)
        np.testing.assert_allclose(cases.values([average])[0], expected, rtol=1e-5, atol=2e-6)
        assert np.abs(expected).max() > 0.05


def test_bfloat16_buffers_train_alike():
    draw = cases.draws(2)
    half = cases.train(
        DISCOVER, DISCOVER.optimizer(buffer_dtype="bfloat16"), cases.variables(), draw, 50
    )
    full = cases.train(DISCOVER, DISCOVER.optimizer(), cases.variables(), draw, 50)
    assert_close(half, full, rtol=2e-2)


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_other_names_of_the_clusters_change_nothing(case):
    renamed = [2, 0, 1]  # cluster k gets the name renamed[k]
    draw = cases.draws(2)

    def rename(t, weights):
        groups, clusters, sizes = draw(t, weights)
        return groups, [renamed[k] for k in clusters], sizes

    q = [PROBABILITIES[renamed.index(k)] for k in range(K)]
    one = case.optimizer()
    other = case.optimizer(probabilities=q)
    weights = cases.train(case, one, cases.variables(), draw, 9)
    assert_close(cases.train(case, other, cases.variables(), rename, 9), weights, rtol=1e-6)
    for a, b in zip(one.cluster_gradients, other.cluster_gradients, strict=True):
        assert_close([cases.values([b])[0][renamed]], cases.values([a]), rtol=1e-6)


@pytest.mark.parametrize("copies", [2, 4])
def test_alpha_does_not_depend_on_the_number_of_groups(copies):
    """Each group twice, or four times, is the same evidence in more groups."""
    draw = cases.draws(1)

    def copy(t, weights):
        groups, clusters, _ = draw(t, weights)
        return [np.repeat(g, copies, axis=0) for g in groups], clusters * copies, None

    one, many = DISCOVER.optimizer(), DISCOVER.optimizer()
    weights = cases.train(DISCOVER, one, cases.variables(), draw, 9)
    assert_close(cases.train(DISCOVER, many, cases.variables(), copy, 9), weights)
    assert_close(state(many), state(one))


@pytest.mark.parametrize("bad", ["nan", "inf", "id too high", "id negative"])
@pytest.mark.parametrize("num_groups", [1, 3, 5])
def test_an_invalid_group_is_left_out_and_counted(num_groups, bad):
    draw = cases.draws(num_groups)

    def spoil(t, weights):
        groups, clusters, sizes = draw(t, weights)
        if t % 3 == 1:
            if "id" in bad:
                clusters[0] = K if "high" in bad else -1
            else:
                groups[1][0, 1] = float(bad)
        return groups, clusters, sizes

    optimizer, variate = DISCOVER.optimizer(), DISCOVER.variate()
    base = DISCOVER.base(RATE)
    actual = cases.train(DISCOVER, optimizer, cases.variables(), spoil, 9)
    expected = cases.oracle.train(base, variate, cases.initial_weights(), spoil, 9)[-1]
    assert_close(actual, expected)
    buffers = [np.stack([b[k] for k in range(K)]) for b in variate.buffers]
    assert_close(cases.values(optimizer.cluster_gradients), buffers)
    assert int(optimizer.skipped_groups.value) == variate.skipped == 3


def test_a_step_without_a_valid_group_goes_by_the_average():
    optimizer, weights = DISCOVER.optimizer(), cases.variables()
    cases.train(DISCOVER, optimizer, weights, cases.draws(2), 5)
    before = state(optimizer)
    averages = cases.values(optimizer.mean_cluster_gradients)
    groups, _, _ = cases.draws(2)(9, cases.values(weights))
    v = cases.corrected(DISCOVER, optimizer, groups, [-1, K])
    assert_close(cases.values(v), averages, rtol=1e-7)
    for now, then in zip(state(optimizer), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_corrected_gradients_are_float32_whatever_comes_in():
    optimizer = DISCOVER.optimizer()
    optimizer.build(cases.variables())
    groups = [ops.ones((2, *shape), "bfloat16") for shape in cases.SHAPES]
    v = optimizer.correct_gradients(groups, [0, 1])  # a plain list of ids is fine
    assert {np.asarray(ops.convert_to_numpy(g)).dtype.name for g in v} == {"float32"}
