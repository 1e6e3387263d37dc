"""Training sets in which some images are there many times."""

from __future__ import annotations

import numpy as np


def duplicated_rows(examples: int, images: int, copies: int, seed: int) -> np.ndarray:
    """Return the images of a training set with copies, int64 [N + images * copies].

    All images come first, in their order, then the copies of each that was chosen.

    Args:
        examples: N.
        images: How many different ones are chosen to be copied.
        copies: Extra copies of each.
        seed: Of the choice.

    Raises:
        ValueError: More images than there are, or negative numbers.

    Example:
        >>> rows = duplicated_rows(6, images=2, copies=3, seed=0)
        >>> rows[:6], np.bincount(rows).tolist()
        (array([0, 1, 2, 3, 4, 5]), [1, 1, 1, 4, 4, 1])
    """
    if not 0 <= images <= examples or copies < 0:
        raise ValueError(
            f"`duplicated_images` must be from 0 to the number of training examples, {examples}, "
            f"and `copies` at least 0. Received: duplicated_images={images}, copies={copies}."
        )
    chosen = np.random.default_rng(seed).choice(examples, images, replace=False)
    return np.concatenate([np.arange(examples), np.repeat(np.sort(chosen), copies)])
