"""Parts of a training set, copies of images, borders, and wrong labels: counted."""

import dataclasses
import types

import numpy as np
import pytest

from keras_apps import sources
from keras_apps.configs import cifar10_corrupt_labels, cifar10_duplicates, cifar10_resnet8
from keras_apps.experiments.classification import Classification
from keras_apps.running.trajectory_batches import MeasuredExamples
from keras_apps.sources.duplicates import duplicated_rows
from keras_apps.sources.padding import padded

PLAIN = Classification("digits", model_arguments={"hidden_units": [4]})
COPIES = dataclasses.replace(PLAIN, duplicated_images=3, copies=40)


@pytest.fixture(scope="module")
def plain():
    return PLAIN.build()


def times(problem):
    """How often each different image is there."""
    flat = problem.x.reshape(len(problem.x), -1)
    return np.unique(flat, axis=0, return_counts=True)[1]


def test_three_images_forty_times_more(plain):
    problem = COPIES.build()
    assert len(problem.x) == len(problem.y) == len(problem.clusters) == 1438 + 120
    np.testing.assert_array_equal(problem.x[:1438], plain.x)
    counts = np.sort(times(problem))[::-1]
    assert list(counts[:4]) == [41, 41, 41, 1]
    for start in range(1438, len(problem.x), 40):
        copies = slice(start, start + 40)
        assert len(np.unique(problem.x[copies].reshape(40, -1), axis=0)) == 1
        assert len(set(problem.y[copies])) == 1
        original = (plain.x == problem.x[start]).all(axis=(1, 2, 3))
        assert plain.y[original][0] == problem.y[start]
    np.testing.assert_allclose(problem.probabilities, np.bincount(problem.y) / len(problem.y))
    assert "There are 40 more copies of each of 3 training images, 1,558" in problem.description


def test_evaluation_is_on_the_images_without_copies(plain):
    model = plain.build_model()
    assert COPIES.build().evaluate(model) == plain.evaluate(model)


def test_every_copy_is_augmented_on_its_own():
    moving = dataclasses.replace(COPIES, crop="pad", flip=True).build()
    shown = MeasuredExamples(moving, 0)
    shown.renew(0)
    ours = shown.x[1438 : 1438 + 40].reshape(40, -1)
    assert len(np.unique(ours, axis=0)) > 20  # 81 crops, flipped or not


def test_a_part_of_the_images(plain):
    part = dataclasses.replace(PLAIN, training_examples=100, duplicated_images=2, copies=5)
    problem = part.build()
    assert len(problem.x) == 110
    known = {image.tobytes(): label for image, label in zip(plain.x, plain.y, strict=True)}
    assert all(
        known[image.tobytes()] == label for image, label in zip(problem.x, problem.y, strict=True)
    )
    assert sum(times(problem) == 6) == 2
    assert "100 are kept" in problem.description
    again = dataclasses.replace(part, split_seed=0).build()
    np.testing.assert_array_equal(again.x, problem.x)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"training_examples": 0}, "`training_examples` must be from 1 to .* 1438"),
        ({"training_examples": 2000}, "Received: training_examples=2000"),
        ({"duplicated_images": 2000}, "`duplicated_images` must be from 0 to .* 1438"),
        ({"duplicated_images": 3, "copies": -1}, "`copies` at least 0"),
        ({"padded_to": 7}, "`padded_to` must be at least the height and width .* 8 and 8"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAIN, **fields).build()


def test_rows_by_a_plain_loop():
    rows = duplicated_rows(20, 4, 3, seed=1).tolist()
    assert rows[:20] == list(range(20))
    extra = rows[20:]
    assert len(extra) == 12
    assert len(set(extra)) == 4
    assert all(extra.count(row) == 3 for row in extra)
    assert duplicated_rows(20, 4, 3, seed=2).tolist() != rows


@pytest.mark.parametrize("side", [8, 11, 12])
def test_a_black_border(side):
    source = sources.load("digits")
    wide = padded(source, side)
    assert wide.input_shape == (side, side, 1)
    before = (side - 8) // 2
    inside = (slice(None), slice(before, before + 8), slice(before, before + 8))
    np.testing.assert_array_equal(wide.x_train[inside], source.x_train)
    np.testing.assert_array_equal(wide.pixels_test[inside], source.pixels_test)
    assert wide.pixels_train.sum() == source.pixels_train.sum()
    assert wide.channel_means == source.channel_means


def test_no_border_for_images_on_the_disk():
    with pytest.raises(ValueError, match="`padded_to` must be None for images on the disk"):
        padded(types.SimpleNamespace(name="stored"), 32)


@pytest.mark.parametrize(
    ("study", "share"),
    [
        (cifar10_corrupt_labels.small(), 0.1),
        (cifar10_corrupt_labels.fifth(), 0.2),
        (cifar10_corrupt_labels.paper(), 0.1),
        (cifar10_corrupt_labels.smoothing(), 0.0),
    ],
)
def test_corrupt_labels_are_as_many_as_said(study, share):
    problem = dataclasses.replace(
        study.problem, source="digits", model="mlp", model_arguments={"hidden_units": [4]},
        training_examples=None, padded_to=None, evaluation_examples=None,
    ).build()  # fmt: skip
    labels = problem.y.argmax(axis=1) if problem.y.ndim == 2 else problem.y
    wrong = labels != PLAIN.build().y
    deviation = np.sqrt(share * (1 - share) / 1438)
    assert abs(wrong.mean() - share) <= 4 * deviation
    assert problem.visits.label_noise == 0  # once and for all
    if share:
        assert len(set(labels[wrong])) == 10
    else:
        logits = np.eye(10)[[0, 1]] * 3.0
        smooth = 0.9 * np.eye(10)[[0, 1]] + 0.01
        expected = np.log(np.exp(logits).sum(axis=1)) - (smooth * logits).sum(axis=1)
        found = problem.loss(np.eye(10)[[0, 1]], logits)
        assert float(found) == pytest.approx(expected.mean(), rel=1e-5)


def test_copies_in_proportion():
    small, paper = cifar10_duplicates.small().problem, cifar10_duplicates.paper().problem
    assert (paper.duplicated_images, paper.copies) == (10, 10_000)
    assert small.duplicated_images == 10
    assert small.copies / small.training_examples == paper.copies / 50_000
    assert (paper.crop, paper.flip) == ("pad", True)


def test_the_published_settings():
    paper = cifar10_resnet8.paper().trajectory
    assert (paper.steps, paper.drops, paper.drop_factor) == (80_000, (40_000, 60_000), 0.1)
    assert (paper.learning_rate, paper.momentum, paper.weight_decay) == (0.01, 0.9, 5e-4)
    assert (paper.measure_every, paper.num_draws) == (500, 50)
    assert (paper.refresh_every, paper.clustering_passes, paper.batch_size) == (20_000, 3, 128)
