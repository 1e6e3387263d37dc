"""Data sets as idx files, the format of MNIST, which some systems have as a package."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np

from keras_apps.sources.source import Source

# Where Debian's package dataset-fashion-mnist puts them.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
INSTALL_ANEW = "Install the package dataset-fashion-mnist anew."
PARTS = {"train": "train", "test": "t10k"}
UNSIGNED_BYTES = 8

Part = tuple[np.ndarray, np.ndarray]


def folder_of(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder with the files of Fashion-MNIST; None if there is none."""
    for folder in (*([Path(data_dir)] if data_dir is not None else []), FASHION_MNIST):
        if has_files(folder):
            return folder
    return None


def has_files(folder: Path) -> bool:
    """Return whether a folder has training images in the format."""
    return _file(folder, "train-images-idx3-ubyte") is not None


def fashion_mnist(folder: Path) -> Source:
    """Return Fashion-MNIST from its four files, plain or gzipped.

    Raises:
        FileNotFoundError: A file that is missing.
        ValueError: A file that is not in the format, or does not fit the others.
    """
    train, test = (read_part(folder, part, INSTALL_ANEW) for part in PARTS)
    return Source.of(
        "fashion_mnist",
        train,
        test,
        f"Fashion-MNIST, {len(train[1]):,} images of ten kinds of clothes for training and "
        f"{len(test[1]):,} for testing.",
    )


def read_part(folder: Path, part: str, way_out: str) -> Part:
    """Return the pixels [N, height, width, 1] and the labels [N] of "train" or "test".

    Args:
        folder: Holds the files.
        part: Which of them.
        way_out: A sentence on what to do about a file that is missing or damaged.

    Raises:
        FileNotFoundError: A file that is missing.
        ValueError: A file that is not in the format, or does not fit the other.
    """
    images, labels = (
        _array(folder, f"{PARTS[part]}-{name}-ubyte", dimensions, way_out)
        for name, dimensions in (("images-idx3", 3), ("labels-idx1", 1))
    )
    if len(images) != len(labels):
        raise ValueError(
            f"The files in {folder} must have a label for each image. Received: {len(images)} "
            f"images and {len(labels)} labels of the part {part!r}. {way_out}"
        )
    return images[..., None], labels


def _file(folder: Path, name: str) -> Path | None:
    found = (path for path in (folder / name, folder / f"{name}.gz") if path.is_file())
    return next(found, None)


def _array(folder: Path, name: str, dimensions: int, way_out: str) -> np.ndarray:
    """Return an array of bytes: two zeros, type, number of dimensions, the lengths, the values."""
    path = _file(folder, name)
    if path is None:
        raise FileNotFoundError(
            f"The folder {folder} must hold {name} or {name}.gz; it does not. {way_out}"
        )
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        header = struct.unpack_from(f">HBB{dimensions}I", content)
    except (OSError, EOFError, struct.error):
        header = ()
    start = 4 + 4 * dimensions
    shape = header[3:]
    if header[:3] != (0, UNSIGNED_BYTES, dimensions) or len(content) - start != np.prod(shape):
        raise ValueError(
            f"The file {path} must be an idx file of unsigned bytes with {dimensions} dimensions, "
            f"and is damaged. {way_out}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
