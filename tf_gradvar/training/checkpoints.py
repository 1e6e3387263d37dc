"""Checkpoints of a training loop: weights, optimizer, metrics, and how far the data were read."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import VariableInPieces
from tf_gradvar.training.workers import is_chief, same_everywhere

KEPT = 2


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: Steps taken.
        finished: Whether a callback ended it.
        sampling: State of the sampler after these steps, JSON-plain; None for a dataset that
            has none.
    """

    step: int = 0
    finished: bool = False
    sampling: dict[str, Any] | None = None


class _JsonState(tf.train.experimental.PythonState):
    """A `Progress` that is written with the variables, or not at all."""

    def __init__(self) -> None:
        self.progress = Progress()

    def serialize(self) -> str:
        return json.dumps(dataclasses.asdict(self.progress))

    def deserialize(self, text: str) -> None:
        self.progress = Progress(**json.loads(text))


def _saved_as(variable: keras.Variable) -> Any:
    """Return what saves a variable: of one in pieces, the variable that joins them."""
    return variable if isinstance(variable, VariableInPieces) else variable.value


class Checkpoints:
    """The last two checkpoints of a model, in a folder that all workers read.

    Every worker must call `save`, because some variables are sums over the workers; the chief
    writes into the folder, the others into temporary ones. A process that is killed while it
    writes leaves the checkpoint before as the last.

    Args:
        folder: A folder, made when needed; anything that `tf.io.gfile` can write to.
        model: The model, compiled, with all its variables.

    Cost: room for three checkpoints on the disk.
    """

    def __init__(self, folder: str | os.PathLike[str], model: keras.Model) -> None:
        self.folder = os.fspath(folder)
        self._strategy = model.distribute_strategy
        self._state = _JsonState()
        # By their places: the graph of Keras' objects does not lead to the seeds of layers.
        variables = (model.variables, model.optimizer.variables, model.metrics_variables)
        self._checkpoint = tf.train.Checkpoint(
            variables=[[_saved_as(variable) for variable in part] for part in variables],
            progress=self._state,
        )
        self._elsewhere = None
        if not is_chief(self._strategy):
            self._elsewhere = tempfile.TemporaryDirectory(prefix="worker-")
        self._manager = tf.train.CheckpointManager(
            self._checkpoint,
            self._elsewhere.name if self._elsewhere else self.folder,
            max_to_keep=KEPT,
            checkpoint_name="step",
        )

    def save(self, progress: Progress) -> None:
        """Write a checkpoint.

        Args:
            progress: How far the run has come.
        """
        self._state.progress = progress
        self._manager.save(checkpoint_number=progress.step)

    def restore(self) -> Progress:
        """Load the last checkpoint; without any, nothing is changed.

        Raises:
            ValueError: If it does not fit the model, or the workers do not read the same one.
        """
        last = tf.train.latest_checkpoint(self.folder)
        if last is not None:
            try:
                status = self._checkpoint.restore(last).expect_partial()  # no warnings later on
                status.assert_consumed()
            except (AssertionError, ValueError, tf.errors.OpError) as error:
                raise ValueError(
                    "`checkpoint_dir` must hold checkpoints of this model and optimizer. Received: "
                    f"checkpoint_dir={self.folder!r}, whose last one does not fit "
                    f"({str(error).splitlines()[0][:200]}). Choose another folder, or build the "
                    "model as it was."
                ) from error
        progress = self._state.progress
        if not same_everywhere(self._strategy, progress.step):
            raise ValueError(
                "`checkpoint_dir` must be a folder that all workers read. Received: "
                f"checkpoint_dir={self.folder!r}, where this worker finds step {progress.step} and "
                "others another one. Choose a folder on a file system that they share."
            )
        return progress
