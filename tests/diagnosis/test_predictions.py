"""Moments of groups, and the predicted variances, against float64 and enumeration."""

import numpy as np
import pytest

from tests.diagnosis.tiny import gradients
from tests.oracles import noise_oracle
from tf_gradvar.diagnosis import remedies
from tf_gradvar.diagnosis.group_moments import GroupMoments
from tf_gradvar.sampling import DrawingRule

MATRIX, GROUPS = gradients(300)
EVERYONE = np.arange(len(MATRIX))


def moments_of(chosen=EVERYONE, matrix=MATRIX, groups=GROUPS, sketches=None):
    """With the gradients as their own sketches: inner products are then exact."""
    rows = matrix[chosen] if sketches is None else sketches[chosen]
    return GroupMoments(groups, chosen, np.square(matrix[chosen]).sum(axis=1), rows)


def test_variances_of_groups():
    expected = [noise_oracle.trace_of_covariance(MATRIX[k == GROUPS]) for k in range(3)]
    np.testing.assert_allclose(moments_of().variances(), expected, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [3, 8])
def test_strata(batch_size):
    moments = moments_of()
    draws = DrawingRule.of(batch_size=batch_size).design(GROUPS).expected_draws
    within = noise_oracle.variance_of_strata(MATRIX, GROUPS, draws)
    found = remedies.strata(moments, batch_size).variance
    assert within <= found * (1 + 1e-9)  # random numbers of draws add to it
    assert found < noise_oracle.trace_of_covariance(MATRIX) / batch_size


def test_strata_of_equal_groups_exactly():
    groups = np.arange(len(MATRIX)) % 3
    found = remedies.strata(moments_of(groups=groups), 6).variance
    expected = noise_oracle.variance_of_strata(MATRIX, groups, [2, 2, 2])
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_one_group_a_step():
    found = remedies.one_group_a_step(moments_of(), 8).variance
    expected = noise_oracle.variance_of_one_group(MATRIX, GROUPS, 8)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_discover_with_buffers_in_a_steady_state(groups):
    found = remedies.discover(moments_of(), 8, groups).variance
    expected = noise_oracle.variance_of_corrected(MATRIX, GROUPS, 8, groups, remedies.ALPHA)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_subsets_and_sketches_are_without_bias_and_know_their_errors():
    rng = np.random.default_rng(0)
    exact = {
        "strata": remedies.strata(moments_of(), 8).variance,
        "apart": remedies.one_group_a_step(moments_of(), 8).variance,
    }
    found = {name: [] for name in exact}
    for _ in range(100):
        chosen = np.sort(rng.choice(len(MATRIX), 120, replace=False))
        signs = rng.choice([-1.0, 1.0], size=(MATRIX.shape[1], 64)) / 8.0
        moments = moments_of(chosen, sketches=MATRIX @ signs)
        found["strata"].append(remedies.strata(moments, 8))
        found["apart"].append(remedies.one_group_a_step(moments, 8))
    for name, truth in exact.items():
        values = np.array([prediction.variance for prediction in found[name]])
        assert abs(values.mean() - truth) < 3.5 * values.std() / np.sqrt(100), name
    errors = [prediction.standard_error for prediction in found["strata"]]
    spread = np.std([prediction.variance for prediction in found["strata"]])
    assert 0.6 * spread < np.median(errors) < 1.6 * spread


def test_groups_of_which_none_was_seen():
    groups = np.where(np.arange(len(MATRIX)) < 2, 3, GROUPS)
    found = moments_of(np.arange(2, len(MATRIX)), groups=groups)
    assert np.isfinite(found.variances()).all()
    assert found.variances()[3] > 0


def test_steps_of_groups():
    steps = remedies.GroupSteps.of(32, 10)
    assert (steps.groups, steps.group_size) == (8, 4)
    assert remedies.GroupSteps.of(7, 3).groups == 1
    assert remedies.memory_of_buffers(10, 8) == pytest.approx(12.5)
    assert remedies.equivalent_batch_size(32, 2.0, 1.0) == 64.0
    assert remedies.equivalent_batch_size(32, 2.0, 0.0) == np.inf
