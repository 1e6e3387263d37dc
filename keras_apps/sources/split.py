"""Split of data that come in one piece into training and test examples."""

from __future__ import annotations

import numpy as np

from keras_apps.sources.source import Source

# The share of each class that is kept for testing.
TEST_FRACTION = 0.2


def split_source(
    name: str,
    pixels: np.ndarray,
    labels: np.ndarray,
    seed: int,
    origin: str,
    largest_pixel: int = 255,
) -> Source:
    """Return a source that keeps the same share of every class for testing, chosen by the seed."""
    generator = np.random.default_rng(seed)
    is_test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        is_test[members[: round(TEST_FRACTION * len(members))]] = True
    return Source.of(
        name,
        (pixels[~is_test], labels[~is_test]),
        (pixels[is_test], labels[is_test]),
        f"{origin}; {np.sum(~is_test):,} for training, {np.sum(is_test):,} for testing "
        f"(stratified, seed {seed}).",
        largest_pixel=largest_pixel,
    )
