"""Reading on: the batches of a dataset after those that were taken before a checkpoint."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_gradvar.training.checkpoints import Progress
from tf_gradvar.training.workers import count_workers


class Reading:
    """The batches of a run from a checkpoint on.

    Args:
        dataset: The dataset as it was given to the loop: from the first batch of the run on, or,
            where it has a sampler, made with any earlier state of the run.
        progress: How far the run has come.

    Raises:
        ValueError: If the dataset has another sampler than the checkpoint.
    """

    def __init__(self, dataset: Any, progress: Progress) -> None:
        self._dataset = dataset
        self._taken = progress.step
        if progress.sampling is not None:
            self._taken = _taken(dataset, progress.sampling)
        self._first_step = progress.step - self._taken  # of the first batch in the dataset

    def distributed(self, strategy: tf.distribute.Strategy) -> Any:
        """Return the batches that the run has not taken yet, divided among the replicas.

        With several workers each makes the parts of its own replicas alone, where these are parts
        of the same batches; of any other dataset each worker makes all, and takes its parts.

        Args:
            strategy: That of the model.
        """
        if count_workers(strategy) > 1 and getattr(self._dataset, "divides_exactly", False):
            return strategy.distribute_datasets_from_function(
                lambda context: self._rest_of(self._dataset.for_worker(context))
            )
        return strategy.experimental_distribute_dataset(self._rest_of(self._dataset))

    def _rest_of(self, dataset: Any) -> tf.data.Dataset:
        if not self._taken:
            return dataset
        # `skip` makes the batches and throws them away.
        return getattr(dataset, "after", dataset.skip)(self._taken)

    def state(self, step: int) -> dict[str, Any] | None:
        """Return the state of the sampler at a step, or None if there is no sampler."""
        sampling = getattr(self._dataset, "sampling", None)
        return None if sampling is None else sampling.state(step - self._first_step)


def _taken(dataset: Any, saved: dict[str, Any]) -> int:
    """Return how many batches of a dataset were taken before a state of its sampler."""
    sampling: Any = getattr(dataset, "sampling", None)
    given, taken = None, -1
    if sampling is not None:
        given = sampling.state(0)
        taken = saved["batches_taken"] - given["batches_taken"]
    if taken < 0 or sampling.state(taken)["fingerprint"] != saved["fingerprint"]:
        raise ValueError(
            "`dataset` must draw as before the checkpoint: from the same data and clusters, with "
            f"the same settings and seed. Received: a dataset whose sampler is at {given}, and the "
            f"checkpoint is at {saved}. Make it as it was, with the clusters that were in effect, "
            "or choose another `checkpoint_dir`."
        )
    return taken
