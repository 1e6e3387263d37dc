"""Strategies: one device, several GPUs or TPU cores, and training on any of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.arguments import check_count
from tf_gradvar.keras_internals import build_for_training
from tf_gradvar.optimizers.igt import find_igt
from tf_gradvar.training.cluster_batch import check_made_in_scope
from tf_gradvar.training.cluster_model import ClusterModel


def pick_strategy() -> tf.distribute.Strategy:
    """Return the strategy for the accelerators of this machine.

    TPU cores if the runtime names a TPU, all GPUs if there are several, else the default
    strategy. Create model and optimizer under its `scope()`.

    Returns:
        A `tf.distribute.Strategy`.

    Example:
        >>> from tf_gradvar.training import pick_strategy
        >>> pick_strategy().num_replicas_in_sync >= 1
        True
    """
    if os.environ.get("TPU_NAME") or os.environ.get("COLAB_TPU_ADDR"):
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def train_steps(
    model: keras.Model, dataset: tf.data.Dataset, steps: int, *, steps_per_call: int = 50
) -> Iterator[dict[str, float]]:
    """Train a compiled model without `model.fit`, under any strategy, TPUs included.

    `model.fit` of Keras 3 does not run under every strategy (it fails on several workers);
    a loop of `strategy.run(model.train_step)` does. The steps of a call are one
    `tf.function`, so that the host waits once a call.

    Args:
        model: A compiled `ClusterModel` (or any compiled Keras model), built.
        dataset: Batches for all replicas together, with a static size.
        steps: The number of steps, a multiple of `steps_per_call`.
        steps_per_call: Steps between two results. Defaults to 50.

    Yields:
        The metrics over the steps of each call, by name.

    Raises:
        ValueError: If `steps` is not a positive multiple of `steps_per_call`, or the model was
            made outside the scope of the strategy that trains it.

    Example:
        >>> import keras, numpy as np
        >>> from tf_gradvar import ClusterModel, cluster_batches
        >>> from tf_gradvar.training import train_steps
        >>> x, y = np.eye(4, dtype="float32"), np.array([0, 0, 1, 1])
        >>> model = ClusterModel.from_model(
        ...     keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
        >>> model.compile(keras.optimizers.SGD(0.1),
        ...               keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> batches = cluster_batches((x, y), y, num_clusters=2, group_size=2, seed=0)
        >>> [sorted(m) for m in train_steps(model, batches, 4, steps_per_call=2)]
        [['loss'], ['loss']]
    """
    steps = check_count("steps", steps, "the number of steps")
    per_call = check_count("steps_per_call", steps_per_call, "the steps between two results")
    if steps % per_call:
        raise ValueError(
            f"`steps` must be a multiple of `steps_per_call`. Received: steps={steps} and "
            f"steps_per_call={per_call}."
        )
    strategy = model.distribute_strategy
    if isinstance(model, ClusterModel):
        model.use_sampling_of(dataset)
    check_made_in_scope(model)
    with strategy.scope():  # inside a step, variables of metrics would come too late
        build_for_training(model, dataset.element_spec)
    batches = iter(strategy.experimental_distribute_dataset(dataset))

    @tf.function(autograph=False)
    def call(batches: Any) -> None:
        def step(count: tf.Tensor) -> tuple[tf.Tensor]:
            strategy.run(model.train_step, args=(batches.get_next(),))
            return (count + 1,)

        tf.while_loop(lambda count: count < per_call, step, [tf.constant(0)])

    igt = find_igt(model)
    for _ in range(steps // per_call):
        model.reset_metrics()
        if igt is not None:
            igt.use_shifted_weights()
        call(batches)
        if igt is not None:
            igt.use_true_weights()
        yield {name: float(value) for name, value in model.get_metrics_result().items()}
