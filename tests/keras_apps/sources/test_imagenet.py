"""ImageNet on the disk: images of all sizes, read by their row."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps import sources
from keras_apps.augmentation import cropping
from keras_apps.augmentation.image_stores import store_of, whole_images
from keras_apps.sources import imagenet
from keras_apps.sources.stored_source import StoredImages
from tests.keras_apps.tfds_stand_in import mock_data

tfds = pytest.importorskip("tensorflow_datasets")

MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


class Examples:
    """What a data source of TFDS is: examples by lists of rows."""

    def __init__(self, images):
        files = [tf.io.encode_jpeg(image, quality=100).numpy() for image in images]
        self.examples = [{"image": file, "label": row} for row, file in enumerate(files)]

    def __len__(self):
        return len(self.examples)

    def __getitems__(self, rows):
        return [self.examples[row] for row in rows]


def stored(images, size=16):
    examples = Examples(images)
    return StoredImages(examples, np.arange(len(images)), size, MEANS, DEVIATIONS)


def smooth_image(height, width, seed):
    """An image without edges, which JPEG keeps to a few of 255 levels."""
    rng = np.random.default_rng(seed)
    down, right = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    slopes = rng.uniform(20, 110, (2, 3))
    return np.round(slopes[0] * down + slopes[1] * right).astype("uint8")


SHAPES = [(64, 64), (40, 80), (96, 48), (17, 33)]
IMAGES = [smooth_image(*shape, seed) for seed, shape in enumerate(SHAPES)]


def test_a_prepared_set(tmp_path, keras_home, capfd):
    with mock_data(num_examples=7):
        source = sources.load("imagenet2012", data_dir=tmp_path)
        (train_file, _) = sorted((keras_home / "tf_gradvar").iterdir())
        again = sources.load("imagenet2012", data_dir=tmp_path)
        files = source.x_train.encoded(np.array([6, 0, 6]))
    assert isinstance(source, sources.StoredSource)
    assert source.x_train.shape == source.x_test.shape == (7, 224, 224, 3)
    assert (source.num_classes, source.input_shape) == (1000, (224, 224, 3))
    assert source.y_train.dtype == np.int32
    assert source.y_train.min() >= 0
    assert source.y_train.max() < 1000
    assert files[0] == files[2] != files[1]
    assert tf.io.decode_jpeg(files[0]).shape[2] == 3
    assert "7 images for training" in source.description
    assert source.fingerprint in source.description
    np.testing.assert_array_equal(np.load(train_file), source.y_train)
    np.testing.assert_array_equal(again.y_train, source.y_train)
    assert again.fingerprint == source.fingerprint
    assert capfd.readouterr().out.count("Reading the labels of 7 images, once.") == 2


def test_labels_are_those_of_the_examples():
    count = imagenet._ROWS + 3

    class Labels(Examples):
        def __init__(self):
            self.examples = [{"label": (7 * row) % 1000} for row in range(count)]

    found = imagenet._read_labels(Labels())
    np.testing.assert_array_equal(found, 7 * np.arange(count) % 1000)


def test_other_labels_have_another_fingerprint(tmp_path):
    found = []
    for count in (3, 4):
        with mock_data(num_examples=count):
            found.append(sources.imagenet2012(tmp_path).fingerprint)
    assert found[0] != found[1]


def test_images_that_are_not_prepared_get_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not in .*Get ILSVRC2012_img_train\.tar"):
        sources.imagenet2012(tmp_path)


def test_files_that_cannot_be_read_in_any_order_get_the_same_sentence(tmp_path, monkeypatch):
    def as_data_source(self, **options):
        raise NotImplementedError("Random access data source for file format tfrecord")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_data_source", as_data_source)
    with pytest.raises(FileNotFoundError, match=r"kind array_record.*file_format='array_record'"):
        sources.imagenet2012(tmp_path)


def normalised(pixels):
    return (pixels / 255 - MEANS) / DEVIATIONS


def value_at(image, row, column):
    """The image between its pixels, by hand (bilinear)."""
    height, width, _ = image.shape
    top, left = int(np.clip(row, 0, height - 1)), int(np.clip(column, 0, width - 1))
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    a, b = np.clip(row, 0, height - 1) - top, np.clip(column, 0, width - 1) - left
    upper = (1 - b) * image[top, left] + b * image[top, right]
    lower = (1 - b) * image[down, left] + b * image[down, right]
    return (1 - a) * upper + a * lower


def test_whole_images_are_the_centres_of_the_files():
    found = store_of(stored(IMAGES)).whole(tf.range(4)).numpy()
    assert found.shape == (4, 16, 16, 3)
    for image, shown in zip(IMAGES, found, strict=True):
        height, width, _ = image.shape
        side = round(min(height, width) * 224 / 256)
        top, left = (height - side) // 2, (width - side) // 2
        for i, j in [(0, 0), (3, 12), (15, 15), (8, 7)]:
            row, column = (top + (i + 0.5) * side / 16 - 0.5, left + (j + 0.5) * side / 16 - 0.5)
            expected = normalised(value_at(image.astype(float), row, column))
            np.testing.assert_allclose(shown[i, j], expected, atol=0.06)  # JPEG: 3 of 255 levels


def test_images_are_read_in_the_order_of_the_rows():
    part = stored(IMAGES)[np.array([3, 1, 2])]
    found = np.concatenate(list(whole_images(part, 2).as_numpy_iterator()))
    expected = store_of(stored(IMAGES)).whole(tf.constant([3, 1, 2])).numpy()
    np.testing.assert_array_equal(found, expected)
    assert part.shape == (3, 16, 16, 3)


def test_crops_show_the_drawn_part_of_each_file():
    seed = tf.constant([3, 8])
    rows = tf.constant([1, 1, 2, 0, 3, 2])
    found = store_of(stored(IMAGES)).inception_crops(rows, seed).numpy()
    shapes = np.array([SHAPES[row] for row in rows.numpy()], "float32")
    boxes = cropping.draw_boxes(seed, 6, shapes[:, 1] / shapes[:, 0]).numpy()
    for shown, row, (height, width), box in zip(found, rows.numpy(), shapes, boxes, strict=True):
        centre = (
            (box[0] + box[2]) / 2 * height - 0.5,
            (box[1] + box[3]) / 2 * width - 0.5,
        )
        middle = shown[7:9, 7:9].mean(axis=(0, 1))
        expected = normalised(value_at(IMAGES[row].astype(float), *centre))
        # Whole pixels of the window, and JPEG: a slope of 110 levels over 17 pixels, one pixel.
        np.testing.assert_allclose(middle, expected, atol=0.2)


def test_aspects_of_crops_are_those_of_pixels():
    count, image_aspect = 4000, 2.0
    seed = tf.constant([1, 2])
    boxes = cropping.draw_boxes(seed, count, image_aspect).numpy()
    heights, widths = boxes[:, 2] - boxes[:, 0], (boxes[:, 3] - boxes[:, 1]) * image_aspect
    uncut = heights * widths / image_aspect < 0.35  # no side can be cut
    aspects = (widths / heights)[uncut]
    assert 0.74 < aspects.min() < 0.76
    assert 1.32 < aspects.max() < 1.34
    assert abs(np.median(np.log(aspects))) < 0.05


def test_windows_stay_inside_of_the_image():
    from keras_apps.augmentation.image_stores import _pixels

    boxes = tf.constant([[9.9, 0.0, 10.0, 10.0], [0.0, 3.2, 10.0, 3.3], [0.4, 0.4, 10.0, 10.0]])
    shapes = tf.constant([[10, 10, 3]] * 3)
    windows = _pixels(boxes, shapes).numpy()
    assert (windows >= [0, 0, 1, 1]).all()
    assert (windows[:, :2] + windows[:, 2:] <= 10).all()
    np.testing.assert_array_equal(windows[0], [9, 0, 1, 10])
