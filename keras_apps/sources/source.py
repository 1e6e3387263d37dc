"""The form in which every data set comes: images with normalised channels, and labels."""

from __future__ import annotations

import dataclasses

import numpy as np


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


def normalised(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    description: str,
) -> Source:
    """Return a source whose channels have mean 0 and deviation 1 over the training images."""
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
