"""Validation inside a training loop, under any strategy."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

BATCH_SIZE = 32  # of arrays, as in Keras


class Validation:
    """Evaluates a model on the same data again and again.

    Args:
        model: A compiled model, with all its variables.
        data: `(x, y)` or `(x, y, sample_weight)`, arrays, which are read in batches of 32; or a
            `tf.data.Dataset` of batches for all replicas together.
        steps: Batches to read, or None for all.

    Raises:
        ValueError: If `data` is something else, or an endless dataset without `steps`.
    """

    def __init__(self, model: keras.Model, data: Any, steps: int | None) -> None:
        self._model, self._steps = model, steps
        dataset = _as_dataset(data)
        if steps is None and dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "`validation_steps` must say how many batches to read of `validation_data` that "
                "have no end. Received: validation_steps=None."
            )
        strategy = model.distribute_strategy
        self._batches = strategy.experimental_distribute_dataset(dataset)

        def step(batch: Any) -> dict[str, Any]:
            strategy.run(model.test_step, args=(batch,))
            return model.get_metrics_result()

        self._step = step
        if not model.run_eagerly:
            self._step = tf.function(step, autograph=False, jit_compile=model.jit_compile)

    def run(self, callbacks: keras.callbacks.CallbackList) -> dict[str, float]:
        """Return the metrics over the data, `val_` before their names; training's are reset."""
        model = self._model
        callbacks.on_test_begin()
        model.reset_metrics()
        for number, batch in enumerate(self._batches):
            if number == self._steps:
                break
            callbacks.on_test_batch_begin(number)
            callbacks.on_test_batch_end(number, self._step(batch))
        result = {name: float(value) for name, value in model.get_metrics_result().items()}
        callbacks.on_test_end(result)
        return {f"val_{name}": value for name, value in result.items()}


def _as_dataset(data: Any) -> tf.data.Dataset:
    if isinstance(data, tf.data.Dataset):
        return data
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ValueError(
            "`validation_data` must be (x, y) or (x, y, sample_weight), or a tf.data.Dataset of "
            f"batches. Received: {type(data).__name__}."
        )
    return tf.data.Dataset.from_tensor_slices(tuple(data)).batch(BATCH_SIZE)
