"""Near-duplicates against a search from every example."""

import numpy as np
import pytest

from tests.oracles import who_oracle
from tf_gradvar.diagnosis import duplicates
from tf_gradvar.diagnosis.duplicates import near_duplicates


def groups_of(found):
    return [set(np.flatnonzero(found == k)) for k in range(found.max(initial=-1) + 1)]


def of(g, **options):
    return near_duplicates(np.square(g).sum(axis=1), g.astype("float32"), **options)


@pytest.mark.parametrize("rows", [3, 1024])
@pytest.mark.parametrize("tolerance", [0.05, 0.3, 0.6])
def test_groups_are_the_connected_components(monkeypatch, rows, tolerance):
    monkeypatch.setattr(duplicates, "_ROWS", rows)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 3)) * rng.lognormal(size=(6, 1))
    g = np.repeat(centres, 7, axis=0)
    g += np.linalg.norm(g, axis=1, keepdims=True) * rng.normal(size=g.shape) * 0.06
    g = rng.permutation(g)
    expected = who_oracle.components(g, tolerance, 1e-5)
    assert expected
    assert groups_of(of(g, tolerance=tolerance)) == expected


def test_a_chain_is_one_group():
    g = np.array([[1.0, 0.08 * i] for i in range(40)])
    assert groups_of(of(g[np.random.default_rng(0).permutation(40)])) == [set(range(40))]


def test_gradients_near_zero_are_no_duplicates():
    g = np.array([[1.0, 0.0], [0.0, 1.0], [1e-9, 0.0], [1e-9, 0.0], [0.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(of(g), -1)
    np.testing.assert_array_equal(of(g, floor=1e-10), [-1, -1, 0, 0, -1, -1])


@pytest.mark.parametrize("g", [np.zeros((3, 2)), np.ones((1, 2)), np.array([[1.0, 0], [-1, 0]])])
def test_nothing_to_join(g):
    np.testing.assert_array_equal(of(g), -1)


def test_all_equal():
    np.testing.assert_array_equal(of(np.ones((5, 2))), 0)


def test_opposite_gradients_of_one_norm_and_other_lengths_of_one_direction_differ():
    g = np.array([[1.0, 0.0], [-1.0, 0.0], [1.2, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(of(g), [0, -1, -1, 0])
