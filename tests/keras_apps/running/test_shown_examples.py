"""Examples as training sees them, for a picture."""

import dataclasses

import keras
import matplotlib.image
import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.reporting.example_pictures import examples_picture
from keras_apps.running.shown_examples import EXAMPLES, _words, shown_examples

DIGITS = Classification(source="digits")


@pytest.fixture(scope="module")
def mixed():
    return shown_examples(dataclasses.replace(DIGITS, clusters="augmentations").build())


def test_a_row_is_a_group_of_one_augmentation(mixed):
    assert mixed.clusters == ["flip", "mixup", "cutmix"]
    assert mixed.images.shape == (3, EXAMPLES, 8, 8, 1)
    assert mixed.images.min() == 0
    assert mixed.images.max() == 1
    flipped, *both = mixed.labels
    assert all(" + " not in label for label in flipped)
    assert any(" + " in label for row in both for label in row)


def test_flipped_images_are_those_of_the_data(mixed):
    pixels = DIGITS.build().x
    lowest = pixels.min()
    scaled = (pixels - lowest) / (pixels - lowest).max()
    known = {image.round(5).tobytes() for image in (*scaled, *scaled[:, :, ::-1])}
    assert all(image.round(5).tobytes() in known for image in mixed.images[0])


def test_the_same_seed_shows_the_same(mixed):
    again = shown_examples(dataclasses.replace(DIGITS, clusters="augmentations").build())
    np.testing.assert_array_equal(again.images, mixed.images)
    assert again.labels == mixed.labels


def test_noisy_labels_are_shown_as_training_sees_them():
    noisy = dataclasses.replace(DIGITS, label_noise=0.5)
    shown = shown_examples(noisy.build())
    assert shown.clusters == ["cluster 0", "cluster 1", "cluster 2", "cluster 3"]
    wrong = sum(label != str(row) for row in range(4) for label in shown.labels[row])
    assert 5 <= wrong <= 27  # of 32, half on average, within four deviations


def test_nothing_where_examples_are_the_same_every_time(monkeypatch):
    assert shown_examples(DIGITS.build()) is None
    noisy = dataclasses.replace(DIGITS, label_noise=0.5).build()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert shown_examples(noisy) is None


def test_words_of_targets():
    assert _words(np.int32(7)) == "7"
    assert _words(np.array([0.0, 1.0, 0.0])) == "1"
    assert _words(np.array([0.4, 0.0, 0.6])) == "2 .60 + 0 .40"
    assert _words(np.array([0.02, 0.0, 0.98])) == "2"
    assert _words(np.array([0.5, 0.5])) == "0 .50 + 1 .50"


def test_the_picture_has_its_numbers_beside_it(mixed, tmp_path):
    picture = examples_picture(mixed, tmp_path)
    assert picture.name == "examples"
    rows = (tmp_path / "examples.csv").read_text().splitlines()
    assert rows[0] == "cluster,place,label"
    assert rows[1] == f"flip,0,{mixed.labels[0][0]}"
    assert len(rows) == 1 + 3 * EXAMPLES
    height, width, _ = matplotlib.image.imread(tmp_path / "examples.png").shape
    assert width > height > 100
