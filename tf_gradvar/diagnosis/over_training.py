"""`Diagnose`: signal and noise of the gradient while a model trains, on one page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tf_gradvar.arguments import check_count, check_unsigned_seed
from tf_gradvar.callbacks.per_model import PerModel
from tf_gradvar.callbacks.scheduled import ScheduledCallback
from tf_gradvar.callbacks.schedules import Schedule, schedule_of
from tf_gradvar.callbacks.steps import steps_taken
from tf_gradvar.data.examples import as_examples
from tf_gradvar.diagnosis.diagnosing import check_enough
from tf_gradvar.diagnosis.examples_seen import Pass, look
from tf_gradvar.diagnosis.limits import Clock, check_limits
from tf_gradvar.diagnosis.noise import GradientNoise, layer_noise, measure_noise
from tf_gradvar.diagnosis.page_over_training import page_over_training
from tf_gradvar.losses import ModelLoss

EPOCH = "epoch"


class Diagnose(ScheduledCallback):
    r"""Measures signal and noise of the gradient over training, and draws them on one page.

    The gradient noise scale ``V / ||m||^2`` (see `diagnose`) usually grows while a model trains: a
    batch that is large enough in the first epoch is too small in the last. The page shows it with
    its standard error, and which layers make the noise. Measuring changes nothing: the same seed
    with and without this callback gives bit-identical weights.

    The logs of an epoch get `diagnosis/noise_scale`, `diagnosis/signal` and `diagnosis/noise` (NaN
    for an epoch without a measurement).

    Args:
        x: Inputs `[N, ...]` or a structure of them, or a finite dataset of batches.
        y: Labels, likewise; None for a dataset.
        every: "epoch" (default), or steps from one measurement to the next, or a function step ->
            bool, such as `tf_gradvar.callbacks.log_spaced()`.
        path: Of the page, which is written anew after every measurement; the records go beside it,
            with the ending ".jsonl". Defaults to None: `history` alone.
        loss: As for `diagnose`. Defaults to the compiled loss.
        batch_size: B, the examples of a batch in training. Defaults to 32.
        budget: The most examples looked at, each time others: "economy" (default), "business" or
            "full", as for `diagnose`.
        time_limit: Seconds for each measurement. Defaults to None: no limit.
        sample_weight: Weights `[N]` that multiply the losses. Defaults to all one.
        seed: Seed for subsets and sketches. Defaults to 0.
        name: What the keys in the logs begin with. Defaults to "diagnosis".

    Attributes:
        history: Records: `"step"`, `"epoch"`, `"batch_size"`, `"examined"`, `"noise"` with the
            estimates, and `"layers"`.

    Raises:
        ValueError: What `diagnose` refuses of data and options, a `path` that cannot be written;
            when training starts, what `per_example.statistics` refuses.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import tf_gradvar
        >>> keras.utils.set_random_seed(0)
        >>> x = np.eye(8, 4, dtype="float32")
        >>> y = x.sum(axis=1, keepdims=True)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> watch = tf_gradvar.Diagnose(x, y, batch_size=2)
        >>> _ = model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[watch])
        >>> [(record["step"], record["examined"]) for record in watch.history]
        [(4, 8), (8, 8)]

    Source: McCandlish et al. 2018, arXiv:1812.06162.

    Cost: a forward and backward pass over the examples looked at for every measurement, and the
    first one compiles it.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        every: str | int | Schedule = EPOCH,
        path: str | os.PathLike[str] | None = None,
        loss: Any = None,
        batch_size: int = 32,
        budget: str = "economy",
        time_limit: float | None = None,
        sample_weight: Any = None,
        seed: int = 0,
        name: str = "diagnosis",
    ):
        self._by_epoch = every == EPOCH
        if isinstance(every, str) and not self._by_epoch:
            raise ValueError(
                "`every` must be 'epoch', a number of steps, or a function step -> bool. Received: "
                f"every={every!r}."
            )
        due = [] if isinstance(every, str) else [schedule_of("every", every)]
        self._page = None if path is None else Path(path)
        super().__init__(name, due, x, None if path is None else Path(path).with_suffix(".jsonl"))
        check_limits(budget, time_limit)
        self._batch_size = check_count("batch_size", batch_size, "the examples of a batch")
        self._budget, self._time_limit = budget, time_limit
        self._seed = check_unsigned_seed(seed)
        self._examples = as_examples(x, y, sample_weight)
        check_enough(self._examples, batch_size)
        self._pass = PerModel(lambda model: Pass(ModelLoss(model, loss), self._seed), loss)

    def missing(self) -> dict[str, float]:
        """Return NaN for every value in the logs."""
        return dict.fromkeys(("noise_scale", "signal", "noise"), float("nan"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure if epochs are due, and add the last measurement to the logs."""
        if self._by_epoch:
            self.act(steps_taken(self.model))
        super().on_epoch_end(epoch, logs)

    def act(self, step: int) -> None:
        """Measure, record it, and write the page."""
        one_pass = self._pass(self.model)
        seen = look(
            one_pass.loss,
            self._examples,
            budget=self._budget,
            clock=Clock(self._time_limit),
            seed=self._seed + step,
            one_pass=one_pass,
        )
        noise = measure_noise(seen, self._batch_size)
        record = {
            "step": step,
            "epoch": self._epoch,
            "batch_size": self._batch_size,
            "examined": len(seen.indices),
            "noise": _plain(noise),
            "layers": [vars(layer) for layer in layer_noise(seen, self._batch_size)],
        }
        values = {
            "noise_scale": noise.noise_scale.value,
            "signal": noise.signal.value,
            "noise": noise.noise.value,
        }
        self.report(record, values)
        if self._page is not None:
            page = page_over_training(self.history, self.model.name)
            self._page.write_text(page, encoding="utf-8")


def _plain(noise: GradientNoise) -> dict[str, Any]:
    estimates = ("signal", "noise", "noise_scale", "batch_variance")
    found: dict[str, Any] = {name: vars(getattr(noise, name)) for name in estimates}
    return found | {"normalized_variance": noise.normalized_variance}
