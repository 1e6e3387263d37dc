"""Concentration against the definitions."""

import numpy as np
import pytest

from tf_gradvar.diagnosis.concentration import concentration


def test_the_largest_examples_and_the_idle_ones():
    norms = np.random.default_rng(0).lognormal(sigma=3, size=450)
    found = concentration(norms)
    ordered = sorted(norms, reverse=True)
    assert found.largest == 4 / 450
    np.testing.assert_allclose(found.largest_share, sum(ordered[:4]) / sum(ordered), rtol=1e-12)
    half = next(n for n in range(1, 451) if sum(ordered[:n]) >= sum(ordered) / 2)
    assert found.half == half / 450
    idle = next(n for n in range(450, 0, -1) if sum(ordered[450 - n :]) < 0.01 * sum(ordered))
    assert found.idle.sum() == idle
    assert found.idle_part == idle / 450
    assert norms[found.idle].max() < norms[~found.idle].min()


def test_the_standard_error_is_the_scatter_of_samples():
    rng = np.random.default_rng(0)
    truth = concentration(rng.gamma(0.5, size=1_000_000), largest=0.05).largest_share
    found = [concentration(rng.gamma(0.5, size=1000), largest=0.05) for _ in range(300)]
    scores = [(f.largest_share - truth) / f.standard_error for f in found]
    assert 0.88 < np.std(scores) < 1.12
    assert abs(np.mean(scores)) < 0.3


@pytest.mark.parametrize(("norms", "idle"), [([0.0, 0.0], 1.0), ([2.0, 2.0], 0.0), ([3.0], 0.0)])
def test_equal_norms(norms, idle):
    found = concentration(np.array(norms))
    assert found.idle_part == idle
    assert found.standard_error == pytest.approx(0.0)
