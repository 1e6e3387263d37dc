"""The form in which every data set comes: raw pixels, labels, and images normalised by channel."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from tf_gradvar.data.fingerprint import fingerprint

# Images that are worked on at once, so that no copy of a whole set in a wider type is made.
_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set in memory.

    Pixels are what augmentations work on; `x_train` and `x_test` are the same images normalised,
    made when they are first asked for.

    Attributes:
        name: The name it was loaded by.
        pixels_train: Training images [N, height, width, channels], uint8, as they came.
        y_train: Their labels [N], int32, from 0 to `num_classes` - 1.
        pixels_test: Test images, likewise.
        y_test: Their labels.
        largest_pixel: The largest value a pixel can have.
        num_classes: The number of classes.
        description: One or two sentences on where the data come from, how they were split, and
            their fingerprint.
        channel_means: What is subtracted from each channel, after scaling to [0, 1].
        channel_deviations: What each channel is divided by.
        fingerprint: Hash of all pixels and labels, 16 hexadecimal digits.
    """

    name: str
    pixels_train: np.ndarray
    y_train: np.ndarray
    pixels_test: np.ndarray
    y_test: np.ndarray
    largest_pixel: int
    num_classes: int
    description: str
    channel_means: tuple[float, ...]
    channel_deviations: tuple[float, ...]
    fingerprint: str

    @classmethod
    def of(
        cls,
        name: str,
        train: tuple[np.ndarray, np.ndarray],
        test: tuple[np.ndarray, np.ndarray],
        origin: str,
        *,
        largest_pixel: int = 255,
        num_classes: int | None = None,
    ) -> Source:
        """Return a source whose channels have mean 0 and deviation 1 over the training images.

        Args:
            name: What to call it.
            train: Pixels [N, height, width, channels], uint8, and labels [N].
            test: Likewise.
            origin: A sentence on where the data come from.
            largest_pixel: The largest value a pixel can have. Defaults to 255.
            num_classes: Defaults to one more than the largest training label.

        Raises:
            ValueError: A channel in which all training pixels are alike.
        """
        arrays = [np.ascontiguousarray(part[0]) for part in (train, test)]
        labels = [part[1].astype("int32") for part in (train, test)]
        means, deviations = _channel_moments(arrays[0], largest_pixel)
        if min(deviations) == 0:
            raise ValueError(
                f"The training images of {name!r} must differ in every channel. Received: channel "
                f"{deviations.index(0)}, in which all pixels are alike. Leave the channel out."
            )
        found = fingerprint(tuple(arrays), tuple(labels))
        return cls(
            name=name,
            pixels_train=arrays[0],
            y_train=labels[0],
            pixels_test=arrays[1],
            y_test=labels[1],
            largest_pixel=largest_pixel,
            num_classes=int(labels[0].max()) + 1 if num_classes is None else num_classes,
            description=f"{origin} Fingerprint of the data: {found}.",
            channel_means=means,
            channel_deviations=deviations,
            fingerprint=found,
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image: (height, width, channels)."""
        return self.pixels_train.shape[1:]

    @functools.cached_property
    def x_train(self) -> np.ndarray:
        """Training images [N, height, width, channels], float32, normalised."""
        return self._looked_up(self.pixels_train)

    @functools.cached_property
    def x_test(self) -> np.ndarray:
        """Test images, normalised with the training set's means and deviations."""
        return self._looked_up(self.pixels_test)

    def normalised(self, pixels: Any) -> Any:
        """Return pixels normalised; also such as lie between two values, after a mix of images.

        The padding of a crop is done before: a black pixel is not 0 afterwards.

        Args:
            pixels: Array or tensor [..., channels], float32, from 0 to `largest_pixel`.
        """
        means, deviations = (
            np.array(values, "float32") for values in (self.channel_means, self.channel_deviations)
        )
        return (pixels / np.float32(self.largest_pixel) - means) / deviations

    def _looked_up(self, pixels: np.ndarray) -> np.ndarray:
        """Normalise in float64: there are few values, so each is computed once."""
        values = np.arange(self.largest_pixel + 1)[:, np.newaxis] / self.largest_pixel
        table = ((values - self.channel_means) / self.channel_deviations).astype("float32")
        images = np.empty(pixels.shape, np.float32)
        for channel in range(pixels.shape[-1]):
            np.take(table[:, channel], pixels[..., channel], out=images[..., channel], mode="clip")
        return images


def _channel_moments(
    pixels: np.ndarray, largest: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel, in units of the largest pixel: from whole sums."""
    axes = (0, 1, 2)
    sums = squares = np.zeros(pixels.shape[-1], np.int64)
    for start in range(0, len(pixels), _ROWS):
        rows = pixels[start : start + _ROWS].astype(np.int64)
        sums, squares = sums + rows.sum(axes), squares + (rows * rows).sum(axes)
    count = pixels.size // pixels.shape[-1]
    pairs = list(zip(sums.tolist(), squares.tolist(), strict=True))
    variances = [(count * square - total**2) / (count * largest) ** 2 for total, square in pairs]
    means = tuple(total / (count * largest) for total, _ in pairs)
    return means, tuple(float(np.sqrt(variance)) for variance in variances)
