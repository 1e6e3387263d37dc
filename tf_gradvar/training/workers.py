"""Workers that train together: how many, which is the chief, what they agree on, who writes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_gradvar.records import RecordFile
from tf_gradvar.training.preemption import LostWorkerError

# Where Keras' callbacks keep what they write to: ModelCheckpoint, CSVLogger, TensorBoard.
_PLACES = ("filepath", "filename", "log_dir")
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError)


def count_workers(strategy: tf.distribute.Strategy) -> int:
    """Return how many processes train together."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    return max(1, sum(len(cluster.get(kind, ())) for kind in ("chief", "worker")))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process writes the files: the chief, or else the first worker."""
    if count_workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    if resolver.task_type == "chief":
        return True
    return resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs


def any_worker(strategy: tf.distribute.Strategy, *flags: bool) -> list[bool]:
    """Return for each flag whether it is set on any worker; all workers must call it."""
    if count_workers(strategy) == 1:
        return list(flags)
    counts = strategy.reduce("SUM", tf.constant(flags, tf.float32), axis=None)
    return [bool(count > 0) for count in counts.numpy()]


def same_everywhere(strategy: tf.distribute.Strategy, number: int) -> bool:
    """Return whether all workers hold the same number; all must call it."""
    if count_workers(strategy) == 1:
        return True
    moments = tf.constant([number, number**2], tf.float64)
    sums = strategy.reduce("SUM", moments, axis=None).numpy()
    return bool(np.all(sums == moments.numpy() * count_workers(strategy)))


def write_elsewhere(callbacks: Sequence[Any]) -> None:
    """Let the callbacks of a worker that is not the chief write to a temporary folder.

    Saving needs all workers, as some variables are sums over them, but only one may write a file.
    """
    folder = tempfile.mkdtemp(prefix="worker-")
    for callback in callbacks:
        for attribute in _PLACES:
            place = getattr(callback, attribute, None)
            if isinstance(place, str | os.PathLike):
                setattr(callback, attribute, str(Path(folder) / Path(place).name))
        for name, value in vars(callback).items():
            if isinstance(value, RecordFile):
                setattr(callback, name, RecordFile(Path(folder) / value.path.name))


@contextlib.contextmanager
def naming_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turn the errors of TensorFlow after the loss of a worker into a sentence.

    Raises:
        LostWorkerError: In their place, with several workers.
    """
    try:
        yield
    except _LOST as error:
        workers = count_workers(strategy)
        if workers == 1:
            raise
        raise LostWorkerError(
            f"One of the {workers} workers was lost, and the others cannot go on without it. Start "
            "all of them again with the same command: with `checkpoint_dir` they go on from the "
            f"last checkpoint. (TensorFlow says: {str(error).splitlines()[0]})"
        ) from error
