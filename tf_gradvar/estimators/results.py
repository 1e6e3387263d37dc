"""The results of a measurement, divided once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_gradvar.moments import Layout, noise_scale


@dataclass(frozen=True)
class LayerVariance:
    """The variance of one gradient estimate, of a layer or of all of them.

    Attributes:
        variance: V, the trace of the covariance, in squared units of the gradient. Those of the
            layers add up to that of the model.
        average_variance: V / d, d being the number of parameters.
        normalized_variance: `(1/d) sum_j Var[e_j] / E[e_j^2]`; None where it was not asked for.
        noise_scale: `V[g_i] / ||m||^2` of single examples, a batch size, the same for every
            estimator; None where draws cannot tell it.
        mean_gradient_norm: `||m||`.
        num_parameters: d.
    """

    variance: float
    average_variance: float
    normalized_variance: float | None
    noise_scale: float | None
    mean_gradient_norm: float
    num_parameters: int

    def to_record(self) -> dict[str, Any]:
        """Return the values by name, as a record holds them; None and empty ones are left out."""
        found: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, dict):
                value = {k: getattr(v, "to_record", lambda v=v: v)() for k, v in value.items()}
            if value is not None and value != ():
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found


@dataclass(frozen=True)
class EstimatorVariance(LayerVariance):
    """The variance of one gradient estimate at one setting of the weights.

    Attributes:
        variance: V, the trace of the covariance, in squared units of the gradient.
        average_variance: V / d, d being the number of parameters.
        normalized_variance: `(1/d) sum_j Var[e_j] / E[e_j^2]`, from 0 to 1; None where it was not
            asked for.
        noise_scale: `V[g_i] / ||m||^2` of single examples, a batch size, the same for every
            estimator; None where draws cannot tell it.
        mean_gradient_norm: `||m||`.
        num_parameters: d.
        method: How it was measured: "exact", "subset", "monte_carlo" or "paper_2020".
        standard_error: Of `average_variance`; None where that is exact, and for estimators
            with `parts` on a subset.
        parts: What is within and between clusters, divided by d, for `DiscoverEstimate` and for
            `Stratified` with random numbers of draws.
        per_layer: Layer name -> `LayerVariance`; None where it was not asked for.
        not_finite_layers: Layers with a gradient that is infinite or not a number.
    """

    method: str = "exact"
    standard_error: float | None = None
    parts: dict[str, float] | None = None
    per_layer: dict[str, LayerVariance] | None = None
    not_finite_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Everything about one estimator, layer by layer, before it is divided.

    Attributes:
        variance: Of one estimate, `[L]`.
        ratios: Sums over the coordinates of Var[e_j] / E[e_j^2], `[L]`; None: not wanted.
        squared_mean: `||m||^2`, `[L]`.
        example_variance: V[g_i], `[L]`; None: unknown.
    """

    variance: np.ndarray
    ratios: np.ndarray | None
    squared_mean: np.ndarray
    example_variance: np.ndarray | None

    def of_layers(self, layout: Layout) -> dict[str, LayerVariance]:
        """Return one result for each layer."""
        return {
            name: LayerVariance(**self._values(np.arange(len(layout.layers)) == place, layout))
            for place, name in enumerate(layout.layers)
        }

    def of_model(
        self, layout: Layout, *, per_layer: bool, finite: np.ndarray, **values: Any
    ) -> EstimatorVariance:
        """Return the result for the whole model; `values` are further attributes of it."""
        everything = np.full(len(layout.layers), True)
        return EstimatorVariance(
            **self._values(everything, layout),
            per_layer=self.of_layers(layout) if per_layer else None,
            not_finite_layers=tuple(np.array(layout.layers)[~finite].tolist()),
            **values,
        )

    def _values(self, chosen: np.ndarray, layout: Layout) -> dict[str, Any]:
        size = int(layout.layer_sizes[chosen].sum())
        variance = float(self.variance[chosen].sum())
        squared_mean = np.maximum(self.squared_mean[chosen].sum(), 0.0)
        examples = self.example_variance
        return {
            "variance": variance,
            "average_variance": variance / size,
            "normalized_variance": (
                None if self.ratios is None else float(self.ratios[chosen].sum() / size)
            ),
            "noise_scale": (
                None if examples is None else noise_scale(examples[chosen].sum(), squared_mean)
            ),
            "mean_gradient_norm": float(np.sqrt(squared_mean)),
            "num_parameters": size,
        }
