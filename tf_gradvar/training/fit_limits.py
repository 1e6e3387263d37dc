"""Limits of Keras' training methods and of compiling under a strategy, each a sentence."""

from __future__ import annotations

import keras

from tf_gradvar.training.workers import count_workers

_TRAIN = "Train it with `tf_gradvar.training.train_steps`, which also validates."
_EVALUATE = (
    "Pass `validation_data` to `tf_gradvar.training.train_steps`; or evaluate, on each worker or "
    "one, a model made outside of the strategy's scope, after `set_weights(model.get_weights())`."
)


def refuse_several_workers(model: keras.Model, method: str) -> None:
    """Raise if several workers hold a model, which a method of Keras does not run on.

    It takes the mean of metrics over the first axis of scalars. `predict` does run.

    Args:
        model: A compiled model.
        method: "fit", "evaluate", "train_on_batch" or "test_on_batch".

    Raises:
        ValueError: If there are several workers.
    """
    workers = count_workers(model.distribute_strategy)
    if workers > 1:
        raise ValueError(
            f"`{method}` of Keras 3 does not run on several workers. Received: a model under the "
            f"{type(model.distribute_strategy).__name__} of {workers} workers. "
            + (_TRAIN if method in ("fit", "train_on_batch") else _EVALUATE)
        )


def refuse_what_fit_lacks(model: keras.Model) -> None:
    """Raise if Keras' `fit` does not run for a compiled model under its strategy.

    On several logical CPUs TensorFlow does not run a `tf.function` that lies inside a `tf.cond`
    and exchanges something between replicas ("You must feed a value for placeholder"), built
    metrics or not. Keras puts the steps of `steps_per_execution` there.

    Args:
        model: The model that is about to be trained.

    Raises:
        ValueError: If there are several workers, or several CPU replicas and
            `steps_per_execution` above 1 or `jit_compile`.
    """
    refuse_several_workers(model, "fit")
    refuse_compiled_cpu_replicas(model)
    replicas = _count_cpu_replicas(model)
    if replicas > 1 and model.steps_per_execution > 1:
        raise ValueError(
            "`steps_per_execution` above 1 fails in TensorFlow when several logical CPUs are the "
            "replicas, for every Keras model and optimizer. Received: "
            f"steps_per_execution={model.steps_per_execution} with {replicas} CPU replicas. "
            "Compile with steps_per_execution=1 there, or take several steps in one call with "
            "`tf_gradvar.training.train_steps`."
        )


def refuse_compiled_cpu_replicas(model: keras.Model) -> None:
    """Raise if a compiled model asks for XLA on several logical CPUs.

    Args:
        model: The model that is about to be trained.

    Raises:
        ValueError: If `jit_compile` is set and several logical CPUs are the replicas.
    """
    replicas = _count_cpu_replicas(model)
    if replicas > 1 and model.jit_compile:
        raise ValueError(
            "`jit_compile` fails in TensorFlow when several logical CPUs are the replicas, for "
            f"every Keras model and optimizer. Received: jit_compile={model.jit_compile} with "
            f"{replicas} CPU replicas. Compile with jit_compile=False there."
        )


def _count_cpu_replicas(model: keras.Model) -> int:
    """Return the number of CPU replicas; 0 for any other devices."""
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return 0  # the default strategy does not even name its devices
    return strategy.num_replicas_in_sync if "CPU" in strategy.extended.worker_devices[0] else 0
