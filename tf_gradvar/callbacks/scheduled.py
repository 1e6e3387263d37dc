"""The common base of callbacks that act at some steps of training."""

from __future__ import annotations

import abc
import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from tf_gradvar.callbacks.log_values import check_name, join_logs
from tf_gradvar.callbacks.schedules import Schedule
from tf_gradvar.callbacks.steps import StepCount, build_from_data, sync_variables
from tf_gradvar.records import RecordFile

# How far beyond the end of a run a step that is due is looked for.
_LOOKED_AT = 1_000_000


class ScheduledCallback(keras.callbacks.Callback, abc.ABC):
    """Acts at the steps that are due, keeps records, and adds their values to the epoch's logs.

    With `steps_per_execution` > 1 it acts at the end of an execution in which a step was due. The
    steps are those of the optimizer, so that a resumed run acts at the same ones.

    Args:
        name: What the keys in the logs begin with.
        due: Functions step -> whether it is due.
        x: Inputs, from which a model is built that its first batch would build.
        path: A file for the records, or None.

    Attributes:
        history: The records.
    """

    acted = "measured"  # for the warning that it has done so with nothing
    separator = "/"  # between the name and the rest of a key

    def __init__(
        self,
        name: str,
        due: Sequence[Schedule],
        x: Any,
        path: str | os.PathLike[str] | None = None,
    ):
        super().__init__()
        self.history: list[dict[str, Any]] = []
        self._name = check_name(name)
        self._due = due
        self._inputs = x
        self._file = None if path is None else RecordFile(path)
        if self._file is not None:
            self._file.check_writable()
        self._epoch = self._first = self._last = 0
        self._unlogged: dict[str, float] = {}

    @abc.abstractmethod
    def act(self, step: int) -> None:
        """Do what is due at a step, and `report` it.

        Args:
            step: The steps that the optimizer has taken; 0 before the first one.
        """

    @abc.abstractmethod
    def missing(self) -> dict[str, float]:
        """Return NaN for every value that `report` may log."""

    def prepare(self) -> None:
        """Get ready when training starts; the model is built."""

    def passed(self, steps: range) -> None:
        """Do what comes before `act` after some steps, whether one is due or not.

        Args:
            steps: Their numbers, one step, or several with `steps_per_execution`.
        """

    def report(self, record: dict[str, Any], values: dict[str, float]) -> None:
        """Keep a record, and its values for the logs of the epoch.

        Args:
            record: JSON-plain, for `history` and the file.
            values: By the rest of their keys in the logs.
        """
        self.history.append(record)
        if self._file is not None:
            self._file.append(record)
        self._unlogged = values

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Count on from the optimizer's steps, and act before the first one if that is due."""
        build_from_data(self.model, self._inputs)
        self._count = StepCount(self.model)
        self._first = self._last = self._count.steps
        self.prepare()
        if self._last == 0 and self._is_due(range(1)):
            self.act(0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch for the records."""
        self._epoch = epoch
        self._count.begin_epoch()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Act if a step is due: of one step, or of several with `steps_per_execution`."""
        steps = range(self._last + 1, self._count.after(batch) + 1)
        self._last = steps.stop - 1
        self.passed(steps)
        if self._is_due(steps):
            sync_variables(self.model)
            self.act(self._last)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch's last values to the logs."""
        if logs is not None:
            # The same keys in every epoch: CSVLogger writes those of the first one.
            join_logs(logs, self._name, self.missing() | self._unlogged, between=self.separator)
        self._unlogged = {}

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn if no step was due."""
        if self.history:
            return
        beyond = range(self._last + 1, self._last + _LOOKED_AT)
        later = next((step for step in beyond if self._is_due(range(step, step + 1))), None)
        after = "none after them is due" if later is None else f"the next that is due is {later}"
        warnings.warn(
            f"`{type(self).__name__}` has {self.acted} nothing: the run took the steps "
            f"{self._first + 1} to {self._last}, none of which is due, and {after}. Let smaller "
            "steps be due, or train longer.",
            stacklevel=2,
        )

    def _is_due(self, steps: range) -> bool:
        return any(due(step) for due in self._due for step in steps)
