"""ImageNet, which stays on the disk: its 150 GB are more than machines hold in memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_apps.requirements import whole_tfds
from keras_apps.sources.stored_source import StoredImages, StoredSource

NAME = "imagenet2012"
IMAGE_SIZE = 224
# TFDS calls the validation set, whose labels are known, by this name; it serves for testing.
SPLITS = {"train": "train", "test": "validation"}
# Of all training pixels, after scaling to [0, 1]: the values in general use.
CHANNEL_MEANS = (0.485, 0.456, 0.406)
CHANNEL_DEVIATIONS = (0.229, 0.224, 0.225)
# Examples that are read at once for their labels.
_ROWS = 1024

_HOW = (
    "Get ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org, put them into the "
    "folder downloads/manual beside it, and run `tfds.builder('imagenet2012', "
    "file_format='array_record').download_and_prepare()` in Python, once."
)


def imagenet2012(data_dir: str | os.PathLike[str] | None = None) -> StoredSource:
    """Return the 1.28 million images of 1000 classes of ILSVRC 2012, prepared by TFDS.

    The labels lie beside the images: the first time all files are read for them, minutes to an
    hour; they are then kept in the folder `tf_gradvar` of Keras' home (`~/.keras`).

    Args:
        data_dir: Folder in which TFDS has prepared them. Defaults to that of TFDS.

    Raises:
        ImportError: `tensorflow-datasets` is not installed whole.
        FileNotFoundError: They are not prepared, or so that they can only be read in their order.
            TFDS cannot download them.
    """
    tfds = whole_tfds(NAME)
    builder = tfds.builder(NAME, data_dir=data_dir)
    undecoded = {"image": tfds.decode.SkipDecoding()}
    try:
        train, test = (
            builder.as_data_source(split=split, decoders=undecoded) for split in SPLITS.values()
        )
    except (AssertionError, NotImplementedError, ValueError) as error:
        raise FileNotFoundError(
            f"The data set {NAME!r} must be prepared by TFDS as files of the kind array_record, "
            f"which can be read in any order, and is not in {builder.data_dir}. {_HOW}"
        ) from error
    version = builder.info.full_name
    labels = [
        _kept_labels(examples, f"{version}-{split}-{len(examples)}.npy")
        for examples, split in ((train, "train"), (test, "validation"))
    ]
    content = f"{version} {[hashlib.sha256(part.tobytes()).hexdigest() for part in labels]}"
    fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]
    return StoredSource(
        name=NAME,
        x_train=_images(train),
        y_train=labels[0],
        x_test=_images(test),
        y_test=labels[1],
        num_classes=builder.info.features["label"].num_classes,
        description=f"{version} of TensorFlow Datasets, {len(train):,} images for training and "
        f"{len(test):,} for testing (its validation set), read from the disk at {IMAGE_SIZE}x"
        f"{IMAGE_SIZE}. Fingerprint of the labels: {fingerprint}.",
        channel_means=CHANNEL_MEANS,
        channel_deviations=CHANNEL_DEVIATIONS,
        fingerprint=fingerprint,
    )


def _images(examples: Any) -> StoredImages:
    rows = np.arange(len(examples), dtype=np.int64)
    return StoredImages(examples, rows, IMAGE_SIZE, CHANNEL_MEANS, CHANNEL_DEVIATIONS)


def _kept_labels(examples: Any, name: str) -> np.ndarray:
    """Return the labels of all examples, int32 [N], read once and then kept in a file."""
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    path = home / "tf_gradvar" / name.replace("/", "-")
    if path.is_file():
        return np.asarray(np.load(path, allow_pickle=False))
    labels = _read_labels(examples)
    path.parent.mkdir(parents=True, exist_ok=True)
    half_written = path.with_suffix(f".{os.getpid()}.npy")
    np.save(half_written, labels)
    half_written.replace(path)
    return labels


def _read_labels(examples: Any) -> np.ndarray:
    print(f"Reading the labels of {len(examples):,} images, once.")
    progress = keras.utils.Progbar(len(examples), unit_name="image")
    labels = np.empty(len(examples), np.int32)
    for start in range(0, len(examples), _ROWS):
        rows = range(start, min(start + _ROWS, len(examples)))
        labels[rows] = [example["label"] for example in examples.__getitems__(list(rows))]
        progress.update(rows.stop)
    return labels
