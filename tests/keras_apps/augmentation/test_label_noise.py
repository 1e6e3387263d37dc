"""Noisy labels: how many, which, and the groups of one noisy label."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.augmentation import label_noise, noisy_visits

CLASSES = 4
LABELS = np.repeat(np.arange(CLASSES), (1000, 2000, 3000, 4000)).astype("int32")
SEED = tf.constant([7, 3], tf.int64)


def transitions(true, noisy):
    """The share of each noisy label among the examples of each true class, [K, K]."""
    counts = np.zeros((CLASSES, CLASSES))
    np.add.at(counts, (true, noisy), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def expected_transitions(p):
    matrix = np.empty((CLASSES, CLASSES))
    for true, noisy in itertools.product(range(CLASSES), repeat=2):
        matrix[true, noisy] = 1 - p if true == noisy else p / (CLASSES - 1)
    return matrix


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_fixed_noise(p):
    noisy = label_noise.fixed_noise(LABELS, p, CLASSES, seed=5)
    assert noisy.dtype == LABELS.dtype
    np.testing.assert_allclose(transitions(LABELS, noisy), expected_transitions(p), atol=0.04)
    np.testing.assert_array_equal(noisy, label_noise.fixed_noise(LABELS, p, CLASSES, seed=5))
    assert (noisy != label_noise.fixed_noise(LABELS, p, CLASSES, seed=6)).any()


def test_noise_of_a_visit():
    probabilities = tf.fill([len(LABELS)], tf.constant(0.3, tf.float64))
    is_noisy = noisy_visits.draw_is_noisy(SEED, probabilities)
    shifts = noisy_visits.draw_shifts(SEED + 1, len(LABELS), CLASSES)
    noisy = noisy_visits.noisy_labels(tf.constant(LABELS), is_noisy, shifts, CLASSES).numpy()
    np.testing.assert_array_equal(noisy != LABELS, is_noisy.numpy())
    np.testing.assert_allclose(transitions(LABELS, noisy), expected_transitions(0.3), atol=0.04)


def test_expected_labels_are_the_mean_over_all_visits():
    found = label_noise.expected_labels(LABELS, 0.3, CLASSES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected_transitions(0.3)[LABELS], rtol=1e-6)
    clean = label_noise.expected_labels(LABELS, 0.0, CLASSES)
    np.testing.assert_array_equal(clean.argmax(axis=1), LABELS)
    np.testing.assert_array_equal(clean.sum(axis=1), 1)


def test_groups_of_one_noisy_label_are_those_of_bayes():
    p = 0.4
    classes = label_noise.NoisyClasses.of(LABELS, p, CLASSES)
    joint = np.array([0.1, 0.2, 0.3, 0.4])[:, None] * expected_transitions(p)  # true, noisy
    shares = joint.sum(axis=0)
    np.testing.assert_allclose(classes.shares, shares, rtol=1e-12)
    np.testing.assert_allclose(classes.replaced, 1 - np.diag(joint) / shares, rtol=1e-12)

    count = 20_000
    numbers = np.random.default_rng(0).random(count)
    for k in range(CLASSES):
        clusters = tf.fill([count], k)
        rows = noisy_visits.rows_of_other_classes(tf.constant(numbers), clusters, classes).numpy()
        others = np.bincount(LABELS[rows], minlength=CLASSES) / count
        expected = np.where(np.arange(CLASSES) == k, 0, joint[:, k])
        np.testing.assert_allclose(others, expected / expected.sum(), atol=0.015)
        assert set(np.unique(LABELS[rows])) == set(range(CLASSES)) - {k}
    every = np.linspace(0, 1, 1000 + 2000 + 4000, endpoint=False)
    reached = noisy_visits.rows_of_other_classes(
        tf.constant(every + 1e-9), tf.fill([len(every)], 2), classes
    )
    np.testing.assert_array_equal(np.sort(reached), np.flatnonzero(LABELS != 2))
