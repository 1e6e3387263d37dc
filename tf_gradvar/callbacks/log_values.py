"""What of a measurement joins the logs of Keras, and the line that is printed of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tf_gradvar.estimators.options import MeasuringOptions
from tf_gradvar.estimators.protocol import Estimator
from tf_gradvar.estimators.results import EstimatorVariance

LOG_PREFIX = "gradient_variance"
_LOGGED = ("average_variance", "normalized_variance", "standard_error")


def log_values(results: Mapping[str, EstimatorVariance]) -> dict[str, float]:
    """The values of a measurement by the names of the logs."""
    return {
        f"{LOG_PREFIX}/{name}/{value}": getattr(result, value)
        for name, result in results.items()
        for value in _LOGGED
        if getattr(result, value) is not None
    }


def missing_values(estimators: Sequence[Estimator], options: MeasuringOptions) -> dict[str, float]:
    """NaN by the same names, for an epoch without a measurement."""
    skipped = {
        "normalized_variance": not options.normalized,
        "standard_error": options.method == "exact",
    }
    return {
        f"{LOG_PREFIX}/{estimator.name}/{value}": float("nan")
        for estimator in estimators
        for value in _LOGGED
        if not skipped.get(value)
    }


def progress_line(step: int, results: Mapping[str, EstimatorVariance], seconds: float) -> str:
    """One line: the average variances, the normalized ones in brackets."""
    parts = []
    for name, result in results.items():
        normalized = result.normalized_variance
        bracket = "" if normalized is None else f" ({normalized:.3f})"
        parts.append(f"{name} {result.average_variance:.2e}{bracket}")
    scale = next((r.noise_scale for r in results.values() if r.noise_scale is not None), None)
    noise = "" if scale is None else f"  noise scale {scale:.3g}"
    return f"step {step}  {'  '.join(parts)}{noise}  [{seconds:.1f} s]"
