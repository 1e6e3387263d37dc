"""Refusals of a clustering: examples and limits that cannot be clustered."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from tf_gradvar.arguments import check_number
from tf_gradvar.assignments import check_assignments

NOT_FINITE = ("raise", "exclude")

logger = logging.getLogger(__name__)


def check_max_size_ratio(ratio: float, assignment: str) -> float:
    """Return the ratio, or raise unless it is at least 1 and the rule heeds it."""
    if assignment == "paper":
        raise ValueError(
            "`max_size_ratio` must be None for `assignment='paper'`, a rule without a limit. "
            f"Received: max_size_ratio={ratio!r}. Use `assignment='exact'`."
        )
    return check_number("max_size_ratio", ratio, 1, np.inf)


def check_enough(num_clusters: int, count: int) -> None:
    """Raise if there are fewer examples than clusters."""
    if count < num_clusters:
        raise ValueError(
            "`num_clusters` must be at most the number of examples, so that no cluster is "
            f"empty. Received: num_clusters={num_clusters} for {count} examples."
        )


def check_initial(assignments: Any, count: int, num_clusters: int) -> np.ndarray | None:
    """Return assignments to start from as int64 `[N]`, or raise; None stays None.

    Examples that an earlier clustering left out (-1) start in the first cluster.
    """
    if assignments is None:
        return None
    checked = check_assignments(
        assignments, name="initial_assignments", count=count, num_clusters=num_clusters
    )
    return np.maximum(checked, 0)


def refuse_not_finite(squared_norms: np.ndarray) -> None:
    """Raise and name the examples whose gradients are infinite or not a number."""
    bad = np.flatnonzero(~np.isfinite(squared_norms))
    if len(bad):
        raise ValueError(
            f"The gradients of {len(bad)} of {len(squared_norms)} examples are infinite or not a "
            f"number, of these: {_listed(bad)}. Mend the data or the model, or leave such "
            "examples out with `on_not_finite='exclude'`."
        )


def finite_examples(squared_norms: np.ndarray, on_not_finite: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the examples to cluster, and of those to leave out.

    Raises where `on_not_finite` says so, and where nothing is left to cluster.
    """
    finite = np.isfinite(squared_norms)
    if on_not_finite == "raise" or not finite.any():
        refuse_not_finite(squared_norms)
    _refuse_all_zero(squared_norms[finite])
    left_out = np.flatnonzero(~finite)
    if len(left_out):
        logger.warning(
            "Left out %d examples whose gradients are not finite: %s.",
            len(left_out),
            _listed(left_out),
        )
    return np.flatnonzero(finite), left_out


def _refuse_all_zero(squared_norms: np.ndarray) -> None:
    """Raise if no gradient differs from zero."""
    if not (squared_norms > 0).any():
        raise ValueError(
            "The gradients of the examples must not all be zero: there is nothing to cluster. "
            "Check `loss`, `sample_weight` and the model (a dead or saturated layer)."
        )


def _listed(numbers: np.ndarray, most: int = 10) -> str:
    """Return the first of some numbers, for a message."""
    shown = ", ".join(str(number) for number in numbers[:most])
    return shown + (", ..." if len(numbers) > most else "")
