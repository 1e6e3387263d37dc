"""The batches of a training run: how groups are drawn, and what is made of them."""

from __future__ import annotations

from typing import Any

from keras_apps.experiments.optimizer_comparison import Experiment, Run
from keras_apps.experiments.training_problem import Problem
from tf_gradvar.data import cluster_batches


def drawn_batches(
    problem: Problem,
    experiment: Experiment,
    run: Run,
    state: dict[str, Any] | None,
    owned_by: int | None,
) -> Any:
    """Return the groups of a run: of the examples, or of rows from which visits make examples.

    Args:
        problem: With the clusters that the groups are drawn from.
        experiment: Of the run.
        run: What is trained.
        state: Where an interrupted run goes on, or None.
        owned_by: The replicas that own the clusters, or None.
    """
    visits = problem.visits
    return cluster_batches(
        (problem.x, problem.y) if visits is None else visits.examples,
        problem.clusters,
        num_clusters=len(problem.probabilities),
        group_size=experiment.group_size,
        groups_per_batch=run.groups,
        cluster_probabilities=problem.probabilities.tolist(),
        seed=run.seed,
        order=experiment.order,
        run_length=experiment.run_length,
        state=state,
        read_ahead=_read_ahead(run),
        owned_by=owned_by,
    )


def shown_batches(problem: Problem, run: Run, batches: Any) -> Any:
    """Return what the network is shown of drawn batches.

    Args:
        problem: That of the batches.
        run: What is trained.
        batches: What `drawn_batches` returned.
    """
    if problem.visits is None:
        return batches
    from keras_apps.augmentation.pipeline import visited  # on TensorFlow only

    return visited(batches, problem.x, problem.visits, read_ahead=_read_ahead(run))


def _read_ahead(run: Run) -> bool:
    # Clusters that are found anew hold from the next step on.
    return run.optimizer.clusters != "gradients"
