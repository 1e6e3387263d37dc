"""Data of the user's own: a .npz file, or a folder with one or with idx files.

A .npz file (`numpy.savez_compressed`) holds x_train, y_train, x_test and y_test; or x and y, which
are split by the seed. Images are raw pixels of type uint8, [N, height, width] or
[N, height, width, channels]; labels are integers from 0, [N] or [N, 1], as those of
`keras.datasets`. Idx files are named as those of MNIST, and may be gzipped:

    train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_apps.sources.idx import PARTS, Part, has_files, read_part
from keras_apps.sources.source import Source
from keras_apps.sources.split import split_source

WHOLE, IN_ONE_PIECE = ("x_train", "y_train", "x_test", "y_test"), ("x", "y")
# So that one of them is kept for testing.
FEWEST_TO_SPLIT = 3
WAY_OUT = "Write it anew, as `keras_apps.sources.own_files` tells."


def own_source(path: Path, seed: int) -> Source:
    """Return the data in a file or folder.

    Args:
        path: Of a .npz file, or of a folder with one or with four idx files.
        seed: Of the split, for data in one piece.

    Raises:
        FileNotFoundError: A folder without such files.
        ValueError: A file that is damaged, or data that are not images with their classes.
    """
    if path.is_dir() and has_files(path):
        parts = [read_part(path, part, WAY_OUT) for part in PARTS]
        train, test = (_checked(path, *part) for part in parts)
        return _source(path, path, train, test)
    file = _npz_file(path)
    arrays = _read(file)
    if all(name in arrays for name in WHOLE):
        pairs = [(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in PARTS]
        train, test = (_checked(file, *pair) for pair in pairs)
        return _source(path, file, train, test)
    if all(name in arrays for name in IN_ONE_PIECE):
        pixels, labels = _checked(file, arrays["x"], arrays["y"])
        _check_classes(file, labels, labels)
        if np.bincount(labels).min() < FEWEST_TO_SPLIT:
            raise ValueError(
                f"Data that are to be split must hold at least {FEWEST_TO_SPLIT} images of each "
                f"class. Received: {np.bincount(labels).min()} of one in {file}. Split them "
                f"yourself, into {', '.join(WHOLE)}."
            )
        return split_source(path.stem, pixels, labels, seed, f"{len(labels):,} images from {file}")
    raise ValueError(
        f"The file {file} must hold the arrays {', '.join(WHOLE)}, or x and y. Received: "
        f"{', '.join(sorted(arrays)) or 'none'}. {WAY_OUT}"
    )


def _source(path: Path, place: Path, train: Part, test: Part) -> Source:
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            f"Training and test images in {place} must have one shape. Received: "
            f"{train[0].shape[1:]} and {test[0].shape[1:]}. {WAY_OUT}"
        )
    _check_classes(place, train[1], test[1])
    counts = f"{len(train[1]):,} images for training and {len(test[1]):,} for testing"
    return Source.of(path.stem, train, test, f"{counts}, from {place}.")


def _npz_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.npz"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise FileNotFoundError(
            f"The folder {path} must hold one .npz file, or idx files named as those of MNIST. "
            f"Received: {names}. Give the path of the file that you mean."
        )
    return found[0]


def _read(file: Path) -> Mapping[str, np.ndarray]:
    """Return all arrays of a file."""
    try:
        with np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"The file {file} must be a .npz file of plain arrays, and is damaged or holds "
            f"something else ({error}). {WAY_OUT}"
        ) from error


def _checked(file: Path, pixels: np.ndarray, labels: np.ndarray) -> Part:
    """Return pixels with channels and labels of one axis."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or not pixels.size:
        raise ValueError(
            f"Images in {file} must be raw pixels of type uint8, [N, height, width] or [N, height, "
            f"width, channels]. Received: {pixels.dtype} of shape {pixels.shape}. {WAY_OUT}"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise ValueError(
            f"Labels in {file} must be one integer for each image. Received: {labels.dtype} of "
            f"shape {labels.shape} for {len(pixels)} images. {WAY_OUT}"
        )
    return (pixels if pixels.ndim == 4 else pixels[..., np.newaxis]), labels


def _check_classes(place: Path, train: np.ndarray, test: np.ndarray) -> None:
    classes = np.unique(train)
    unknown = np.setdiff1d(test, classes)
    if len(classes) < 2 or not np.array_equal(classes, np.arange(len(classes))) or len(unknown):
        raise ValueError(
            f"Labels in {place} must be 0, 1, 2 and so on without gaps, at least two of them, and "
            f"each one among the training examples. Received: {classes[:20].tolist()} there"
            + (f", and {unknown[:20].tolist()} for testing alone" if len(unknown) else "")
            + f". {WAY_OUT}"
        )
