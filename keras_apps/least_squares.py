r"""Least squares with known clusters, and how large its steady risk must be.

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

**Prediction.** All of SGD, QHM and IGT are linear in their state z (in coordinate j: the deviation
delta from the optimum, and the optimizer's averages), z_{t+1} = A_t z_t + a_t xi_t with the noise
xi_t of variance s_j. Hence the second moments M = E[z z'] follow

    M_{t+1} = A_t M_t A_t' + s_j a_t a_t'

and the expected excess risk is 1/2 sum_j h_j E[delta_j^2]. Where A does not change, the steady risk
is that of the fixed point M = A M A' + s a a', for SGD (A = 1 - lr h, a = -lr) in closed form

    lr/2 sum_j s_j / (2 - lr h_j).

IGT's A_t changes with gamma_t, so all the predictions are computed by iterating the recursion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np


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
        """Risk on all the examples above its minimum: 1/2 sum_j h_j (theta_j - theta_bar_j)^2."""
        deviation = np.asarray(theta, np.float64) - self.optima.mean(axis=0)
        return float(0.5 * (self.curvatures * deviation**2).sum())

    def noise_within(self, groups: int, group_size: int) -> np.ndarray:
        """Variance [d] that a step of C groups of b examples has from within the clusters."""
        return self.noise**2 * self.curvatures / (groups * group_size)

    def noise_between(self, groups: int) -> np.ndarray:
        """Variance [d] that a step of C groups has from which clusters they were drawn from."""
        return self.curvatures**2 * self.optima.var(axis=0) / groups


def draw(
    *,
    num_clusters: int,
    num_features: int,
    examples_per_cluster: int,
    spread: float,
    noise: float,
    smallest_curvature: float,
    seed: int,
) -> ClusteredData:
    """Draw a problem as the module's docstring says.

    Args:
        num_clusters: K.
        num_features: d.
        examples_per_cluster: n.
        spread: Standard deviation of theta_k in each coordinate, around a mean that is drawn with
            standard deviation 1.
        noise: Standard deviation of the noise of a target.
        smallest_curvature: The curvatures go from this to 1, evenly on a log scale.
        seed: Of all of it.
    """
    generator = np.random.default_rng(seed)
    curvatures = np.geomspace(smallest_curvature, 1.0, num_features)
    centre = generator.normal(size=num_features)
    sources = centre + spread * generator.normal(size=(num_clusters, num_features))
    clusters = np.repeat(np.arange(num_clusters), examples_per_cluster)
    signs = generator.choice([-1.0, 1.0], size=(len(clusters), num_features))
    x = signs * np.sqrt(curvatures)
    y = x * sources[clusters] + noise * generator.normal(size=x.shape)
    by_cluster = (x * y).reshape(num_clusters, examples_per_cluster, num_features)
    return ClusteredData(
        x=x.astype("float32"),
        y=y.astype("float32"),
        clusters=clusters.astype("int32"),
        curvatures=curvatures,
        optima=by_cluster.mean(axis=1) / curvatures,
        noise=noise,
    )


@keras.saving.register_keras_serializable(package="keras_apps")
def half_squared_error(y: Any, y_pred: Any) -> Any:
    """1/2 ||y_pred - y||^2 of each example, [B]."""
    return 0.5 * keras.ops.sum(keras.ops.square(y_pred - y), axis=-1)


def predicted_risk(
    rule: str,
    arguments: Mapping[str, Any],
    learning_rate: float,
    steps: int,
    data: ClusteredData,
    noise: np.ndarray,
) -> np.ndarray:
    """The expected excess risk over the steps of an optimizer that starts at theta = 0.

    Args:
        rule: "SGD", "QHM" or "IGT".
        arguments: Its `momentum`, `nu` and `tail_fraction`, as far as it has them.
        learning_rate: Constant.
        steps: T.
        data: The problem.
        noise: Variance [d] of the gradient's noise in each coordinate.

    Returns:
        Risks [T + 1], at the start and after each step.
    """
    num_features = len(data.curvatures)
    transition = _TRANSITIONS[rule]
    matrix, gain = transition(1, data.curvatures, learning_rate, **arguments)
    state = np.zeros((num_features, gain.shape[1]))
    state[:, 0] = -data.optima.mean(axis=0)
    if rule == "IGT":  # Before the first step the shifted parameters are the true ones.
        state[:, 1] = state[:, 0]
    moments = state[:, :, None] * state[:, None, :]
    risks = [0.5 * data.curvatures @ moments[:, 0, 0]]
    for step in range(1, steps + 1):
        matrix, gain = transition(step, data.curvatures, learning_rate, **arguments)
        moments = matrix @ moments @ matrix.transpose(0, 2, 1)
        moments += noise[:, None, None] * gain[:, :, None] * gain[:, None, :]
        risks.append(0.5 * data.curvatures @ moments[:, 0, 0])
    return np.array(risks)


def _sgd(step: int, h: np.ndarray, lr: float) -> tuple[np.ndarray, np.ndarray]:
    """State (delta): with g = h delta + xi, delta' = delta - lr g."""
    return (1 - lr * h)[:, None, None], np.full((len(h), 1), -lr)


def _qhm(
    step: int, h: np.ndarray, lr: float, momentum: float, nu: float
) -> tuple[np.ndarray, np.ndarray]:
    """State (delta, m): m' = beta m + (1 - beta) g; delta' = delta - lr ((1 - nu) g + nu m')."""
    of_gradient = -lr * ((1 - nu) + nu * (1 - momentum))
    one = np.ones_like(h)
    matrix = np.stack(
        [
            np.stack([1 + of_gradient * h, -lr * nu * momentum * one], axis=1),
            np.stack([(1 - momentum) * h, momentum * one], axis=1),
        ],
        axis=1,
    )
    return matrix, np.stack([of_gradient * one, (1 - momentum) * one], axis=1)


def _igt(
    step: int, h: np.ndarray, lr: float, momentum: float, tail_fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """State (delta, shifted p, u, m), with g = h p + xi.

    u' = gamma u + (1 - gamma) g;  m' = beta m + u';  delta' = delta - lr m';
    p' = delta' + gamma_next / (1 - gamma_next) (delta' - delta).
    """
    gamma, following = _gamma(step, tail_fraction), _gamma(step + 1, tail_fraction)
    shift = following / (1 - following)
    zero, one = np.zeros_like(h), np.ones_like(h)
    new_u = np.stack([zero, (1 - gamma) * h, gamma * one, zero], axis=1)
    new_m = new_u + np.stack([zero, zero, zero, momentum * one], axis=1)
    delta = np.stack([one, zero, zero, zero], axis=1)
    matrix = np.stack([delta - lr * new_m, delta - lr * (1 + shift) * new_m, new_u, new_m], axis=1)
    of_noise = (1 - gamma) * np.array([-lr, -lr * (1 + shift), 1.0, 1.0])
    return matrix, np.tile(of_noise, (len(h), 1))


def _gamma(step: int, tail_fraction: float) -> float:
    if step == 1:
        return 0.0
    c = 1 / tail_fraction
    past = c * (step - 1)
    return past / (1 + past) * (1 - np.sqrt((1 - c) / (step * (step - 1))) / c)


_TRANSITIONS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "SGD": _sgd,
    "QHM": _qhm,
    "IGT": _igt,
}
