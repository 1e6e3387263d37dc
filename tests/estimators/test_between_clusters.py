"""The between-cluster variances against the enumeration of every draw of clusters."""

import itertools

import numpy as np
import pytest

from tf_gradvar.estimators import (
    between_cluster_variance,
    buffered_between_cluster_variance,
    estimator_between_cluster_variance,
)

K = 3
SHAPES = [(4, 2), (2,), ()]
PROBABILITIES = [None, [0.5, 0.3, 0.2], [0.0, 0.9, 0.1]]


def random_arrays(seed, dtype="float64"):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(K, *shape)).astype(dtype) for shape in SHAPES]


def flat(arrays):
    return np.concatenate([np.reshape(array, (len(array), -1)) for array in arrays], axis=1)


def enumerated_variance(gradients, buffers, probabilities, groups):
    """Variance of v = mean_c (grad R_k - g^k) + gbar over all K^C draws, by its definition."""
    probabilities = np.full(K, 1 / K) if probabilities is None else np.asarray(probabilities)
    gradients, buffers = flat(gradients), flat(buffers)
    mean_buffer = sum(probabilities[k] * buffers[k] for k in range(K))
    draws = []
    for clusters in itertools.product(range(K), repeat=groups):
        chance = np.prod([probabilities[k] for k in clusters])
        residuals = [gradients[k] - buffers[k] for k in clusters]
        draws.append((chance, sum(residuals) / groups + mean_buffer))
    mean = sum(chance * draw for chance, draw in draws)
    return sum(chance * ((draw - mean) ** 2).sum() for chance, draw in draws)


@pytest.mark.parametrize("probabilities", PROBABILITIES)
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_estimator_value_is_the_enumerated_variance(probabilities, groups):
    gradients, buffers = random_arrays(0), random_arrays(1)
    value = estimator_between_cluster_variance(gradients, buffers, probabilities)
    expected = enumerated_variance(gradients, buffers, probabilities, groups)
    np.testing.assert_allclose(value / groups, expected, rtol=1e-12)


@pytest.mark.parametrize("probabilities", PROBABILITIES)
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_plain_value_is_the_enumerated_variance_without_buffers(probabilities, groups):
    gradients = random_arrays(0)
    no_buffers = [np.zeros_like(gradient) for gradient in gradients]
    value = between_cluster_variance(gradients, probabilities)
    expected = enumerated_variance(gradients, no_buffers, probabilities, groups)
    np.testing.assert_allclose(value / groups, expected, rtol=1e-12)


@pytest.mark.parametrize("probabilities", PROBABILITIES)
def test_buffered_value_is_the_expected_squared_distance(probabilities):
    gradients, buffers = random_arrays(0), random_arrays(1)
    weights = [1 / K] * K if probabilities is None else probabilities
    expected = sum(
        weights[k] * np.linalg.norm(flat(gradients)[k] - flat(buffers)[k]) ** 2 for k in range(K)
    )
    value = buffered_between_cluster_variance(gradients, buffers, probabilities)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_one_buffer_for_all_clusters_equals_the_same_buffer_k_times():
    gradients = random_arrays(0)
    single = [buffer[:1] for buffer in random_arrays(1)]
    repeated = [np.repeat(buffer, K, axis=0) for buffer in single]
    assert buffered_between_cluster_variance(gradients, single) == pytest.approx(
        buffered_between_cluster_variance(gradients, repeated), rel=1e-12
    )
    assert estimator_between_cluster_variance(gradients, single) == pytest.approx(
        between_cluster_variance(gradients), rel=1e-12
    )


def test_buffered_value_bounds_the_exact_value():
    for seed in range(5):
        gradients, buffers = random_arrays(seed), random_arrays(seed + 100)
        exact = estimator_between_cluster_variance(gradients, buffers)
        assert exact <= buffered_between_cluster_variance(gradients, buffers)


def test_perfect_buffers_leave_nothing():
    gradients = random_arrays(0)
    assert buffered_between_cluster_variance(gradients, gradients) == 0
    assert estimator_between_cluster_variance(gradients, gradients) == 0


def test_float32_gradients_with_a_large_common_part_do_not_cancel():
    offset = 1e4
    gradients = [gradient.astype("float32") + np.float32(offset) for gradient in random_arrays(0)]
    exact = [gradient.astype("float64") - offset for gradient in gradients]
    assert between_cluster_variance(gradients) == pytest.approx(
        between_cluster_variance(exact), rel=1e-9
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([np.zeros((3, 2)), np.zeros((2, 2))], None), "`cluster_gradients` must be a list"),
        (([], None), "`cluster_gradients` must be a list"),
        (([np.zeros((3, 2))], [0.5, 0.5]), "num_clusters=3 clusters. Received an array of shape"),
        (([np.zeros((3, 2))], [0.5, 0.6, -0.1]), "`cluster_probabilities` must not be negative"),
        (([np.zeros((3, 2))], [0.5, 0.5, 0.5]), "`cluster_probabilities` must sum to 1"),
    ],
)
def test_bad_arguments_of_every_function_get_a_sentence(arguments, message):
    gradients, probabilities = arguments
    with pytest.raises(ValueError, match=message):
        between_cluster_variance(gradients, probabilities)
    with pytest.raises(ValueError, match=message):
        buffered_between_cluster_variance(gradients, gradients, probabilities)
    with pytest.raises(ValueError, match=message):
        estimator_between_cluster_variance(gradients, gradients, probabilities)


@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        ([], "`buffers` must hold one array for each array"),
        ([np.zeros((2, 2))], r"`buffers\[0\]` must have the shape \(3, 2\)"),
        ([np.zeros((3, 1))], r"`buffers\[0\]` must have the shape \(3, 2\)"),
    ],
)
@pytest.mark.parametrize(
    "function", [buffered_between_cluster_variance, estimator_between_cluster_variance]
)
def test_buffers_that_do_not_fit_get_a_sentence(function, buffers, message):
    with pytest.raises(ValueError, match=message):
        function([np.zeros((3, 2))], buffers)
