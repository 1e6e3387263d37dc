"""Packages that the apps need beside TensorFlow, looked for before anything is trained."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

EXTRA = (
    "`pip install '.[apps]'`, in the folder of this project, brings all that the apps use beside "
    "TensorFlow"
)


def check() -> None:
    """Refuse to go on without what every app needs. Nothing is imported yet, so it takes no time.

    Raises:
        ImportError: A package that is missing, or another backend of Keras than TensorFlow.
    """
    for package in ("tensorflow", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"The apps need the package {package}, which is not installed: `pip install "
                f"{package}`. {EXTRA}.",
                name=__package__,  # With this name `python -m` shows no traceback.
            )
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise ImportError(
            "The apps need the TensorFlow backend of Keras. Received KERAS_BACKEND="
            f"{backend}. Set KERAS_BACKEND=tensorflow.",
            name=__package__,
        )


def imported(module: str, package: str, who: str) -> ModuleType:
    """Import a module, or say how to install it.

    Args:
        module: Its name.
        package: What to install for it.
        who: What needs it, the beginning of a sentence.

    Returns:
        The module.

    Raises:
        ImportError: It is not installed, or it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        cause, *_ = str(error).splitlines()
        raise ImportError(
            f"{who} needs the package {package}, which cannot be imported ({cause}): "
            f"`pip install {package}`. {EXTRA}."
        ) from error


def has_tensorboard() -> bool:
    """Whether TensorFlow can write logs for TensorBoard."""
    try:
        importlib.import_module("tensorboard.summary.v2")
    except ImportError:
        return False
    return True
