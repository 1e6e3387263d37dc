r"""Least squares with an optimum of its own in each cluster.

Example i of cluster k is a pair (x_i, y_i) in R^d with

    x_i = (+-sqrt(h_1), ..., +-sqrt(h_d)) with random signs,   y_i = x_i * theta_k + noise * z_i,

and the loss is 1/2 ||x_i * theta - y_i||^2, all products elementwise. Whatever the signs,
x_i^2 = h, so the Hessian of every loss is H = diag(h), and the gradient is a linear function plus
noise that does not depend on theta:

    grad_i(theta) = h (theta - theta_k) - noise * x_i z_i.

With the optimum theta_bar = mean_k theta_k and C groups of b examples, a step's gradient has, in
coordinate j, the noise variance

    within clusters     noise^2 h_j / (C b)
    between clusters    h_j^2 Var_k(theta_kj) / C

and the second vanishes for a control variate whose buffers hold the cluster gradients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

import tf_gradvar
from keras_apps.experiments.discover_theory import predicted_discover_risk
from keras_apps.experiments.least_squares_theory import RULES, predicted_risk
from keras_apps.experiments.training_problem import Predictor, Problem, ProblemDefinition
from keras_apps.models import MODELS


@dataclasses.dataclass(frozen=True)
class ClusteredData:
    """Examples of a clustered least squares problem.

    Attributes:
        x: Inputs [K n, d], float32.
        y: Targets [K n, d], float32.
        clusters: The cluster of each example [K n], int32.
        curvatures: h [d].
        optima: The minimiser of each cluster's examples [K, d], float64. It differs from the
            theta_k that the targets were made from by the mean of the noise.
        noise: Standard deviation of the noise of a target.
    """

    x: np.ndarray
    y: np.ndarray
    clusters: np.ndarray
    curvatures: np.ndarray
    optima: np.ndarray
    noise: float

    def excess_risk(self, theta: np.ndarray) -> float:
        """Return the risk on all the examples above its minimum."""
        # 1/2 sum_j h_j (theta_j - theta_bar_j)^2
        deviation = np.asarray(theta, np.float64) - self.optima.mean(axis=0)
        return float(0.5 * (self.curvatures * deviation**2).sum())

    def noise_within(self, groups: int, group_size: int) -> np.ndarray:
        """Return the variance [d] of a step's gradient from within the clusters."""
        return self.noise**2 * self.curvatures / (groups * group_size)

    def noise_between(self, groups: int) -> np.ndarray:
        """Return the variance [d] of a step's gradient from the choice of the clusters."""
        return self.curvatures**2 * self.optima.var(axis=0) / groups


@keras.saving.register_keras_serializable(package="keras_apps")
def half_squared_error(y: Any, y_pred: Any) -> Any:
    """Return 1/2 ||y_pred - y||^2 of each example, [B]."""
    return 0.5 * keras.ops.sum(keras.ops.square(y_pred - y), axis=-1)


@dataclasses.dataclass(slots=True)
class LeastSquares(ProblemDefinition):
    """Least squares with an optimum of its own in each cluster.

    Attributes:
        num_clusters: K.
        num_features: d.
        examples_per_cluster: A run that takes fewer sees no example twice, so that its noise is
            that of the prediction.
        spread: Standard deviation of the clusters' optima around their mean, in each coordinate;
            the mean itself is drawn with standard deviation 1.
        noise: Standard deviation of the targets' noise, in each coordinate.
        smallest_curvature: The strong convexity. The curvatures go from this to 1, evenly on a
            log scale.
        data_seed: Seed of the data.
    """

    num_clusters: int = 10
    num_features: int = 20
    examples_per_cluster: int = 20_000
    spread: float = 2.0
    noise: float = 0.3
    smallest_curvature: float = 0.2
    data_seed: int = 0

    def data(self) -> ClusteredData:
        """Draw the data."""
        generator = np.random.default_rng(self.data_seed)
        curvatures = np.geomspace(self.smallest_curvature, 1.0, self.num_features)
        centre = generator.normal(size=self.num_features)
        shape = (self.num_clusters, self.num_features)
        sources = centre + self.spread * generator.normal(size=shape)
        clusters = np.repeat(np.arange(self.num_clusters), self.examples_per_cluster)
        signs = generator.choice([-1.0, 1.0], size=(len(clusters), self.num_features))
        x = signs * np.sqrt(curvatures)
        y = x * sources[clusters] + self.noise * generator.normal(size=x.shape)
        by_cluster = (x * y).reshape(
            self.num_clusters, self.examples_per_cluster, self.num_features
        )
        return ClusteredData(
            x=x.astype("float32"),
            y=y.astype("float32"),
            clusters=clusters.astype("int32"),
            curvatures=curvatures,
            optima=by_cluster.mean(axis=1) / curvatures,
            noise=self.noise,
        )

    def build(self) -> Problem:
        """Draw the data."""
        data = self.data()
        return Problem(
            x=data.x,
            y=data.y,
            clusters=data.clusters,
            probabilities=np.full(self.num_clusters, 1 / self.num_clusters),
            build_model=lambda: MODELS["diagonal_linear"](self.num_features),
            loss=half_squared_error,
            evaluate=lambda model: {"excess_risk": data.excess_risk(model.get_weights()[0])},
            score="excess_risk",
            description=(
                f"Least squares in {self.num_features} dimensions; {self.num_clusters} clusters "
                f"of {self.examples_per_cluster:,} examples, each with its own optimum."
            ),
        )

    def predictor(self) -> Predictor:
        """Draw the data, and return the function that predicts runs on them."""
        data = self.data()
        optimum = data.optima.mean(axis=0)

        def predict(
            rule: str,
            arguments: Mapping[str, Any],
            learning_rate: float,
            *,
            groups: int,
            group_size: int,
            steps: int,
        ) -> dict[str, np.ndarray]:
            if rule == "Discover":
                optimizer = tf_gradvar.Discover(learning_rate, self.num_clusters, **arguments)
                risks = predicted_discover_risk(
                    learning_rate,
                    optimizer.alpha,
                    optimizer.gain_value,
                    steps,
                    data.curvatures,
                    data.optima,
                    data.noise_within(1, group_size),
                    groups,
                )
                return {"its buffers included": risks}
            if rule not in RULES:
                return {}
            within = data.noise_within(groups, group_size)
            noises = {
                "within and between clusters": within + data.noise_between(groups),
                "within clusters alone": within,
            }
            return {
                name: predicted_risk(
                    rule, arguments, learning_rate, steps, data.curvatures, optimum, noise
                )
                for name, noise in noises.items()
            }

        return predict
