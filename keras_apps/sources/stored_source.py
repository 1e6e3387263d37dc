"""Data sets that stay on the disk: labels in memory, images read by their row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class StoredImages:
    """Images on the disk, as JPEG files of unlike sizes, with random access.

    Attributes:
        examples: A sequence of examples {"image": bytes, ...} that takes a list of rows in
            `__getitems__`, as the data sources of TFDS do.
        rows: Which of the examples these are, int64 [N].
        size: Height and width that the images get when they are read.
        channel_means: What is subtracted from each channel, after scaling to [0, 1].
        channel_deviations: What each channel is divided by.
    """

    examples: Any = dataclasses.field(repr=False)
    rows: np.ndarray
    size: int
    channel_means: tuple[float, ...]
    channel_deviations: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of all images as they are read, (N, height, width, channels)."""
        return len(self.rows), self.size, self.size, len(self.channel_means)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: np.ndarray | slice) -> StoredImages:
        """Return some of the images; nothing is read."""
        return dataclasses.replace(self, rows=self.rows[rows])

    def encoded(self, rows: np.ndarray) -> np.ndarray:
        """Return the files of some rows, an object array of bytes, in the order of `rows`."""
        found: Sequence[dict[str, Any]] = self.examples.__getitems__(self.rows[rows].tolist())
        files = np.empty(len(found), object)
        files[:] = [example["image"] for example in found]
        return files


@dataclasses.dataclass(frozen=True)
class StoredSource:
    """A data set on the disk, in the form of a `Source`.

    Attributes:
        name: The name it was loaded by.
        x_train: Training images.
        y_train: Their labels [N], int32, from 0 to `num_classes` - 1.
        x_test: Test images.
        y_test: Their labels.
        num_classes: The number of classes.
        description: One or two sentences on where the data come from, and their fingerprint.
        channel_means: What is subtracted from each channel, after scaling to [0, 1].
        channel_deviations: What each channel is divided by.
        fingerprint: Hash of the version and all labels, 16 hexadecimal digits: the images
            themselves are not read for it.
    """

    name: str
    x_train: StoredImages
    y_train: np.ndarray
    x_test: StoredImages
    y_test: np.ndarray
    num_classes: int
    description: str
    channel_means: tuple[float, ...]
    channel_deviations: tuple[float, ...]
    fingerprint: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image: (height, width, channels)."""
        return self.x_train.shape[1:]
