"""Images with a black border, for networks that want larger ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_apps.sources.source import Source


def padded(source: Any, side: int) -> Source:
    """Return a source with a black border that makes its images `side` pixels high and wide.

    Channels keep the means and deviations of the images without the border.

    Args:
        source: The images, in memory.
        side: Pixels.

    Raises:
        ValueError: Images that are larger, or on the disk.

    Example:
        >>> from keras_apps import sources
        >>> padded(sources.load("digits"), 12).input_shape
        (12, 12, 1)
    """
    if not isinstance(source, Source):
        raise ValueError(
            "`padded_to` must be None for images on the disk, which are resized when they are "
            f"read. Received: padded_to={side} for {source.name!r}."
        )
    height, width, _ = source.input_shape
    if side < max(height, width):
        raise ValueError(
            f"`padded_to` must be at least the height and width of the images, {height} and "
            f"{width}. Received: padded_to={side}."
        )
    borders = [(0, 0), *((missing // 2, missing - missing // 2) for missing in
               (side - height, side - width)), (0, 0)]  # fmt: skip
    return dataclasses.replace(
        source,
        pixels_train=np.pad(source.pixels_train, borders),
        pixels_test=np.pad(source.pixels_test, borders),
        description=f"{source.description} Images are padded with black to {side}x{side} pixels.",
    )
