"""Examples as small pictures, where the inputs are images."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from tf_gradvar.data.examples import Examples

LEAST, MOST = 6, 512


def pictures_of(examples: Examples, indices: Sequence[int]) -> dict[int, bytes]:
    """Return the examples with these numbers as PNG files; none where the inputs are no images.

    Inputs are images if they are one array `[N, height, width]` or `[N, height, width, channels]`
    of 1 or 3 channels. Each is scaled from its least to its largest value.
    """
    numbers = np.unique(np.asarray(indices, np.int64))
    if not len(numbers):
        return {}
    inputs = examples.select(numbers).take(numbers)[0]
    if not _are_images(inputs):
        return {}
    return {
        int(number): png(_as_bytes(image)) for number, image in zip(numbers, inputs, strict=True)
    }


def png(pixels: np.ndarray) -> bytes:
    """Return an image uint8 `[height, width, 1 or 3]` as a PNG file."""
    height, width, channels = pixels.shape
    rows = np.concatenate(
        [np.zeros((height, 1), np.uint8), pixels.reshape(height, width * channels)], axis=1
    )
    kind = 0 if channels == 1 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    checked = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + checked


def _are_images(inputs: object) -> bool:
    if not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "biuf":
        return False
    sides = inputs.shape[1:3]
    channels = inputs.shape[3:] or (1,)
    right = inputs.ndim in (3, 4) and channels[0] in (1, 3)
    return right and all(LEAST <= side <= MOST for side in sides)


def _as_bytes(image: np.ndarray) -> np.ndarray:
    pixels = image.astype(np.float64)
    pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    low, high = float(pixels.min()), float(pixels.max())
    return np.rint(255.0 * (pixels - low) / (high - low or 1.0)).astype(np.uint8)
