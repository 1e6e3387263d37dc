"""Data sets of TensorFlow Datasets, downloaded once."""

from __future__ import annotations

import os
import socket
import urllib.request
from typing import Any

import numpy as np

from keras_apps.requirements import imported
from keras_apps.sources.source import Source

# The bundled set that is closest to each, and needs no network.
BUNDLED_ALTERNATIVES = {
    "fashion_mnist": "mnist5k",
    "mnist": "mnist5k",
    "cifar10": "digits",
    "cifar100": "digits",
}
# How else to get a set.
PACKAGES = {
    "fashion_mnist": "On Debian and Ubuntu, `apt-get install dataset-fashion-mnist` brings it. "
}


def downloaded(name: str, data_dir: str | os.PathLike[str] | None) -> Source:
    """Return a data set of TFDS, from this machine if it is there.

    Raises:
        ImportError: `tensorflow-datasets` is not installed whole.
        ConnectionError: There is no copy here, and no network.
    """
    try:
        parts = [_tfds_split(name, split, data_dir) for split in ("train", "test")]
    except OSError as error:
        raise ConnectionError(
            f"The data set {name!r} must be downloaded once, and that failed ({error}). "
            f"{PACKAGES.get(name, '')}Connect to a network, "
            f"or use the bundled {BUNDLED_ALTERNATIVES[name]!r}, which needs none: "
            f"`--set problem.source={BUNDLED_ALTERNATIVES[name]}`."
        ) from error
    (train_pixels, train_labels, num_classes), (test_pixels, test_labels, _) = parts
    return Source.of(
        name,
        (train_pixels, train_labels),
        (test_pixels, test_labels),
        f"{name} of TensorFlow Datasets; its own training and test sets.",
        num_classes=num_classes,
    )


def whole_module(name: str, way_out: str) -> Any:
    """Return the module `tensorflow_datasets` for a data set.

    Raises:
        ImportError: It is not installed, or not whole; the sentence ends with the way out.
    """
    tfds = imported("tensorflow_datasets", "tensorflow-datasets", f"The data set {name!r}")
    if not hasattr(tfds, "load"):  # what it leaves behind when an import of its own fails
        raise ImportError(
            "`tensorflow-datasets` could not be imported whole; it has printed why. Beside "
            f"TensorFlow 2.18 it needs `pip install 'tensorflow-metadata<1.18'`. {way_out}"
        )
    return tfds


def _tfds_split(name: str, split: str, data_dir: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Return pixels, labels and the number of classes."""
    bundled = BUNDLED_ALTERNATIVES[name]
    way_out = f"{PACKAGES.get(name, '')}Or use the bundled {bundled!r}: "
    tfds = whole_module(name, f"{way_out}`--set problem.source={bundled}`.")
    options = {"split": split, "as_supervised": True, "with_info": True, "data_dir": data_dir}
    try:
        dataset, info = tfds.load(name, download=False, **options)
    except AssertionError:  # TFDS found no copy on this machine.
        _check_network()
        dataset, info = tfds.load(name, download=True, **options)
    images, labels = zip(*tfds.as_numpy(dataset.batch(1000)), strict=True)
    return np.concatenate(images), np.concatenate(labels), info.features["label"].num_classes


def _check_network() -> None:
    """Fail at once without a network: TFDS would retry for minutes."""
    if not urllib.request.getproxies():
        socket.getaddrinfo("www.tensorflow.org", 443)
