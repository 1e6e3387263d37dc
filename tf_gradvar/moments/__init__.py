"""Additive statistics of gradients: sums that are merged, and divided once, at the end.

Two forms, for the two ways in which gradients arrive:

    Sums     n, sum_i ||g_i||^2 by layer, sum_i g_i, sum_i g_i^2: examples, seen a batch at a time
    Moments  n, mean m_j and M2_j = sum_i (g_ij - m_j)^2 of each coordinate j: one at a time

V[g] = (1/n) sum_i ||g_i - m||^2 is the trace of the covariance of one draw. All numbers are NumPy
float64, whatever came in: a mean of squares minus a squared mean would cancel in float32. A result
does not depend on how the data was cut.

Source: Faghri et al. 2020, "A Study of Gradient Variance in Deep Learning", section 4 (average and
normalized variance); Welford 1962, and Chan, Golub and LeVeque 1983 (merging); McCandlish et al.
2018, arXiv:1812.06162, equation 2.9 (noise scale).
"""

from tf_gradvar.moments.layout import Arrays, Layout
from tf_gradvar.moments.quotients import (
    Means,
    mean_squares,
    noise_scale,
    ratio_sums,
    variances,
)
from tf_gradvar.moments.sums import Moments, Sums, added

__all__ = [
    "Arrays",
    "Layout",
    "Means",
    "Moments",
    "Sums",
    "added",
    "mean_squares",
    "noise_scale",
    "ratio_sums",
    "variances",
]
