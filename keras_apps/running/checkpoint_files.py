"""Files of one checkpoint: the variables of a model and its optimizer, and how far it got."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_apps.running.faults import of_the_system

HDF5_OVERHEAD = 1 << 16  # bytes

Progress = dict[str, Any]


class CheckpointFiles(Protocol):
    """What writes the files of a checkpoint into a folder, and reads them."""

    def write(self, place: Path, progress: Progress) -> None:
        """Write the variables as they are, and the progress, JSON-plain."""

    def read(self, place: Path) -> Progress:
        """Give the variables their values and return the progress.

        Raises:
            ValueError: Files that do not fit the model.
        """


def files_for(model: keras.Model) -> CheckpointFiles:
    """Return the kind of files for the backend of Keras; each kind needs its own to be read.

    Args:
        model: Built, and compiled with a built optimizer.
    """
    return _TensorFlowFiles(model) if keras.backend.backend() == "tensorflow" else _Hdf5(model)


def check_room(folder: Path, needed: int, file: Path) -> None:
    """Raise unless a disk has room; HDF5 fills the terminal with tracebacks where there is none.

    Args:
        folder: On the disk.
        needed: Bytes.
        file: What is about to be written.

    Raises:
        OSError: A full disk.
    """
    if shutil.disk_usage(folder).free < needed + HDF5_OVERHEAD:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


class _TensorFlowFiles:
    def __init__(self, model: keras.Model) -> None:
        import tensorflow as tf

        class JsonState(tf.train.experimental.PythonState):
            """A JSON-plain value that is written with the variables, or not at all."""

            def __init__(self) -> None:
                self.value: Progress = {}

            def serialize(self) -> str:
                return json.dumps(self.value)

            def deserialize(self, text: str) -> None:
                self.value = json.loads(text)

        self._progress = JsonState()
        self._checkpoint = tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, progress=self._progress
        )
        self._misfits = (AssertionError, ValueError, tf.errors.OpError)

    def write(self, place: Path, progress: Progress) -> None:
        self._progress.value = progress
        with of_the_system(place):
            self._checkpoint.write(str(place / "state"))

    def read(self, place: Path) -> Progress:
        try:
            self._checkpoint.read(str(place / "state")).assert_consumed()
        except self._misfits as error:
            raise ValueError(str(error)) from error
        progress: Progress = self._progress.value
        return progress


class _Hdf5:
    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def write(self, place: Path, progress: Progress) -> None:
        path = place / "state.weights.h5"
        variables = [*self._model.variables, *self._model.optimizer.variables]
        check_room(place, sum(4 * math.prod(v.shape) for v in variables), path)
        self._model.save_weights(path)
        (place / "progress.json").write_text(json.dumps(progress), encoding="utf-8")

    def read(self, place: Path) -> Progress:
        self._model.load_weights(place / "state.weights.h5")
        progress: Progress = json.loads((place / "progress.json").read_text(encoding="utf-8"))
        return progress
