"""Strategies: one device, several GPUs or TPU cores, several machines."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from tf_gradvar.arguments import check_choice, check_count, check_number
from tf_gradvar.training.meeting import meet
from tf_gradvar.training.tf_config import EXAMPLE, workers_of

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
# Set where a TPU is at hand: by Cloud and Colab the first two, on TPU machines and by Kaggle the
# others.
TPU_VARIABLES = ("TPU_NAME", "COLAB_TPU_ADDR", "TPU_ACCELERATOR_TYPE", "TPU_WORKER_ID")


def pick_strategy(
    name: str = "auto", *, num_devices: int | None = None, timeout: float = 600.0
) -> tf.distribute.Strategy:
    """Return the strategy for the accelerators of this machine, or of several.

    Create model and optimizer under its `scope()`, and train with `train_steps`, which runs under
    all of them. Call it before any other TensorFlow operation, and once in a process.

    * `"one_device"`: one replica, the default strategy;
    * `"mirrored"`: the GPUs of this machine, or without any its logical CPUs;
    * `"multi_worker"`: the GPUs, or the CPU, of every worker that TF_CONFIG names;
    * `"tpu"`: the cores of a TPU, of this machine or the one that TPU_NAME names;
    * `"auto"`: several workers if TF_CONFIG names them, else a TPU if the environment tells of
      one, else several GPUs or logical CPUs, else one device.

    **Several workers.** Start the same program on every machine, with the same TF_CONFIG but for
    the index of the task. Each waits for all others, and says on stderr, after 2 seconds and then
    every 15, for whom: TensorFlow itself waits in silence.

    Args:
        name: One of the names above. Defaults to "auto".
        num_devices: The GPUs or logical CPUs of this machine to use, the first ones; for
            "mirrored", and for "auto" where it comes to that. Defaults to all.
        timeout: Seconds to wait for the other workers. Defaults to 600.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: An argument that breaks its rule, a TF_CONFIG that does not describe the
            workers, or fewer devices than `num_devices`.
        RuntimeError: If there is no TPU for "tpu", or TensorFlow has run already for
            "multi_worker".
        TimeoutError: If another worker cannot be reached.
        OSError: If the port of this worker is taken.

    Example:
        >>> from tf_gradvar.training import pick_strategy
        >>> pick_strategy("one_device").num_replicas_in_sync
        1

    Cost: that of TensorFlow's start on the devices; with several workers, the wait for the last of
    them.
    """
    check_choice("name", name, STRATEGIES)
    timeout = check_number("timeout", timeout, 0, float("inf"), low_open=True)
    if num_devices is not None:
        num_devices = check_count("num_devices", num_devices, "the devices of this machine to use")
    if name == "auto":
        name = _best(num_devices)
    if num_devices is not None and name != "mirrored" and (name, num_devices) != ("one_device", 1):
        raise ValueError(
            f"`num_devices` counts the devices of the strategy 'mirrored'. Received: "
            f"num_devices={num_devices} for the strategy {name!r}. Leave it out, or pass "
            "name='mirrored'."
        )
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(_devices(num_devices))
    if name == "multi_worker":
        return _multi_worker(timeout)
    return _tpu() if name == "tpu" else tf.distribute.get_strategy()


def _best(num_devices: int | None) -> str:
    """Return the name of the strategy that uses most of what there is."""
    workers = workers_of()
    if workers is not None and len(workers.addresses) > 1:
        return "multi_worker"
    if any(os.environ.get(variable) for variable in TPU_VARIABLES):
        return "tpu"
    if num_devices is None:
        num_devices = len(_all_devices())
    return "mirrored" if num_devices > 1 else "one_device"


def _all_devices() -> list[str]:
    """Return the names of the GPUs, or of the logical CPUs of a machine without any."""
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return [f"{kind}:{i}" for i in range(len(tf.config.list_logical_devices(kind)))]


def _devices(count: int | None) -> list[str]:
    devices = _all_devices()
    if count is not None and count > len(devices):
        raise ValueError(
            "`num_devices` must not exceed the devices of this machine. Received: "
            f"num_devices={count}, and there are {len(devices)}: {', '.join(devices)}. Ask for "
            "fewer, or divide the CPU into logical ones first with "
            "`tf.config.set_logical_device_configuration`."
        )
    return devices[:count]


def _multi_worker(timeout: float) -> tf.distribute.Strategy:
    workers = workers_of()
    if workers is None:
        raise ValueError(
            "The strategy 'multi_worker' needs the environment variable `TF_CONFIG`. Received: "
            f"TF_CONFIG={os.environ.get('TF_CONFIG')!r}. Set it on every worker, with another "
            f"index, like {EXAMPLE}; or use name='mirrored' on one machine."
        )
    meet(workers, timeout)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise RuntimeError(
            "`pick_strategy('multi_worker')` must come before all other TensorFlow operations, "
            "as workers can only join at the start. Received: a process in which TensorFlow has "
            "run already. Call it first, before data and models are made."
        ) from error


def _tpu() -> tf.distribute.Strategy:
    """Return the strategy for the TPU of this machine, or for the one that is named."""
    failures = []
    for place in ("local", _tpu_name()):
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=place)
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
        except (ValueError, OSError, tf.errors.OpError) as error:
            failures.append(f"{place or 'none named'}: {_shorten(error)}")
    raise RuntimeError(
        "The strategy 'tpu' needs a TPU, on this machine or named by the environment variable "
        f"`TPU_NAME`, and a TensorFlow built for it. Received: {'; '.join(failures)}. Choose a TPU "
        "runtime, or use another strategy; where a runtime has JAX alone, use KERAS_BACKEND=jax."
    )


def _tpu_name() -> str:
    """Return the name or address of a TPU elsewhere, or an empty string."""
    address = os.environ.get("COLAB_TPU_ADDR")
    return os.environ.get("TPU_NAME") or (f"grpc://{address}" if address else "")


def _shorten(error: Any) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first if len(first) <= 120 else f"{first[:117]}..."
