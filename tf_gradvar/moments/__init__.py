"""Additive statistics of gradients: what crosses batches, devices and processes.

Two forms, both merged by `merge` and divided once, at the end:

    Moments   n, mean m_j and M2_j = sum_i (g_ij - m_j)^2 of each coordinate j
    NormSums  n, sum_i ||g_i||^2 and sum_i g_i; enough for the variance, at half the memory

V[g] = (1/n) sum_i ||g_i - m||^2 is the trace of the covariance of one draw. All numbers are NumPy
float64, whatever came in: a mean of squares minus a squared mean would cancel in float32. A result
does not depend on how the data was cut.

Source: Faghri et al. 2020, "A Study of Gradient Variance in Deep Learning", section 4 (average and
normalized variance); Chan, Golub and LeVeque 1983 (merging); McCandlish et al. 2018,
arXiv:1812.06162, equation 2.9 (noise scale).
"""

from tf_gradvar.moments.quotients import (
    average_variance,
    noise_scale,
    normalized_variance,
    snr,
    squared_mean_norm,
    variance,
    variances,
)
from tf_gradvar.moments.statistics import AdditiveStatistics, Moments, NormSums, merge

__all__ = [
    "AdditiveStatistics",
    "Moments",
    "NormSums",
    "average_variance",
    "merge",
    "noise_scale",
    "normalized_variance",
    "snr",
    "squared_mean_norm",
    "variance",
    "variances",
]
