"""Sentences for the command line about files, folders and disks that do not work."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import keras

FULL = {errno.ENOSPC, errno.EDQUOT}
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_FOLDER = {errno.EEXIST, errno.ENOTDIR}


def sentence(error: OSError, workdir: Path) -> str:
    """Say what an error of the operating system means, and what to do.

    Example:
        >>> print(sentence(OSError(errno.ENOSPC, "No space left on device"), Path("runs/mine")))
        The disk is full: runs/mine cannot be written. Make room; the same command then continues.
    """
    if error.errno is None:
        return str(error)
    place = Path(str(error.filename or workdir))
    if error.errno in FULL:
        return (
            f"The disk is full: {place} cannot be written. Make room; the same command then "
            "continues."
        )
    if not (place == workdir or workdir in place.parents or place in workdir.parents):
        return f"{place} cannot be used: {error.strerror}."
    if error.errno in NOT_ALLOWED:
        return (
            f"`--workdir` must be a folder that can be written to. Received: {workdir}, "
            f"{_relative(place, workdir)} cannot be written ({error.strerror}). Choose another "
            "`--workdir`."
        )
    file = next((path for path in (place, *place.parents) if path.is_file()), place)
    if error.errno in NO_FOLDER:
        return (
            f"`--workdir` must be a folder, or a new name for one. Received: {workdir}, "
            f"{_relative(file, workdir)} is a file. Choose another `--workdir`."
        )
    return f"{place} cannot be read or written: {error.strerror}."


@contextlib.contextmanager
def of_the_system(place: Path) -> Iterator[None]:
    """Raise TensorFlow's errors in writing a file as the errors of the system that they wrap."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    numbers = {
        tf.errors.ResourceExhaustedError: errno.ENOSPC,
        tf.errors.PermissionDeniedError: errno.EACCES,
    }
    try:
        yield
    except tf.errors.OpError as error:
        number = numbers.get(type(error), errno.EIO)
        raise OSError(number, os.strerror(number), str(place)) from error


def _relative(path: Path, workdir: Path) -> str:
    return "which" if path == workdir else f"but {path}"
