"""Callbacks that measure the clusters of a run, or find them anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_apps.experiments.optimizer_comparison import Experiment, GradientClusters, Run
from keras_apps.experiments.training_problem import Problem
from keras_apps.running.carried_buffer_values import CarriedBufferValues
from tf_gradvar.callbacks import BetweenClusterVariance, Recluster
from tf_gradvar.callbacks import between_cluster_variance as between
from tf_gradvar.callbacks import recluster as reclustering


def variance_callbacks(
    run: Run, experiment: Experiment, problem: Problem
) -> list[keras.callbacks.Callback]:
    """Return what measures the between-cluster variance of a run, if that is asked for."""
    if run.tunes or not run.optimizer.measures_variance:
        return []
    data = problem.x, problem.y, problem.clusters, len(problem.probabilities), problem.probabilities
    options: dict[str, Any] = {
        "every": experiment.evaluate_every,
        "examples_per_cluster": experiment.variance_examples,
    }
    if run.optimizer.carries_buffers:
        return [CarriedBufferValues(*data, groups=run.groups, **options)]
    return [BetweenClusterVariance(*data, **options)]


def recluster_callback(
    run: Run,
    experiment: Experiment,
    problem: Problem,
    batches: Any,
    listeners: list[keras.callbacks.Callback],
    found: Sequence[int] | None,
) -> Recluster:
    """Return what finds clusters of gradients again and again.

    It tells the sampler `batches` and the `listeners`, and starts from the clusters `found` [N]
    of a stopped run, if there are any.
    """
    from tf_gradvar.clustering import GradientClustering  # on TensorFlow only

    settings = experiment.gradient_clusters or GradientClusters()
    clustering = GradientClustering(
        len(problem.probabilities),
        seed=run.seed,
        sketch_size=settings.sketch_size,
        max_passes=settings.max_passes,
        max_size_ratio=settings.max_size_ratio,
        verbose=False,
    )
    return Recluster(
        clustering,
        problem.x,
        problem.y,
        every=settings.every,
        dataset=batches,
        estimators=listeners,
        buffers=settings.buffers,
        initial_assignments=found,
    )


def measured_values(logs: Mapping[str, float]) -> dict[str, float]:
    """Return what these callbacks put into the logs of an epoch, by the names of the records."""
    return {
        name.replace("/", "_"): value
        for name, value in logs.items()
        if name.startswith((between.LOG_PREFIX, reclustering.LOG_PREFIX)) and not math.isnan(value)
    }
