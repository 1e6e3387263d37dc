"""The numbers of steps of a training loop."""

from __future__ import annotations

import dataclasses
from typing import Any

from tf_gradvar.arguments import check_count


@dataclasses.dataclass(frozen=True)
class Plan:
    """After how many steps something happens in a training loop.

    Attributes:
        steps: The end.
        steps_per_call: Python runs.
        steps_per_epoch: Metrics are yielded and reset, and validation takes place.
        checkpoint_every: A checkpoint is written.
    """

    steps: int
    steps_per_call: int
    steps_per_epoch: int
    checkpoint_every: int

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return self.steps // self.steps_per_epoch

    @classmethod
    def of(
        cls,
        steps: Any,
        steps_per_call: Any,
        steps_per_epoch: Any = None,
        checkpoint_dir: Any = None,
        checkpoint_every: Any = None,
    ) -> Plan:
        """Return the plan for the arguments of `train_steps`, or raise a ValueError."""
        steps = check_count("steps", steps, "the number of steps")
        call = check_count("steps_per_call", steps_per_call, "the steps between two results")
        _check_multiple("steps", steps, "steps_per_call", call)
        epoch = call
        if steps_per_epoch is not None:
            epoch = check_count("steps_per_epoch", steps_per_epoch, "the steps of an epoch")
            _check_multiple("steps_per_epoch", epoch, "steps_per_call", call)
            _check_multiple("steps", steps, "steps_per_epoch", epoch)
        every = epoch
        if checkpoint_every is not None:
            every = check_count("checkpoint_every", checkpoint_every, "the steps between two")
            _check_multiple("checkpoint_every", every, "steps_per_call", call)
            if checkpoint_dir is None:
                raise ValueError(
                    "`checkpoint_every` needs `checkpoint_dir`, the folder for checkpoints. "
                    f"Received: checkpoint_every={every} and checkpoint_dir=None. Pass both."
                )
        return cls(steps, call, epoch, every)


def _check_multiple(name: str, value: int, of_name: str, of: int) -> None:
    if value % of:
        raise ValueError(
            f"`{name}` must be a multiple of `{of_name}`. Received: {name}={value} and "
            f"{of_name}={of}."
        )
