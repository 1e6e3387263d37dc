"""Signal, noise and their errors against drawn batches and moments in float64."""

import math

import numpy as np
import pytest

from tests.diagnosis.tiny import gradients, seen_of
from tests.oracles.noise_oracle import drawn_noise_scale, squared_mean, trace_of_covariance
from tf_gradvar.diagnosis import noise
from tf_gradvar.diagnosis.noise import Estimate, layer_noise, measure_noise, ratio

MATRIX, _ = gradients(600)


def test_exact_where_all_examples_are_seen():
    found = measure_noise(seen_of(MATRIX, np.arange(len(MATRIX))), batch_size=8)
    variance, signal = trace_of_covariance(MATRIX), squared_mean(MATRIX)
    np.testing.assert_allclose(found.noise.value, variance, rtol=1e-12)
    np.testing.assert_allclose(found.signal.value, signal, rtol=1e-10)
    np.testing.assert_allclose(found.noise_scale.value, variance / signal, rtol=1e-10)
    np.testing.assert_allclose(found.batch_variance.value, variance / 8, rtol=1e-12)
    of_batch = MATRIX.var(axis=0) / 8
    shares = of_batch / (of_batch + MATRIX.mean(axis=0) ** 2)
    np.testing.assert_allclose(found.normalized_variance, shares.mean(), rtol=1e-10)
    for value in (found.noise, found.signal, found.noise_scale):
        assert value.exact
        assert value.low == value.value == value.high


def test_the_noise_scale_against_drawn_batches_in_19_of_20_runs():
    """Each run has data, a subset of them, and 2 000 drawn batches of its own."""
    inside = 0
    for seed in range(20):
        matrix, _ = gradients(1200, seed)
        rng = np.random.default_rng(100 + seed)
        chosen = np.sort(rng.choice(len(matrix), 300, replace=False))
        found = measure_noise(seen_of(matrix, chosen, seed=seed), batch_size=16).noise_scale
        drawn = drawn_noise_scale(matrix, 16, 2000, rng)
        inside += found.low <= drawn <= found.high
    assert inside >= 19


def test_errors_are_those_of_many_subsets():
    """The spread of 120 subsets is what the errors of each of them say."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(120):
        chosen = np.sort(rng.choice(len(MATRIX), 150, replace=False))
        found = measure_noise(seen_of(MATRIX, chosen, seed=seed), batch_size=8)
        estimates = (found.signal, found.noise, found.noise_scale)
        rows.append([[e.value for e in estimates], [e.standard_error for e in estimates]])
    values, errors = np.array(rows).transpose(1, 0, 2)
    spread = values.std(axis=0, ddof=1)
    np.testing.assert_allclose(np.median(errors, axis=0), spread, rtol=0.25)
    truth = [squared_mean(MATRIX), trace_of_covariance(MATRIX)]
    off = np.abs(values.mean(axis=0)[:2] - truth) / (spread[:2] / np.sqrt(120))
    assert (off < 3.5).all()  # without bias


def test_noise_without_a_signal():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(600, 15))
    matrix -= matrix.mean(axis=0)
    found = measure_noise(seen_of(matrix, np.arange(100)), batch_size=8)
    assert math.isinf(found.noise_scale.high)
    assert found.noise_scale.low > 40
    assert found.signal.value >= 0


def test_the_range_is_where_the_difference_is_within_its_error():
    errors = np.array([[0.04, 0.01], [0.01, 0.02]])
    found = ratio(2.0, 1.0, errors)
    for r in (found.low, found.high):
        spread = errors[0, 0] - 2 * r * errors[0, 1] + r**2 * errors[1, 1]
        np.testing.assert_allclose(abs(2.0 - r), noise.SIDE * np.sqrt(spread), rtol=1e-9)
    assert found.low < found.value == 2.0 < found.high
    assert ratio(2.0, -0.1, errors).value == math.inf


def test_layers_share_out_noise_and_signal():
    (layer,) = layer_noise(seen_of(MATRIX, np.arange(len(MATRIX))), batch_size=8)
    assert (layer.name, layer.parameters) == ("dense", 15)
    assert layer.noise_share == layer.signal_share == 1.0
    expected = 8 * squared_mean(MATRIX) / trace_of_covariance(MATRIX)
    np.testing.assert_allclose(layer.signal_to_noise, expected, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 32, 1000])
def test_what_twice_the_batch_changes(batch_size):
    critical = 50.0

    def steps(size):
        return 1 + critical / size

    saved, added = (f(batch_size, critical) for f in (noise.steps_saved, noise.examples_added))
    np.testing.assert_allclose(saved, 1 - steps(2 * batch_size) / steps(batch_size))
    product = (1 - saved) * 2 / (1 + added)  # examples = steps times batch
    np.testing.assert_allclose(product, 1.0)
    assert noise.steps_saved(batch_size, math.inf) == 0.5
    assert noise.examples_added(batch_size, math.inf) == 0.0


def test_an_estimate_does_not_reach_below_its_least():
    assert Estimate.of(1.0, 1.0).low == 0.0
    assert not Estimate.of(1.0, 1.0).exact
