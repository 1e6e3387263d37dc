"""Candidates for wrong labels against plain loops over all pairs."""

import numpy as np
import pytest

from tests.diagnosis.test_who import measurements
from tests.oracles import who_oracle
from tf_gradvar.diagnosis import wrong_labels as room
from tf_gradvar.diagnosis.wrong_labels import class_alignment, wrong_labels

N = 45


def gradients():
    g = np.random.default_rng(0).normal(size=(N, 4)) * np.linspace(0.5, 2, N)[:, None]
    g[7] = 1.001 * g[10]  # a copy: both are of class 1
    return g, np.arange(N) % 3


@pytest.mark.parametrize("rows", [7, 1024])
def test_opposition_and_support_are_those_of_a_loop(monkeypatch, rows):
    monkeypatch.setattr(room, "_ROWS", rows)
    g, labels = gradients()
    found = wrong_labels(measurements(g, labels))
    opposition, support = who_oracle.opposition_and_support(g, labels, 10, 0.99)
    np.testing.assert_allclose(found.opposition, opposition, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.support, support, rtol=1e-5, atol=1e-6)


def test_scores_are_mean_ranks():
    g, labels = gradients()
    g[7] = 0.3 - g[7]  # no copy: rounding would decide between the two
    losses = np.round(np.random.default_rng(1).exponential(size=N), 1)  # with ties
    found = wrong_labels(measurements(g, labels, losses=losses))
    opposition, support = who_oracle.opposition_and_support(g, labels, 10, 0.99)

    def rank(values, i):
        return sum(v < values[i] for v in values) + (sum(v == values[i] for v in values) + 1) / 2

    difference = opposition - support
    expected = [(rank(losses, i) + rank(difference, i)) / (2 * N) for i in range(N)]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-12)


def test_candidates_are_opposed_and_have_a_high_loss():
    rng = np.random.default_rng(2)
    centre = np.array([[1.0, -1.0, 0, 0], [-1.0, 1.0, 0, 0]])
    labels = np.arange(60) % 2
    g = centre[labels] + 0.2 * rng.normal(size=(60, 4))
    g[[8, 21]] = 2.0 * centre[[1, 0]] + 0.1
    numbers = np.arange(60) + 100
    found = wrong_labels(measurements(g, labels, indices=numbers, count=200))
    np.testing.assert_array_equal(np.sort(found.candidates), [108, 121])
    assert found.candidate_part == 2 / 60
    low = measurements(g, labels, losses=-np.linalg.norm(g, axis=1))
    assert not len(wrong_labels(low).candidates)


def test_alignment_with_the_others_of_a_class():
    g, labels = gradients()
    labels = np.where(np.arange(N) == 20, 3, labels)
    g[4] = 0.0
    found = class_alignment(np.square(g).sum(axis=1), g, labels)
    for i in range(N):
        mean = who_oracle.leave_one_out_mean(g, labels.tolist(), i)
        if mean is None or i == 4:
            assert np.isnan(found[i])
        else:
            cosine = g[i] @ mean / np.linalg.norm(g[i]) / np.linalg.norm(mean)
            np.testing.assert_allclose(found[i], cosine, rtol=1e-9)


def test_a_class_of_one_example_has_no_support():
    g, labels = gradients()
    labels[3] = 9
    found = wrong_labels(measurements(g, labels))
    assert found.support[3] == 0
    assert np.isfinite(found.scores).all()


def test_gradients_of_zero():
    found = wrong_labels(measurements(np.zeros((6, 3)), np.arange(6) % 2))
    np.testing.assert_allclose(found.scores, 3.5 / 6)
    assert not len(found.candidates)


def test_many_examples_have_a_part_of_them_as_references(monkeypatch):
    g, labels = gradients()
    monkeypatch.setattr(room, "_MOST_REFERENCES", 20)
    found = wrong_labels(measurements(g, labels), seed=4)
    chosen = np.random.default_rng(4).permutation(N)[:20]
    opposition, support = who_oracle.opposition_and_support(g, labels, 10, 0.99, chosen)
    np.testing.assert_allclose(found.opposition, opposition, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.support, support, rtol=1e-5, atol=1e-6)
