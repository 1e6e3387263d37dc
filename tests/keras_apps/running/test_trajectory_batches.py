"""The order of the batches, and what a visit makes of the examples."""

import dataclasses

import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.running.trajectory_batches import (
    MeasuredExamples,
    rows_of_steps,
    training_batches,
)

TRAJECTORY = Trajectory(batch_size=100, steps=20, measure_every=5, refresh_every=5)
EXAMPLES = 1438  # 14 batches of 100 an epoch
PLAIN = Classification("digits", model_arguments={"hidden_units": [4]})
MOVING = dataclasses.replace(PLAIN, crop="pad", flip=True, label_noise=0.2)


def test_every_epoch_has_every_example_at_most_once():
    rows = rows_of_steps(EXAMPLES, 100, 0, 0, 28)
    assert rows.shape == (28, 100)
    for epoch in (rows[:14], rows[14:]):
        assert len(np.unique(epoch)) == 1400
    assert not np.array_equal(rows[:14], rows[14:])
    assert not np.array_equal(rows, rows_of_steps(EXAMPLES, 100, 1, 0, 28))


@pytest.mark.parametrize("first", [1, 13, 14, 20])
def test_a_step_has_its_batch_wherever_one_begins(first):
    whole = rows_of_steps(EXAMPLES, 100, 3, 0, 28)
    np.testing.assert_array_equal(rows_of_steps(EXAMPLES, 100, 3, first, 28), whole[first:])


def taken(problem, first, last):
    batches = training_batches(TRAJECTORY, problem, 0, first, last)
    return [(x.numpy(), y.numpy()) for x, y in batches]


@pytest.mark.parametrize("definition", [PLAIN, MOVING], ids=["plain", "moving"])
def test_batches_begin_anywhere(definition):
    problem = definition.build()
    whole = taken(problem, 0, 17)
    assert len(whole) == 17
    for ours, theirs in zip(taken(problem, 12, 17), whole[12:], strict=True):
        for mine, yours in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, yours)


def test_plain_batches_are_the_examples():
    problem = PLAIN.build()
    rows = rows_of_steps(EXAMPLES, 100, 0, 0, 2)
    for (x, y), chosen in zip(taken(problem, 0, 2), rows, strict=True):
        np.testing.assert_array_equal(x, problem.x[chosen])
        np.testing.assert_array_equal(y, problem.y[chosen])


def test_moving_batches_are_drawn_anew():
    problem = MOVING.build()
    rows = rows_of_steps(EXAMPLES, 100, 0, 0, 28)
    batches = taken(problem, 0, 28)
    shown = {}
    for (x, y), chosen in zip(batches, rows, strict=True):
        for image, label, row in zip(x, y, chosen, strict=True):
            shown.setdefault(row, []).append((image, label.argmax()))
    twice = [pair for pair in shown.values() if len(pair) == 2]
    assert len(twice) > 1000
    differ = np.mean([not np.array_equal(a[0], b[0]) for a, b in twice])
    assert differ > 0.9  # 81 crops, flipped or not
    clean = PLAIN.build().y
    wrong = np.mean([label != clean[row] for row, pair in shown.items() for _, label in pair])
    assert wrong == pytest.approx(0.2, abs=0.03)


def test_examples_that_are_measured_are_shown_anew():
    problem = MOVING.build()
    measured = MeasuredExamples(problem, 0)
    before = problem.x.copy()
    measured.renew(4)
    first = measured.x.copy(), measured.y.copy()
    measured.renew(5)
    assert (measured.x != first[0]).any()
    assert (measured.y != first[1]).any()
    measured.renew(4)
    np.testing.assert_array_equal(measured.x, first[0])
    np.testing.assert_array_equal(measured.y, first[1])
    np.testing.assert_array_equal(problem.x, before)
    assert (measured.y.argmax(axis=1) != PLAIN.build().y).mean() == pytest.approx(0.2, abs=0.04)
    np.testing.assert_array_equal(measured.y.sum(axis=1), 1)


def test_plain_examples_are_not_copied():
    problem = PLAIN.build()
    measured = MeasuredExamples(problem, 0)
    measured.renew(4)
    assert measured.x is problem.x
    assert measured.y is problem.y
