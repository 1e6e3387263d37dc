"""Checkpoints of a run, from which it continues to bit-identical weights."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


class _JsonState(tf.train.experimental.PythonState):
    """A JSON-plain value that is written with the variables, or not at all."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}

    def serialize(self) -> str:
        return json.dumps(self.value)

    def deserialize(self, text: str) -> None:
        self.value = json.loads(text)


class RunCheckpoint:
    """The last checkpoint of one run: weights, optimizer state, steps taken, state of the data.

    Args:
        folder: Of this run alone.
        model: The model, built and compiled with a built optimizer.
    """

    def __init__(self, folder: Path, model: keras.Model):
        self._folder = folder
        self._progress = _JsonState()
        self._saved_at: int | None = None
        checkpoint = tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, progress=self._progress
        )
        # The new one is written before the old one is deleted.
        self._manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)

    def save(self, step: int, sampling: dict[str, Any]) -> None:
        """Write a checkpoint.

        Args:
            step: Steps taken.
            sampling: State of the dataset after these steps, JSON-plain.
        """
        if self._saved_at != step:  # The manager would delete the file that it overwrites.
            self._progress.value = {"step": step, "sampling": sampling}
            self._manager.save(checkpoint_number=step)
            self._saved_at = step

    def restore(self) -> tuple[int, dict[str, Any] | None]:
        """Load the last checkpoint if there is one.

        Returns:
            Steps taken and the state of the dataset; 0 and None if there is no checkpoint.
        """
        if self._manager.latest_checkpoint is None:
            return 0, None
        self._manager.checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
        self._saved_at = self._progress.value["step"]
        return self._progress.value["step"], self._progress.value["sampling"]

    def write_final_weights(self, network: keras.Model) -> None:
        """Write the weights to final.weights.h5, without optimizer state.

        Args:
            network: The model that was trained, not compiled: a compiled one would add the state
                of its optimizer.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / "new.weights.h5"
        network.save_weights(new)
        os.replace(new, self._folder / "final.weights.h5")

    def discard(self, keep_weights: bool) -> None:
        """Delete the checkpoints of a finished run, and the final weights unless they are kept."""
        if not keep_weights:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        for path in self._folder.iterdir():
            if path.name != "final.weights.h5":
                path.unlink()
