"""Predictions of the excess risk of SGD, QHM and IGT on least squares with a diagonal Hessian.

All of SGD, QHM and IGT are linear in their state z (in coordinate j: the deviation delta from the
optimum, and the optimizer's averages), z_{t+1} = A_t z_t + a_t xi_t with the noise xi_t of variance
s_j. Hence the second moments M = E[z z'] follow

    M_{t+1} = A_t M_t A_t' + s_j a_t a_t'

and the expected excess risk is 1/2 sum_j h_j E[delta_j^2]. Where A does not change, the steady risk
is that of the fixed point M = A M A' + s a a', for SGD (A = 1 - lr h, a = -lr) in closed form

    lr/2 sum_j s_j / (2 - lr h_j).

IGT's A_t changes with gamma_t, so all the predictions are computed by iterating the recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def predicted_risk(
    rule: str,
    arguments: Mapping[str, Any],
    learning_rate: float,
    steps: int,
    curvatures: np.ndarray,
    optimum: np.ndarray,
    noise: np.ndarray,
) -> np.ndarray:
    """Return the expected excess risk over the steps of an optimizer that starts at theta = 0.

    Args:
        rule: "SGD", "QHM" or "IGT".
        arguments: Its `momentum`, `nu` and `tail_fraction`, as far as it has them.
        learning_rate: Constant.
        steps: T.
        curvatures: h [d].
        optimum: Of all the examples, [d].
        noise: Variance of the gradient's noise in each coordinate, [d].

    Returns:
        Risks [T + 1], at the start and after each step.
    """
    transition = RULES[rule]
    _, gain = transition(1, curvatures, learning_rate, **arguments)
    state = np.zeros(gain.shape)
    state[:, 0] = -optimum
    if rule == "IGT":  # Before the first step the shifted parameters are the true ones.
        state[:, 1] = state[:, 0]
    moments = state[:, :, None] * state[:, None, :]
    risks = [0.5 * curvatures @ moments[:, 0, 0]]
    for step in range(1, steps + 1):
        matrix, gain = transition(step, curvatures, learning_rate, **arguments)
        # M' = A M A' + s a a'
        moments = matrix @ moments @ matrix.transpose(0, 2, 1)
        moments += noise[:, None, None] * gain[:, :, None] * gain[:, None, :]
        risks.append(0.5 * curvatures @ moments[:, 0, 0])
    return np.array(risks)


def _sgd(step: int, h: np.ndarray, lr: float) -> tuple[np.ndarray, np.ndarray]:
    """Return A and a for the state (delta): with g = h delta + xi, delta' = delta - lr g."""
    return (1 - lr * h)[:, None, None], np.full((len(h), 1), -lr)


def _qhm(
    step: int, h: np.ndarray, lr: float, momentum: float, nu: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return A and a for the state (delta, m).

    m' = beta m + (1 - beta) g;  delta' = delta - lr ((1 - nu) g + nu m').
    """
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
    """Return A and a for the state (delta, shifted p, u, m), with g = h p + xi.

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
    return float(past / (1 + past) * (1 - np.sqrt((1 - c) / (step * (step - 1))) / c))


RULES: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "SGD": _sgd,
    "QHM": _qhm,
    "IGT": _igt,
}
