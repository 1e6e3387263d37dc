"""Corrections of rank one for mixed batches: clusters' mean inputs times mean output gradients.

An experiment on `benchmarks.digits_mlp`; `benchmarks.single_example_corrections` says how it ended.
"""

from __future__ import annotations

import numpy as np

from benchmarks.digits_mlp import CLASSES, TRAIN, UNITS, Array, Layers

CLUSTERS, SKETCH_SIZE = 128, 128
ALPHA, FORGETTING = {"labels": 0.1, "gradients": 0.1, "examples": 1.0}, 0.05


def gradient_clusters(layers: Layers, rng: np.random.Generator) -> Array:
    """Return clusters of the examples by k-means on random projections of their gradients."""
    parts = []
    for signal in layers:
        signs = [rng.choice((-1, 1), (s.shape[1], SKETCH_SIZE)).astype("float32") for s in signal]
        parts.append((signal[0] @ signs[0]) * (signal[1] @ signs[1]))
    points = np.hstack(parts)
    squares = (points.astype("float64") ** 2).sum(axis=1)
    centres = points[rng.choice(TRAIN, CLUSTERS, replace=False, p=squares / squares.sum())]
    for _ in range(5):
        clusters = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
        means = _membership(clusters, CLUSTERS) @ points
        present = np.bincount(clusters, minlength=CLUSTERS) > 0
        centres = np.where(present[:, None], means, centres)
    return clusters


def _membership(clusters: Array, number: int) -> Array:
    """Return the matrix [K, B] that takes rows of examples to the means of their clusters."""
    members = (np.arange(number)[:, None] == clusters).astype("float32")
    return members / np.maximum(members.sum(axis=1, keepdims=True), 1)


class Correction:
    """Buffers g^k = c_k d_k^T of a layer's clusters, and gbar = sum_k q_k g^k in full."""

    def __init__(self, clusters: str, y: Array, gain: float = 1.0, learned: bool = False) -> None:
        self.alpha, self.gain, self.learned = ALPHA[clusters], np.float32(gain), learned
        one, each = np.zeros(TRAIN, "int64"), np.arange(TRAIN)
        self.clusters = {"labels": y, "gradients": one, "examples": each}[clusters]
        number = {"labels": CLASSES, "gradients": CLUSTERS, "examples": TRAIN}[clusters]
        shapes = ((785, UNITS), (UNITS + 1, CLASSES))
        self.centres = [tuple(np.zeros((number, s), "float32") for s in shape) for shape in shapes]
        self.averages = [np.zeros(shape, "float32") for shape in shapes]
        self.shares = (np.bincount(self.clusters, minlength=number) / TRAIN).astype("float32")
        self.moments = np.zeros((2, len(shapes)))

    @property
    def scales(self) -> Array:
        """Cov / Var of each layer, in [0, 1], where they are learned."""
        if not self.learned:
            return np.ones(self.moments.shape[1])
        return np.clip(self.moments[0] / np.maximum(self.moments[1], 1e-30), 0, 1)

    def restart(self, clusters: Array, layers: Layers) -> None:
        """Take other clusters, with the means over all their examples in the buffers."""
        means, number = _membership(clusters, len(self.shares)), len(self.shares)
        self.clusters = clusters
        self.shares = (np.bincount(clusters, minlength=number) / TRAIN).astype("float32")
        self.centres = [(means @ inputs, means @ signals) for inputs, signals in layers]
        self.averages = [c.T @ (self.shares[:, None] * d) for c, d in self.centres]

    def __call__(self, layers: Layers, examples: Array) -> list[Array]:
        """Return v of both layers for a batch, and move the buffers of its clusters."""
        present, places = np.unique(self.clusters[examples], return_inverse=True)
        means, size = _membership(places, len(present)), np.float32(len(examples))
        counts = np.bincount(places).astype("float32")[:, None]
        step = np.float32(self.alpha)
        share, corrected = self.shares[present][:, None], []
        for layer, ((a, d), scale) in enumerate(zip(layers, self.scales, strict=True)):
            (c, e), average = (m[present] for m in self.centres[layer]), self.averages[layer]
            if self.learned:
                # v = g - beta h,   h = mean_i g^{k_i} - gbar
                gradient = a.T @ (d / size)
                control = c.T @ (e * counts / size) - average
                corrected.append(gradient - np.float32(scale) * control)
                found = np.vdot(gradient - average, control), np.vdot(control, control)
                self.moments[:, layer] += FORGETTING * (found - self.moments[:, layer])
            else:
                # v = gbar + gain mean_i (g_i - g^{k_i}),   one product (A, -C)^T (D, E)
                left = np.concatenate([a, -c]).T
                v = left @ (np.concatenate([d, e * counts]) * (self.gain / size))
                corrected.append(v + average)
            # c <- c + alpha (mean a - c),   d <- d + alpha (mean d - d),   gbar follows
            new_c, new_e = c + step * (means @ a - c), e + step * (means @ d - e)
            left = np.concatenate([new_c, c]).T
            average += left @ np.concatenate([share * new_e, -share * e])
            self.centres[layer][0][present], self.centres[layer][1][present] = new_c, new_e
        return corrected


def variance_left(layers: Layers, correction: Correction) -> dict[str, float]:
    """Return variances of one example's gradient over the plain one, exact over the data.

    Returns:
        What is left by "buffers" as they are, times their "scaled" best beta or the learned one,
        by "fresh" means c_k d_k^T, and by the "full" means of the clusters' gradients.
    """
    clusters, number = correction.clusters, len(correction.shares)
    left, plain = dict.fromkeys(("buffers", "scaled", "fresh", "full"), 0.0), 0.0
    means = _membership(clusters, number)
    for layer, signal in enumerate(layers):
        a, d = (s.astype("float64") for s in signal)
        mean = a.T @ d / TRAIN
        total = float(((a * a).sum(1) * (d * d).sum(1)).mean() - (mean * mean).sum())
        plain += total
        fresh = (means @ a, means @ d)
        for name, centres in (("buffers", correction.centres[layer]), ("fresh", fresh)):
            c, e = (m[clusters].astype("float64") for m in centres)
            control = c.T @ e / TRAIN
            cov = ((a * c).sum(1) * (d * e).sum(1)).mean() - (mean * control).sum()
            var = ((c * c).sum(1) * (e * e).sum(1)).mean() - (control * control).sum()
            left[name] += total - 2 * cov + var
            if name == "buffers":
                beta = correction.scales[layer]
                beta = beta if correction.learned else np.clip(cov / var, 0, 1)
                left["scaled"] += total - 2 * beta * cov + beta * beta * var
        if number < TRAIN:
            members = [np.flatnonzero(clusters == k) for k in range(number)]
            within = [n * ((a[m].T @ d[m] / n - mean) ** 2).sum() for m in members if (n := len(m))]
            left["full"] += total - sum(within) / TRAIN
    return {name: value / plain for name, value in left.items()}
