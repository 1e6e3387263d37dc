"""Last section of a page: the configuration's own words, and the versions."""

from __future__ import annotations

import importlib
import platform

import keras

from keras_apps.running.configurations import Loaded
from keras_apps.running.devices import BACKENDS
from tf_gradvar.pages import Code, Section, Text


def about(loaded: Loaded, note: str = "") -> Section:
    """Return the last section of a page: the configuration's words, what it took, the versions."""
    versions = (
        f"Configuration {loaded.name}. {note} {_backend()}, Keras "
        f"{keras.__version__}, Python {platform.python_version()}, {platform.machine()}."
    ).replace("  ", " ")
    words = (
        "What the configuration says of itself. Values that it calls measured come from runs of "
        "its authors, not from this one."
    )
    return Section(
        "About this experiment", [Text(words), Code(loaded.text), Text(versions, "note")]
    )


def _backend() -> str:
    name = keras.backend.backend()
    return f"{BACKENDS[name]} {importlib.import_module(name).__version__}"
