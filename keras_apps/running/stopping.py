"""Stop at the next safe place after Ctrl-C."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import keras

from keras_apps.running.progress import Display
from tf_gradvar.callbacks.steps import StepCount
from tf_gradvar.training.preemption import StopRequest

# The status of an app that was stopped so, which is what a shell reports.
INTERRUPTED = 130


class Interruption(StopRequest):
    """Turns the first Ctrl-C into a request to stop; the second one stops at once."""

    def __init__(self) -> None:
        super().__init__(number=signal.SIGINT)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        super()._note(number, frame)


class StopOnRequest(keras.callbacks.Callback):
    """Shows the steps that were taken, and ends `fit` after a request to stop."""

    def __init__(self, display: Display, interruption: Interruption):
        super().__init__()
        self._display = display
        self._interruption = interruption

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count from here on."""
        self._count = StepCount(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the step; stop here if that was asked for."""
        self._display.show_step(self._count.after(batch))
        if self._interruption.requested:
            self.model.stop_training = True
