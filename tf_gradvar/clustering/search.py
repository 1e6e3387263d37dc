"""Search for an assignment: its start, its passes and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tf_gradvar.clustering.initial import clusters_of_equal_norm, fill_empty, limit_sizes
from tf_gradvar.clustering.refinement import Refinement


def start_assignments(
    refinement: Refinement,
    given: np.ndarray | None,
    rng: np.random.Generator,
    *,
    by_norm: bool,
) -> np.ndarray:
    """Return the assignments that the first pass improves: K clusters, none empty or too large.

    Args:
        refinement: Knows the gradients, K and the largest size.
        given: Assignments to start from, or None.
        rng: Decides a random start.
        by_norm: Without given ones, whether to start from neighbours in norm, or from a random
            partition of equal sizes (the published code starts from centres of small noise,
            which amounts to that).
    """
    norms, num_clusters = refinement.gradients.squared_norms, refinement.num_clusters
    if given is not None:
        start = given
    elif by_norm:
        start = clusters_of_equal_norm(norms, num_clusters)
    else:
        start = rng.permutation(len(norms)) % num_clusters
    start = fill_empty(start, norms, num_clusters, rng)
    if refinement.max_size is not None:
        start = limit_sizes(start, num_clusters, refinement.max_size, rng)
    return start


def search(
    refinement: Refinement,
    start: np.ndarray,
    rng: np.random.Generator,
    *,
    max_passes: int,
    tolerance: float | None,
    verbose: bool,
) -> tuple[np.ndarray, float, list[float]]:
    """Make passes and keep the best assignment.

    Args:
        refinement: Makes one pass.
        start: Assignments without an empty cluster, `[N]`.
        rng: Decides the order of each pass.
        max_passes: The most passes.
        tolerance: When a pass lowers J by no more than this share, regroup whole clusters, and
            stop if that does not either; None: make all passes.
        verbose: Whether to show a progress bar on a terminal.

    Returns:
        The assignments with the least J, `[N]`, that J, and J after each pass.
    """
    norms, num_clusters = refinement.gradients.squared_norms, refinement.num_clusters
    best = current = start
    least = before = refinement.objective(start)
    objective: list[float] = []
    with _progress(max_passes, verbose) as show:
        while len(objective) < max_passes:
            current = refinement.one_pass(current, rng.permutation(len(start)))
            current = fill_empty(current, norms, num_clusters, rng)
            value = refinement.objective(current)
            if tolerance is not None and _converged(before, value, tolerance):
                current = refinement.regroup(current)
                value = refinement.objective(current)
            objective.append(value)
            show(value)
            if value < least:
                best, least = current, value
            if tolerance is not None and _converged(before, value, tolerance):
                break
            before = value
    return best, least, objective


def _converged(before: float, after: float, tolerance: float) -> bool:
    """Return whether J was lowered by no more than a share of itself."""
    return before - after <= tolerance * before


@contextmanager
def _progress(max_passes: int, verbose: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar with the objective."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, disable=not (verbose and console.is_terminal)) as bar:
        task = bar.add_task("clustering", total=max_passes)

        def show(objective: float) -> None:
            bar.update(task, advance=1, description=f"clustering, objective {objective:.4g}")

        yield show
