"""Processes that train an experiment together: they agree on what comes next; the chief writes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any


class Workers:
    """This process alone, or all those of a strategy of `tf.distribute`.

    All workers must call each of the methods, which wait for the others.

    Args:
        strategy: A `MultiWorkerMirroredStrategy`. Defaults to None, this process alone.
    """

    def __init__(self, strategy: Any = None) -> None:
        self._strategy = strategy

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the workdir, and is the one that is heard."""
        if self._strategy is None:
            return True
        from tf_gradvar.training.workers import is_chief

        return is_chief(self._strategy)

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set on any of them."""
        if self._strategy is None:
            return flag
        from tf_gradvar.training.workers import any_worker

        return any_worker(self._strategy, flag)[0]

    def same(self, number: int) -> bool:
        """Return whether all hold the same number."""
        if self._strategy is None:
            return True
        from tf_gradvar.training.workers import same_everywhere

        return same_everywhere(self._strategy, number)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the mean over them of each value, so that what follows from it is the same."""
        if self._strategy is None:
            return dict(values)
        import tensorflow as tf

        sums = self._strategy.reduce("SUM", tf.constant([*values.values(), 1.0], tf.float64), None)
        *totals, count = sums.numpy().tolist()
        return {name: total / count for name, total in zip(values, totals, strict=True)}

    def wait(self) -> None:
        """Wait for the others."""
        self.any(False)

    def naming_the_lost(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which a lost worker is a sentence, a `LostWorkerError`."""
        if self._strategy is None:
            return contextlib.nullcontext()
        from tf_gradvar.training.workers import naming_lost_workers

        return naming_lost_workers(self._strategy)
