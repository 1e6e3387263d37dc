"""Ends before the end: stop requests, lost workers, preemption.

By SIGTERM clouds and schedulers announce that a machine will be taken away.

`tf.distribute.experimental.PreemptionCheckpointHandler` works, too, but ends the process inside the
call that it wraps, with status 42, before callbacks and the reader of the metrics have seen the
steps, and counts calls where the state of a sampler counts batches. Here the loop itself saves, as
at any other checkpoint, and gives out the metrics of an epoch that is over.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, TypeVar

_Stop = TypeVar("_Stop", bound="StopRequest")


class Preempted(SystemExit):
    """Ends a process that was asked to stop, with status 143, after its checkpoint was written.

    What stands behind the training loop is not run, as it would take the model for trained.

    Attributes:
        code: The status of the process, 143 (128 + SIGTERM).
        message: After which step it was stopped, and where the checkpoint is.
    """

    def __init__(self, message: str) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self) -> str:
        return self.message


class LostWorkerError(RuntimeError):
    """Another worker was lost, without which the strategy cannot go on."""


class StopRequest:
    """Notes a signal inside a `with` block instead of ending the process by it.

    Args:
        wanted: Whether to do so; else the signal acts as ever.
        number: That of the signal. Defaults to SIGTERM.

    Attributes:
        requested: Whether the signal came.
    """

    def __init__(self, wanted: bool = True, number: int = signal.SIGTERM) -> None:
        self.requested = False
        self._wanted, self._number = wanted, number
        self._previous: Any = None

    def __enter__(self: _Stop) -> _Stop:
        main = threading.current_thread() is threading.main_thread()  # Python allows no other
        if self._wanted and main:
            self._previous = signal.signal(self._number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(self._number, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
