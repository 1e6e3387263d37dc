"""One SGD trajectory, and when gradient estimators are measured along it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(slots=True)
class Trajectory:
    """Plain SGD, at chosen steps of which gradient estimators are measured at the same weights.

    The data are shuffled anew for each epoch, whose last batch is dropped where it is not full.
    The trajectory is trained in stages: each begins with a snapshot for SVRG and a clustering of
    the gradients, and a stopped trajectory continues from the beginning of its stage.

    Attributes:
        learning_rate: Of SGD, constant.
        momentum: Of SGD.
        batch_size: B, of the training and of the estimators; also the number of gradient clusters.
        steps: To take, a multiple of `refresh_every`.
        measure_every: Steps from one measurement to the next. The one at the end of a stage still
            sees the old snapshot and clusters.
        refresh_every: Steps of a stage, a multiple of `measure_every`.
        seed: Of the initial weights, the order of the data and the clustering.
    """

    learning_rate: float = 0.02
    momentum: float = 0.5
    batch_size: int = 128
    steps: int = 1000
    measure_every: int = 50
    refresh_every: int = 250
    seed: int = 0

    def check(self, name: str) -> None:
        """Refuse what cannot be run.

        Args:
            name: What the configuration calls this trajectory.

        Raises:
            ValueError: Fields that do not go together.
        """
        fields = ("batch_size", "steps", "refresh_every", "measure_every")
        received = ", ".join(f"{field}={getattr(self, field)}" for field in fields)
        if min(getattr(self, field) for field in fields) < 1:
            raise ValueError(
                f"In `{name}`, `batch_size`, `steps`, `refresh_every` and `measure_every` must be "
                f"at least 1. Received: {received}."
            )
        if self.steps % self.refresh_every or self.refresh_every % self.measure_every:
            raise ValueError(
                f"In `{name}`, `steps` must be a multiple of `refresh_every`, and that of "
                f"`measure_every`. Received: {received}."
            )
