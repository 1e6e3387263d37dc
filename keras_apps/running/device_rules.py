"""Rules of what can be trained on which devices, and continued on others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.training_problem import Problem
from keras_apps.running.devices import BACKENDS, Devices
from keras_apps.running.workdir import Workdir, WorkdirError
from tf_gradvar.optimizers.control_variate import find_control_variate
from tf_gradvar.ownership import Ownership


def owns_clusters(optimizer: Any) -> bool:
    """Return whether an optimizer's buffers belong to the replicas, which draw the groups so."""
    variate = find_control_variate(optimizer)
    return variate is not None and variate.buffers == "owned"


def check_devices(experiment: Experiment, devices: Devices) -> None:
    """Raise unless an experiment can be trained on the devices.

    Raises:
        ValueError: Groups that do not divide among the replicas, `jit_compile` on CPU replicas,
            clusters of gradients on several, or measurements that the JAX backend lacks.
    """
    replicas = devices.replicas
    uneven = [groups for groups in experiment.groups_per_batch if groups % replicas]
    if uneven:
        raise ValueError(
            f"`groups_per_batch` must hold multiples of the {replicas} replicas, which share the "
            f"groups of a batch. Received: groups_per_batch={experiment.groups_per_batch}. Choose "
            f"others, like `--set groups_per_batch={replicas}`, or fewer devices."
        )
    if experiment.jit_compile and devices.are_tensorflow_replicas and devices.kind == "CPU":
        raise ValueError(
            "`jit_compile` must be False on several CPU replicas: TensorFlow does not compile "
            f"them. Received: jit_compile=True with {replicas} CPU replicas. Add "
            "`--set jit_compile=false`."
        )
    reclustered = [o.name for o in experiment.optimizers if o.clusters == "gradients"]
    if devices.backend == "jax":
        _check_measurements_of_jax(experiment, reclustered)
    if reclustered and replicas > 1:
        raise ValueError(
            "`clusters` of an optimizer must not be 'gradients' on several replicas, whose batches "
            "are drawn before the step that finds clusters anew. Received: clusters='gradients' "
            f"for {', '.join(reclustered)} with {replicas} replicas. Choose other optimizers with "
            "`--set optimizers=NAME,NAME`, or one device."
        )


def check_owned(optimizer: Any, problem: Problem, order: str, devices: Devices) -> None:
    """Raise unless the replicas can own the clusters of an optimizer that wants them to.

    Args:
        optimizer: A Keras optimizer.
        problem: With the optimizer's clusters.
        order: How the batches are drawn.
        devices: What trains.

    Raises:
        ValueError: Too few clusters, a replica whose clusters have no examples, or another order
            than "random".
    """
    if not owns_clusters(optimizer) or devices.replicas == 1:
        return
    if order != "random":
        raise ValueError(
            "`order` must be 'random' for an optimizer with `buffers='owned'` on several "
            f"replicas, which draw from clusters of their own. Received: order={order!r}."
        )
    ownership = Ownership(len(problem.probabilities), devices.replicas)
    ownership.masses(problem.probabilities.tolist())


def check_continues(workdir: Workdir, devices: Devices, optimizers: Iterable[Any]) -> None:
    """Raise unless the unfinished runs of a workdir can be continued on the devices.

    Batches and weights do not depend on how many replicas share a batch, but for owned clusters.

    Args:
        workdir: Of the experiment.
        devices: What trains.
        optimizers: Those of the experiment.

    Raises:
        WorkdirError: Checkpoints of another backend, or batches of other replicas' clusters.
    """
    before = workdir.devices()
    if before is None or not list(workdir.path.glob("checkpoints/*/step-*")):
        return
    if before["backend"] != devices.backend:
        raise WorkdirError(
            f"The unfinished runs in {workdir.path} must be continued on the backend of Keras that "
            f"they were begun on, {BACKENDS[before['backend']]}. Received: KERAS_BACKEND="
            f"{devices.backend}. Set KERAS_BACKEND={before['backend']}, or choose another "
            "`--workdir`."
        )
    replicas = before["replicas"]
    if replicas != devices.replicas and any(map(owns_clusters, optimizers)):
        raise WorkdirError(
            f"The unfinished runs in {workdir.path} must be continued on as many replicas as they "
            f"were begun on, {replicas}: with `buffers='owned'`, the batches depend on it. "
            f"Received: {devices.replicas}. Pass `--devices {replicas}`, or choose another "
            "`--workdir`."
        )


def _check_measurements_of_jax(experiment: Experiment, reclustered: list[str]) -> None:
    if experiment.gradient_variance is not None:
        raise ValueError(
            "`gradient_variance` must be None on the JAX backend, where gradients of single "
            "examples are not computed yet. Received: a trajectory. Add `--set "
            "gradient_variance=none`, or set KERAS_BACKEND=tensorflow."
        )
    if reclustered:
        raise ValueError(
            "`clusters` of an optimizer must not be 'gradients' on the JAX backend, where "
            "Gradient Clustering does not run yet. Received: clusters='gradients' for "
            f"{', '.join(reclustered)}. Choose others with `--set optimizers=NAME,NAME`, or set "
            "KERAS_BACKEND=tensorflow."
        )
