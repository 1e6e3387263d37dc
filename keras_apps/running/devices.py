"""Devices that the runs of an experiment are trained on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_apps.running.workers import Workers
from tf_gradvar.keras_internals import keeps_batches_in_order

# Of `tf_gradvar.training.pick_strategy`.
STRATEGIES = ("one_device", "mirrored", "multi_worker", "tpu", "auto")
HOST_DEVICES = "--xla_force_host_platform_device_count"
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX"}


@dataclasses.dataclass(frozen=True)
class Devices:
    """One device, or several that share every batch.

    Attributes:
        strategy: "one_device", "mirrored", "multi_worker" or "tpu" of `tf.distribute`, or
            "data_parallel" of `keras.distribution`.
        replicas: How many devices take part.
        kind: "CPU", "GPU" or "TPU".
        scope: Returns the context in which models are made and trained.
        backend: That of Keras.
        workers: The processes that take part.
    """

    strategy: str = "one_device"
    replicas: int = 1
    kind: str = "CPU"
    scope: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    backend: str = dataclasses.field(default_factory=keras.backend.backend)
    workers: Workers = dataclasses.field(default_factory=Workers)

    @property
    def facts(self) -> dict[str, Any]:
        """What records and the workdir tell of them."""
        return {"backend": self.backend, "strategy": self.strategy, "replicas": self.replicas}

    @property
    def are_tensorflow_replicas(self) -> bool:
        """Whether several replicas of `tf.distribute` take part."""
        return self.backend == "tensorflow" and self.replicas > 1


def start(strategy: str | None = None, count: int | None = None) -> Devices:
    """Return the devices that a command line asks for.

    It must come before TensorFlow or JAX has run anything: where there is no accelerator, it
    divides the processor into `count` logical devices.

    Args:
        strategy: One of `STRATEGIES`; on TensorFlow only. Defaults to "one_device", or to
            "mirrored" for several devices.
        count: The devices to use, the first ones. Defaults to all of the strategy; to one on JAX.

    Raises:
        ValueError, RuntimeError: Devices that are not there, or that cannot be used so.
    """
    if count is not None and count < 1:
        raise ValueError(f"`--devices` must be at least 1. Received: --devices {count}.")
    if keras.backend.backend() == "jax":
        return _on_jax(strategy, count or 1)
    if strategy is None:
        strategy = "one_device" if count in (None, 1) else "mirrored"
    return _on_tensorflow(strategy, count)


def trained_on(finished: Iterable[dict[str, Any]]) -> str:
    """Return a sentence about what finished runs were trained on; nothing for one device.

    Args:
        finished: The records of finished runs.
    """
    places = {
        (record["backend"], record["strategy"], record["replicas"])
        for record in finished
        if "backend" in record
    } - {("tensorflow", "one_device", 1)}
    words = [
        f"on {replicas} {'device' if replicas == 1 else 'replicas'} ({strategy}, on "
        f"{BACKENDS[backend]})"
        for backend, strategy, replicas in sorted(places)
    ]
    return f" Runs were trained {' and '.join(words)}." if words else ""


def _on_tensorflow(strategy: str, count: int | None) -> Devices:
    import tensorflow as tf

    from tf_gradvar.training import pick_strategy
    from tf_gradvar.training.tf_config import workers_of

    workers = workers_of() if strategy == "auto" else None
    if strategy == "multi_worker" or (workers is not None and len(workers.addresses) > 1):
        return _of_several_workers(count)
    if strategy == "one_device":
        if count not in (None, 1):
            raise ValueError(
                "`--devices` must be 1 with `--strategy one_device`. Received: --devices "
                f"{count}. Leave `--strategy` out, or pass `mirrored`."
            )
        return Devices()
    if count is not None and not tf.config.list_physical_devices("GPU"):
        _divide_the_cpu(count)
    picked = pick_strategy(strategy, num_devices=count)
    replicas = picked.num_replicas_in_sync
    if isinstance(picked, tf.distribute.TPUStrategy):
        return Devices("tpu", replicas, "TPU", picked.scope)
    if strategy == "auto" and replicas == 1:
        return Devices()
    return Devices("mirrored", replicas, _kind_of(picked), picked.scope)


def _of_several_workers(count: int | None) -> Devices:
    from tf_gradvar.training import pick_strategy
    from tf_gradvar.training.tf_config import workers_of

    if count is not None:
        raise ValueError(
            "`--devices` must be left out with several workers, of which each takes part with all "
            f"that it has. Received: --devices {count}. Leave it out, or pass `--strategy "
            "mirrored` for one worker alone."
        )
    workers = workers_of()
    if workers is not None and len(workers.addresses) == 1:
        raise ValueError(
            "`--strategy multi_worker` needs at least two workers in `TF_CONFIG`. Received: one. "
            "Pass `--strategy mirrored` for one worker."
        )
    picked = pick_strategy("multi_worker")
    kind, replicas = _kind_of(picked), picked.num_replicas_in_sync
    return Devices("multi_worker", replicas, kind, picked.scope, workers=Workers(picked))


def _kind_of(strategy: Any) -> str:
    return "CPU" if "CPU" in strategy.extended.worker_devices[0] else "GPU"


def _divide_the_cpu(count: int) -> None:
    import tensorflow as tf

    cpu, *_ = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        raise RuntimeError(
            "`--devices` must be chosen before TensorFlow has run anything, which divides the "
            f"processor once. Received: --devices {count} in a process in which it has run. Use a "
            "process of its own."
        ) from error


def _divide_the_host(count: int) -> None:
    """Set what JAX reads when it starts; it changes nothing where there is an accelerator."""
    flags = os.environ.get("XLA_FLAGS", "")
    if HOST_DEVICES not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {HOST_DEVICES}={count}".strip()
    # These devices wait for each other in shared threads: with too few they can stop for good.
    os.environ.setdefault("PJRT_NPROC", str(8 * count))


def _on_jax(strategy: str | None, count: int) -> Devices:
    if strategy is not None:
        raise ValueError(
            "`--strategy` is one of `tf.distribute` and needs the TensorFlow backend of Keras. "
            f"Received: --strategy {strategy} with KERAS_BACKEND=jax. Leave it out: `--devices N` "
            "takes N devices."
        )
    if count > 1:
        _divide_the_host(count)
    found = keras.distribution.list_devices()
    kind = found[0].partition(":")[0].upper()
    if len(found) < count:
        raise ValueError(
            f"`--devices` must be at most the devices that JAX has. Received: --devices {count}, "
            f"and there are {len(found)}: {', '.join(found)}. Ask for fewer; processors are "
            f"divided by XLA_FLAGS={HOST_DEVICES}={count}, set before the start."
        )
    if count == 1:
        return Devices(kind=kind)
    if not keeps_batches_in_order():
        raise ValueError(
            "`--devices` must be 1 on JAX before Keras 3.10, which deals the examples of a batch "
            f"to devices in no order. Received: --devices {count} with Keras {keras.__version__}. "
            "Install a newer one, or leave `--devices` out."
        )
    parallel = keras.distribution.DataParallel(devices=found[:count])
    return Devices("data_parallel", count, kind, parallel.scope)
