"""Trials of a sweep for TensorBoard's page of hyperparameters."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_apps import requirements
from keras_apps.experiments.sweep import number_in
from keras_apps.running.faults import of_the_system


def write_hyperparameters(
    folder: Path, rows: Sequence[tuple[str, Mapping[str, str], Mapping[str, float]]]
) -> None:
    """Write a session for each row, in place of those that are there.

    Nothing is written where TensorBoard is not installed.

    Args:
        folder: Of the logs.
        rows: Name, hyperparameters and final values of each.
    """
    if not requirements.has_tensorboard():
        return
    import tensorflow as tf

    hparams = importlib.import_module("tensorboard.plugins.hparams.api")
    with of_the_system(folder):
        shutil.rmtree(folder, ignore_errors=True)
        for name, chosen, values in rows:
            writer = tf.summary.create_file_writer(str(folder / name))
            with writer.as_default(step=0):
                # TensorBoard sorts by numbers.
                plain = {
                    key: text if (number := number_in(text)) is None else number
                    for key, text in chosen.items()
                }
                hparams.hparams(plain, trial_id=name)
                for value, number in values.items():
                    tf.summary.scalar(value, number)
            writer.close()
