"""Data sets of TensorFlow Datasets, downloaded once."""

from __future__ import annotations

import os
import socket
import urllib.request
from typing import Any

import numpy as np

from keras_apps import requirements
from keras_apps.sources.source import Source, normalised

# The bundled set that is closest to each, and needs no network.
BUNDLED_ALTERNATIVES = {"fashion_mnist": "mnist5k", "mnist": "mnist5k", "cifar10": "digits"}
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
        train, test = (_tfds_split(name, split, data_dir) for split in ("train", "test"))
    except OSError as error:
        raise ConnectionError(
            f"The data set {name!r} must be downloaded once, and that failed ({error}). "
            f"{PACKAGES.get(name, '')}Connect to a network, "
            f"or use the bundled {BUNDLED_ALTERNATIVES[name]!r}, which needs none: "
            f"`--set problem.source={BUNDLED_ALTERNATIVES[name]}`."
        ) from error
    return normalised(
        name, train, test, f"{name} of TensorFlow Datasets; its own training and test sets."
    )


def _tfds_split(name: str, split: str, data_dir: Any) -> tuple[np.ndarray, np.ndarray]:
    tfds = requirements.imported(
        "tensorflow_datasets", "tensorflow-datasets", f"The data set {name!r}"
    )
    if not hasattr(tfds, "load"):  # what it leaves behind when an import of its own fails
        raise ImportError(
            "`tensorflow-datasets` could not be imported whole; it has printed why. Beside "
            "TensorFlow 2.18 it needs `pip install 'tensorflow-metadata<1.18'`. "
            f"{PACKAGES.get(name, '')}Or use the bundled {BUNDLED_ALTERNATIVES[name]!r}: "
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
