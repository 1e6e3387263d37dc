"""Values in the logs of Keras, and those of a measurement there and in a printed line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tf_gradvar.estimators.options import MeasuringOptions
from tf_gradvar.estimators.protocol import Estimator
from tf_gradvar.estimators.results import EstimatorVariance

NAME = "gradient_variance"
_LOGGED = ("average_variance", "normalized_variance", "standard_error")


def join_logs(logs: dict[str, Any], name: str, values: Mapping[str, float], *, between: str) -> str:
    """Add values to the logs of an epoch, under names that no other callback has used.

    Where the name is taken, as by another logger in the same `fit`, it is numbered: the order of
    the callbacks is the same in every epoch, and so are the numbers.

    Args:
        logs: What Keras hands from callback to callback.
        name: What all keys begin with.
        values: By the rest of their keys.
        between: What stands between the two.

    Returns:
        The name that was used: `name`, or `name_2` and so on.

    Example:
        >>> logs = {"loss": 0.5}
        >>> for seconds in (3.0, 4.0):
        ...     _ = join_logs(logs, "recluster", {"seconds": seconds}, between="/")
        >>> logs
        {'loss': 0.5, 'recluster/seconds': 3.0, 'recluster_2/seconds': 4.0}
    """
    used, number = name, 1
    while any(f"{used}{between}{key}" in logs for key in values):
        number += 1
        used = f"{name}_{number}"
    logs.update({f"{used}{between}{key}": value for key, value in values.items()})
    return used


def check_name(name: Any) -> str:
    """Return the name of a callback, or raise unless it is a string that is not empty."""
    if not isinstance(name, str) or not name:
        raise ValueError(
            "`name` must be a string that is not empty, the beginning of the keys in Keras' logs. "
            f"Received: name={name!r}."
        )
    return name


def log_values(results: Mapping[str, EstimatorVariance]) -> dict[str, float]:
    """Return the values of a measurement by the ends of their names in the logs."""
    return {
        f"{name}/{value}": getattr(result, value)
        for name, result in results.items()
        for value in _LOGGED
        if getattr(result, value) is not None
    }


def missing_values(estimators: Sequence[Estimator], options: MeasuringOptions) -> dict[str, float]:
    """Return NaN by the same names, for an epoch without a measurement."""
    skipped = {
        "normalized_variance": not options.normalized,
        "standard_error": options.method == "exact",
    }
    return {
        f"{estimator.name}/{value}": float("nan")
        for estimator in estimators
        for value in _LOGGED
        if not skipped.get(value)
    }


def progress_line(step: int, results: Mapping[str, EstimatorVariance], seconds: float) -> str:
    """Return one line: the average variances, the normalized ones in brackets."""
    parts = []
    for name, result in results.items():
        normalized = result.normalized_variance
        bracket = "" if normalized is None else f" ({normalized:.3f})"
        parts.append(f"{name} {result.average_variance:.2e}{bracket}")
    scale = next((r.noise_scale for r in results.values() if r.noise_scale is not None), None)
    noise = "" if scale is None else f"  noise scale {scale:.3g}"
    return f"step {step}  {'  '.join(parts)}{noise}  [{seconds:.1f} s]"
