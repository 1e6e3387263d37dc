"""ImageNet as a stream of images of all sizes."""

import numpy as np
import pytest

from keras_apps import sources

tfds = pytest.importorskip("tensorflow_datasets")


def test_a_stream(tmp_path):
    with tfds.testing.mock_data(num_examples=7):
        stream = sources.imagenet2012(tmp_path)
        parts = {part: list(stream.examples(part, seed=3)) for part in ("train", "test")}
        found = stream.examples("train")
        again = sources.imagenet2012(tmp_path)
    assert (stream.num_train, stream.num_test, stream.num_classes) == (7, 7, 1000)
    for examples in parts.values():
        assert len(examples) == 7
        assert len({image.shape for image, _ in examples}) > 1
        for image, label in examples:
            assert image.dtype == np.uint8
            assert image.shape[2] == 3
            assert 0 <= int(label) < 1000
    assert found.element_spec[0].shape.as_list() == [None, None, 3]
    assert "7 images for training" in stream.description
    assert len(stream.fingerprint) == 16
    assert stream.fingerprint == again.fingerprint
    with pytest.raises(ValueError, match=r"must be one of .*Received: part='validation'"):
        stream.examples("validation")


def test_other_numbers_of_images_have_another_fingerprint(tmp_path):
    found = []
    for count in (3, 4):
        with tfds.testing.mock_data(num_examples=count):
            found.append(sources.imagenet2012(tmp_path).fingerprint)
    assert found[0] != found[1]


def test_images_that_are_not_prepared_get_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not in .*Get ILSVRC2012_img_train\.tar"):
        sources.imagenet2012(tmp_path)
