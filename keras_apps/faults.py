"""What is wrong with a file or a folder, in a sentence for the command line."""

from __future__ import annotations

import errno
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT}
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_FOLDER = {errno.EEXIST, errno.ENOTDIR}


def sentence(error: OSError, workdir: Path) -> str:
    """Say what an error of the operating system means, and what to do about it.

    Args:
        error: The error.
        workdir: Folder of the results.

    Returns:
        One or two sentences.

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
            f"`--workdir` must be a folder that can be written to. Received {workdir}, but "
            f"{place} cannot be written ({error.strerror}). Choose another `--workdir`."
        )
    file = next((path for path in (place, *place.parents) if path.is_file()), place)
    if error.errno in NO_FOLDER:
        return (
            f"`--workdir` must be a folder, or a new name for one. Received {workdir}, but {file} "
            "is a file. Choose another `--workdir`."
        )
    return f"{place} cannot be read or written: {error.strerror}."
