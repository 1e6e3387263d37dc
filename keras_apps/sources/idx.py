"""Data sets as idx files, the format of MNIST, which some systems have as a package."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from keras_apps.sources.source import Source, normalised

# Where Debian's package dataset-fashion-mnist puts them.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
PARTS = {"train": "train", "test": "t10k"}
UNSIGNED_BYTES = 8


def folder_of(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder with the files of Fashion-MNIST; None if there is none."""
    for folder in (*([Path(data_dir)] if data_dir is not None else []), FASHION_MNIST):
        if _file(folder, "train-images-idx3-ubyte") is not None:
            return folder
    return None


def fashion_mnist(folder: Path) -> Source:
    """Return Fashion-MNIST from its four files, plain or gzipped.

    Raises:
        FileNotFoundError: A file that is missing.
        ValueError: A file that is not in the format, or does not fit the others.
    """
    digest = hashlib.sha256()
    parts = {}
    for part, prefix in PARTS.items():
        images, labels = (
            _array(folder, f"{prefix}-{name}-ubyte", dimensions, digest)
            for name, dimensions in (("images-idx3", 3), ("labels-idx1", 1))
        )
        if len(images) != len(labels):
            raise ValueError(
                f"The files in {folder} must have a label for each image. Received: "
                f"{len(images)} images and {len(labels)} labels of the part {part!r}. Install the "
                "package dataset-fashion-mnist anew."
            )
        parts[part] = (images[..., None] / np.float32(255), labels)
    train, test = parts["train"], parts["test"]
    return normalised(
        "fashion_mnist",
        train,
        test,
        f"Fashion-MNIST, {len(train[1]):,} images of ten kinds of clothes for training and "
        f"{len(test[1]):,} for testing; SHA-256 of the arrays {digest.hexdigest()[:12]}.",
    )


def _file(folder: Path, name: str) -> Path | None:
    found = (path for path in (folder / name, folder / f"{name}.gz") if path.is_file())
    return next(found, None)


def _array(folder: Path, name: str, dimensions: int, digest: Any) -> np.ndarray:
    """Return an array of bytes: two zeros, type, number of dimensions, the lengths, the values."""
    path = _file(folder, name)
    if path is None:
        raise FileNotFoundError(
            f"The folder {folder} must hold {name} or {name}.gz; it does not. Install the package "
            "dataset-fashion-mnist anew."
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
            "and is damaged. Install the package dataset-fashion-mnist anew."
        )
    digest.update(content)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
