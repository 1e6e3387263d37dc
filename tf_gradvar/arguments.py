"""Checks of arguments that several parts share; every message names the way out."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np


def check_count(name: str, value: Any, meaning: str) -> int:
    """Return `value` as an int, or raise unless it is an integer of at least 1."""
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool):
        raise ValueError(
            f"`{name}` must be an integer of at least 1, {meaning}. Received: {name}={value!r}."
        )
    return count


def check_num_clusters(num_clusters: Any) -> int:
    """Return `num_clusters` as an int, or raise unless it is an integer of at least 1."""
    return check_count(
        "num_clusters", num_clusters, "the number of clusters K (cluster ids are 0 to K - 1)"
    )


def check_seed(seed: Any) -> int:
    """Return `seed` as an int, or raise unless it is an integer that fits into 64 bits."""
    if not _is_integer(seed) or not -(2**63) <= seed < 2**63:
        raise ValueError(
            f"`seed` must be an integer of at most 63 bits and a sign. Received: seed={seed!r}."
        )
    return operator.index(seed)


def check_unsigned_seed(seed: Any) -> int:
    """Return `seed` as an int, or raise unless it is an integer of at least 0."""
    if not _is_integer(seed) or seed < 0:
        raise ValueError(f"`seed` must be a non-negative integer. Received: seed={seed!r}.")
    return operator.index(seed)


def check_choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Return the value of an option, or raise unless it is one of those that are known."""
    known = tuple(known)
    if value not in known:
        raise ValueError(f"`{name}` must be one of {known}. Received: {name}={value!r}.")
    return value


def check_batches_taken(batches_taken: Any) -> int:
    """Return the number of batches taken from a dataset as an int, or raise."""
    if not _is_integer(batches_taken) or batches_taken < 0:
        raise ValueError(
            "`batches_taken` must be an integer of at least 0, the batches taken from the "
            f"dataset. Received: batches_taken={batches_taken!r}."
        )
    return operator.index(batches_taken)


def check_number(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """Return `value` as a float, or raise unless it lies in the named interval."""
    interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    inside = (low < number if low_open else low <= number) and (
        number < high if high_open else number <= high
    )
    if not inside:
        raise ValueError(f"`{name}` must be a number in {interval}. Received: {name}={value!r}.")
    return number


def check_probabilities(probabilities: Any, num_clusters: int) -> list[float] | None:
    """Return the cluster probabilities as plain floats; None stands for uniform."""
    if probabilities is None:
        return None
    array = np.asarray(probabilities, dtype=np.float64)
    if array.shape != (num_clusters,):
        raise ValueError(
            "`cluster_probabilities` must hold one probability for each of the "
            f"num_clusters={num_clusters} clusters. Received an array of shape {array.shape}. "
            "Pass None for uniform probabilities."
        )
    if not np.all(array >= 0):
        raise ValueError(
            "`cluster_probabilities` must not be negative. Received: "
            f"{_shorten(array)}. Pass the share of each cluster in the data."
        )
    if abs(array.sum() - 1.0) > 1e-6:
        raise ValueError(
            "`cluster_probabilities` must sum to 1. Received probabilities that sum to "
            f"{array.sum():.9g}. Divide the cluster sizes by their sum."
        )
    return [float(p) for p in array]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _shorten(array: np.ndarray, most: int = 8) -> str:
    shown = ", ".join(f"{p:g}" for p in array[:most])
    return f"[{shown}{', ...' if len(array) > most else ''}]"
