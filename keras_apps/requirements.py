"""Packages that the apps need in addition to TensorFlow, looked for before anything is trained."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from types import ModuleType

EXTRA = (
    "`pip install '.[apps]'`, in the folder of this project, brings all that the apps use beside "
    "TensorFlow"
)
ON_JAX = "keras_apps.train"


def missing(command: Sequence[str] = (ON_JAX,)) -> str | None:
    """Say what is missing of what every app needs; nothing is imported, so it takes no time.

    Args:
        command: The words of the command line. Defaults to the app that also runs on JAX.

    Returns:
        A sentence; None if nothing is missing.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow" and not (backend == "jax" and ON_JAX in command):
        return (
            f"The apps need the TensorFlow backend of Keras; `{ON_JAX}` also runs on JAX. "
            f"Received: KERAS_BACKEND={backend}. Set KERAS_BACKEND=tensorflow."
        )
    for package in (backend, "matplotlib"):
        if importlib.util.find_spec(package) is None:
            return (
                f"The apps need the package {package}, which is not installed: `pip install "
                f"{package}`. {EXTRA}."
            )
    return None


def imported(module: str, package: str, who: str) -> ModuleType:
    """Import a module, or say how to install its package.

    Args:
        module: Its name.
        package: What to install for it.
        who: What needs it, the beginning of a sentence.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        cause, *_ = str(error).splitlines()
        raise ImportError(
            f"{who} needs the package {package}, which cannot be imported ({cause}): "
            f"`pip install {package}`. {EXTRA}."
        ) from error


def whole_tfds(name: str, way_out: str = "") -> ModuleType:
    """Import `tensorflow_datasets` for a data set, or say what is missing.

    Args:
        name: Of the data set.
        way_out: A sentence on how else to get it, where an import of TFDS itself has failed.
    """
    tfds = imported("tensorflow_datasets", "tensorflow-datasets", f"The data set {name!r}")
    if not hasattr(tfds, "load"):  # what it leaves behind when an import of its own fails
        raise ImportError(
            "`tensorflow-datasets` could not be imported whole; it has printed why. Beside "
            f"TensorFlow 2.18 it needs `pip install 'tensorflow-metadata<1.18'`. {way_out}".rstrip()
        )
    return tfds


def has_tensorboard() -> bool:
    """Return whether TensorFlow can write logs for TensorBoard."""
    if importlib.util.find_spec("tensorflow") is None:
        return False
    try:
        importlib.import_module("tensorboard.summary.v2")
    except ImportError:
        return False
    return True
