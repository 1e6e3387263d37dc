"""Checkpoints of a run, from which it continues to bit-identical weights.

The folder of a run holds

    step-00000300/      a checkpoint: complete, or not there at all
        arrays.npz      what the caller keeps beside the model, if anything
        checksums.json  SHA-256 of its other files, by name
    new/                one that is being written
    final.weights.h5    the weights of a finished run

The last two checkpoints are kept: where the last one is damaged, the run continues from the one
before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_apps.running.checkpoint_files import check_room, files_for
from keras_apps.running.workdir import WorkdirError
from tf_gradvar.callbacks.steps import steps_taken

KEPT = 2
CHECKSUMS = "checksums.json"
ARRAYS = "arrays.npz"
FINAL_WEIGHTS = "final.weights.h5"

logger = logging.getLogger(__name__)


class CheckpointFolder:
    """The last checkpoints of one run: weights, optimizer state, steps taken, state of the data.

    Args:
        folder: Of this run alone.
        model: The model, built and compiled with a built optimizer.

    Cost: reading each file once more for its checksum, when it is written and when it is restored;
    room on the disk for three checkpoints.
    """

    def __init__(self, folder: Path, model: keras.Model):
        self._folder = folder
        self._files = files_for(model)

    def save(
        self, step: int, sampling: dict[str, Any], arrays: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Write a checkpoint, unless this step has one.

        Args:
            step: Steps taken.
            sampling: State of the dataset after these steps, JSON-plain.
            arrays: What else `arrays` is to return. Defaults to nothing.
        """
        place = self._place(step)
        if place.exists():
            return
        new = self._folder / "new"
        shutil.rmtree(new, ignore_errors=True)
        try:
            self._write(new, {"step": step, "sampling": sampling}, arrays)
            os.replace(new, place)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            raise
        for old in self._newest_first()[KEPT:]:
            shutil.rmtree(old)

    def restore(self) -> tuple[int, dict[str, Any] | None]:
        """Load the last checkpoint that is whole; damaged ones are deleted, and the log says so.

        Returns:
            Steps taken and the state of the dataset; 0 and None if there is no checkpoint.

        Raises:
            WorkdirError: A whole checkpoint that does not fit the model.
        """
        found = self._newest_first()
        for place in found:
            damage = _damage(place)
            if damage is None:
                progress = self._read(place)
                if place != found[0]:
                    logger.warning("%s continues from %s.", self._folder.name, place.name)
                return progress["step"], progress["sampling"]
            logger.warning("The checkpoint %s is damaged (%s) and is deleted.", place, damage)
            shutil.rmtree(place)
        if found:
            logger.warning("%s has no other checkpoint and starts again.", self._folder.name)
        return 0, None

    def arrays(self, step: int) -> dict[str, np.ndarray] | None:
        """Return the arrays of the checkpoint of a step; None where it was saved without any."""
        path = self._place(step) / ARRAYS
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as content:
            return dict(content)

    def write_final_weights(self, network: keras.Model) -> None:
        """Write the weights to final.weights.h5, without optimizer state.

        The network must not be compiled: that would add the state of its optimizer.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / "new.weights.h5"
        check_room(self._folder, sum(values.nbytes for values in network.get_weights()), new)
        network.save_weights(new)
        os.replace(new, self._folder / FINAL_WEIGHTS)

    def _place(self, step: int) -> Path:
        return self._folder / f"step-{step:08d}"

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), reverse=True)

    def _write(
        self, place: Path, progress: dict[str, Any], arrays: Mapping[str, np.ndarray] | None
    ) -> None:
        place.mkdir(parents=True)
        self._files.write(place, progress)
        if arrays:
            np.savez(place / ARRAYS, allow_pickle=False, **arrays)
        sums = {path.name: _checksum(path) for path in sorted(place.iterdir())}
        (place / CHECKSUMS).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")

    def _read(self, place: Path) -> dict[str, Any]:
        try:
            return self._files.read(place)
        except ValueError as error:
            raise WorkdirError(
                f"The checkpoint {place} must fit the model and the optimizer of its run. It is "
                "whole, but it was written by another version of the code. Delete the folder "
                f"{self._folder}: this run then starts again, and the others stay as they are."
            ) from error


class Checkpointing(keras.callbacks.Callback):
    """Writes a checkpoint after every so many steps, but none at the end of a run.

    It must stand after the callbacks that end `fit` where a run diverges. `state` returns what the
    data need to go on, JSON-plain.
    """

    def __init__(
        self, folder: CheckpointFolder, every: int, steps: int, state: Callable[[], dict[str, Any]]
    ):
        super().__init__()
        self._folder = folder
        self._every = every
        self._steps = steps
        self._state = state

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one if it is due."""
        step = steps_taken(self.model)
        if step % self._every == 0 and step < self._steps and not self.model.stop_training:
            self._folder.save(step, self._state())


def discard(folder: Path, *, keep_weights: bool) -> None:
    """Delete the checkpoints of a finished run, if there still are any."""
    if not keep_weights:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.glob("*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != FINAL_WEIGHTS:
            path.unlink()


def _damage(place: Path) -> str | None:
    """Return what is wrong with a checkpoint, in a few words; None if it is whole."""
    try:
        sums = json.loads((place / CHECKSUMS).read_text(encoding="utf-8"))
        changed = [name for name, known in sums.items() if _checksum(place / name) != known]
        if not sums:
            return f"{CHECKSUMS} names no file"
    except PermissionError:
        raise  # The checkpoint may well be whole.
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return f"changed since it was written: {', '.join(changed)}" if changed else None


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
