"""Build what an experiment needs, and refuse what cannot be run before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.optimizer_rules import optimizer_of
from keras_apps.experiments.search import Candidate, grid
from keras_apps.experiments.training_problem import Problem
from keras_apps.running.device_rules import check_devices, check_owned, owns_clusters
from keras_apps.running.devices import Devices
from keras_apps.running.visit_rules import check_visits


def prepare(experiment: Experiment, devices: Devices) -> Problem:
    """Build the problem of an experiment, and once all that may refuse its arguments.

    Every combination of a search is built, too: a wrong one must not be found hours later.

    Raises:
        ValueError, TypeError: Optimizers that cannot be made, or what the problem or the devices
            do not fit.
    """
    check_devices(experiment, devices)
    problem = experiment.problem.build()
    check_visits(experiment, problem)
    for clustered, optimizer in all_optimizers(experiment, problem):
        check_owned(optimizer, clustered, experiment.order, devices)
        _check_draws(experiment, optimizer, clustered)
    if experiment.gradient_variance is not None:
        from keras_apps.running.trajectory_estimators import ComparedEstimators

        ComparedEstimators(experiment.gradient_variance, problem, experiment.gradient_variance.seed)
    return problem


def all_optimizers(experiment: Experiment, problem: Problem) -> Iterator[tuple[Problem, Any]]:
    """Yield every optimizer with every combination of a search, and the problem it is made for."""
    for optimizer in experiment.optimizers:
        clustered = problem.clustered(optimizer.clusters)
        for candidate in grid(optimizer.search) if optimizer.search else [Candidate(0.1)]:
            rate = experiment.learning_rate_schedule(candidate.learning_rate)
            shares = clustered.probabilities
            yield (
                clustered,
                optimizer_of(optimizer, rate, shares, candidate.arguments, experiment.weight_decay),
            )


def _check_draws(experiment: Experiment, optimizer: Any, problem: Problem) -> None:
    """Raise unless the groups of an optimizer can be drawn as the experiment says."""
    shares = problem.probabilities
    if experiment.order == "cycle" and shares.max() - shares.min() > 1e-6:
        raise ValueError(
            "`order='cycle'` visits every cluster equally often, so the clusters must have equal "
            f"shares of the data. Received: shares from {shares.min():.4g} to {shares.max():.4g}. "
            "Set `order=random`."
        )
    if experiment.run_length > 1 and owns_clusters(optimizer):
        raise ValueError(
            "`run_length` must be 1 for an optimizer with `buffers='owned'`, whose replicas draw "
            f"in turns. Received: run_length={experiment.run_length}. Set `run_length=1`, or take "
            "`buffers='full'`."
        )
