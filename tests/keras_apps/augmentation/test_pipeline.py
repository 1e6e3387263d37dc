"""Batches as the visits show them: the same on resume, the right clusters, labels and images."""

import dataclasses

import numpy as np
import pytest

from keras_apps.augmentation.pipeline import visited
from keras_apps.augmentation.visits import Visits
from tf_gradvar.data import cluster_batches

N, CLASSES, SIDE = 60, 3, 6
LABELS = np.arange(N, dtype="int32") % CLASSES
# Each image has one number everywhere, so that what is shown tells which images it is made of.
IMAGES = np.broadcast_to(np.arange(1.0, N + 1)[:, None, None, None], (N, SIDE, SIDE, 1))
IMAGES = IMAGES.astype("float32")
PLAIN = Visits(LABELS, CLASSES)
MIXED = Visits(LABELS, CLASSES, mixes=True, soft=True)
GROUPS, SIZE = 6, 4


def shown(visits, count, seed=0, state=None, images=IMAGES, read_ahead=True):
    clusters = visits.augmentation_of_examples if visits.mixes else LABELS
    batches = cluster_batches(
        visits.examples, clusters, num_clusters=3, group_size=SIZE, groups_per_batch=GROUPS,
        seed=seed, state=state, read_ahead=read_ahead,
    )  # fmt: skip
    dataset = visited(batches, images, visits, read_ahead=read_ahead)
    assert dataset.sampling is batches.sampling
    inputs, targets = dataset.element_spec
    assert inputs["inputs"].shape == (GROUPS * SIZE, SIDE, SIDE, 1)
    assert targets.shape[0] == GROUPS * SIZE
    taken = [
        (x["inputs"].numpy(), x["cluster_ids"].numpy(), y.numpy()) for x, y in dataset.take(count)
    ]
    return taken, batches.sampling.state(count)


@pytest.mark.parametrize(
    "visits",
    [
        dataclasses.replace(PLAIN, crop="pad", padding=2, flips=True, label_noise=0.5),
        dataclasses.replace(PLAIN, crop="inception", label_noise=0.5, noisy_clusters=True),
        dataclasses.replace(MIXED, crop="pad", label_noise=0.5),
    ],
)
def test_a_resumed_run_sees_the_same(visits):
    images = np.random.default_rng(0).normal(size=IMAGES.shape).astype("float32")
    whole, _ = shown(visits, 6, images=images)
    first, state = shown(visits, 2, images=images)
    rest, _ = shown(visits, 4, state=state, images=images, read_ahead=False)
    for expected, found in zip(whole, first + rest, strict=True):
        for before, after in zip(expected, found, strict=True):
            np.testing.assert_array_equal(after, before)
    other, _ = shown(visits, 1, seed=1, images=images)
    assert (other[0][0] != whole[0][0]).any()
    assert (whole[1][0] != whole[0][0]).any()


def test_noise_is_drawn_anew_at_each_visit():
    batches, _ = shown(dataclasses.replace(PLAIN, label_noise=0.3), 100)
    rows = np.concatenate([images[:, 0, 0, 0] for images, _, _ in batches]).astype(int) - 1
    labels = np.concatenate([labels for _, _, labels in batches])
    clusters = np.concatenate([clusters for _, clusters, _ in batches])
    np.testing.assert_array_equal(clusters, LABELS[rows])  # the true class
    assert (labels != clusters).mean() == pytest.approx(0.3, abs=0.03)
    for row in range(N):
        assert len(np.unique(labels[rows == row])) > 1


def test_groups_of_noisy_labels():
    visits = dataclasses.replace(PLAIN, label_noise=0.3, noisy_clusters=True)
    batches, _ = shown(visits, 100)
    rows = np.concatenate([images[:, 0, 0, 0] for images, _, _ in batches]).astype(int) - 1
    labels = np.concatenate([labels for _, _, labels in batches])
    clusters = np.concatenate([clusters for _, clusters, _ in batches])
    np.testing.assert_array_equal(clusters, labels)  # the label that is seen
    assert (LABELS[rows] != clusters).mean() == pytest.approx(0.3, abs=0.03)


def test_an_augmentation_a_group():
    batches, _ = shown(MIXED, 60)
    seen, flat = set(), 0
    for images, clusters, targets in batches:
        for start in range(0, GROUPS * SIZE, SIZE):
            group = slice(start, start + SIZE)
            (kind,) = set(clusters[group])
            seen.add(kind)
            np.testing.assert_allclose(targets[group].sum(axis=1), 1, atol=1e-6)
            shares = targets[group].max(axis=1)
            if kind == 0:  # flipped: one number everywhere stays as it was
                np.testing.assert_array_equal(shares, 1)
                rows = images[group, 0, 0, 0].astype(int) - 1
                np.testing.assert_array_equal(targets[group].argmax(axis=1), LABELS[rows])
            elif kind == 1:
                # Constant images mix to constant ones, and a permutation keeps the sum of both.
                assert np.ptp(images[group], axis=(1, 2, 3)).max() == 0
                assert images[group, 0, 0, 0].sum() == pytest.approx(
                    round(float(images[group, 0, 0, 0].sum())), abs=1e-3
                )
            else:
                flat += check_cutmix(images[group], targets[group])
    assert seen == {0, 1, 2}
    assert flat > 0


def check_cutmix(images, targets):
    """Return how many images have a box of another one; the label is the share of the pixels."""
    mixed = 0
    for image, target in zip(images, targets, strict=True):
        numbers, counts = np.unique(image.astype(int) - 1, return_counts=True)
        expected = np.zeros(CLASSES)
        np.add.at(expected, LABELS[numbers], counts / SIDE**2)
        np.testing.assert_allclose(target, expected, atol=1e-6)
        mixed += len(numbers) > 1
    return mixed


def test_every_image_stands_in_every_cluster():
    rows, labels = MIXED.examples
    clusters = MIXED.augmentation_of_examples
    pairs = set(zip(rows.tolist(), clusters.tolist(), strict=True))
    assert pairs == {(row, kind) for row in range(N) for kind in range(3)}
    np.testing.assert_array_equal(labels, LABELS[rows])


def test_nothing_to_do_changes_nothing():
    assert not PLAIN.change_anything
    batches, _ = shown(PLAIN, 3)
    for images, clusters, labels in batches:
        rows = images[:, 0, 0, 0].astype(int) - 1
        np.testing.assert_array_equal(labels, LABELS[rows])
        np.testing.assert_array_equal(clusters, labels)
