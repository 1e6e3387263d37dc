"""The Discover family in float64 NumPy, one group and one variable at a time.

Written from the papers: Discover (Section 4, Eq. 4), Ma and Yarats 2018, Arnold et al. 2019,
and the pseudo-code of Keras for SGD and Adam. Imports nothing of the package.
"""

import numpy as np


class PlainMean:
    """The mean over the examples of all groups, which a plain optimizer steps with."""

    def correct(self, groups, clusters, sizes=None):
        sizes = np.ones(len(clusters)) if sizes is None else np.asarray(sizes, float)
        total = sizes.sum()
        return [
            None if g is None else sum(n * g[c] for c, n in enumerate(sizes)) / total
            for g in groups
        ]


class ControlVariate:
    """(1 - scale) mean_c G_c + scale v_t, v_t = gbar + gain mean_c (G_c - g^{k_c}).

    The buffers g^k are one dictionary a variable. A scale of "auto" is Cov / Var in [0, 1] of
    the past steps for each variable, by moving averages that forget with alpha.

    Groups that are not finite in any variable, of an unknown cluster or of size 0 are left out.
    Buffers are kept as `rounded` returns them.
    """

    def __init__(self, shapes, num_clusters, alpha, probabilities=None, rounded=lambda b: b,
                 gain=1.0, scale=1.0):  # fmt: skip
        self.alpha = alpha
        self.gain = alpha if gain == "alpha" else gain
        self.scale = scale
        self.products = [[0.0, 0.0] for _ in shapes]
        self.rounded = rounded
        self.q = [1.0 / num_clusters] * num_clusters if probabilities is None else probabilities
        self.buffers = [{k: np.zeros(s) for k in range(num_clusters)} for s in shapes]
        self.skipped = 0

    def average(self, i):
        return sum(q * self.buffers[i][k] for k, q in enumerate(self.q))

    def correct(self, groups, clusters, sizes=None):
        sizes = np.ones(len(clusters)) if sizes is None else np.asarray(sizes, float)
        kept = []
        for c, k in enumerate(clusters):
            finite = all(np.isfinite(g[c]).all() for g in groups if g is not None)
            if sizes[c] > 0 and finite and 0 <= k < len(self.q):
                kept.append(c)
            elif sizes[c] > 0:
                self.skipped += 1
        return [None if g is None else self._one(i, g, clusters, sizes, kept)
                for i, g in enumerate(groups)]  # fmt: skip

    def _one(self, i, gradient, clusters, sizes, kept):
        buffers, average = self.buffers[i], self.average(i)
        total = sum(sizes[c] for c in kept)
        plain = sum((sizes[c] / total * gradient[c] for c in kept), np.zeros_like(average))
        control = sum(
            (sizes[c] / total * (buffers[clusters[c]] - average) for c in kept),
            np.zeros_like(average),
        )
        corrected = average.copy()
        for c in kept:
            corrected += self.gain * sizes[c] / total * (gradient[c] - buffers[clusters[c]])
        scale = self.scale_of(i)
        self.learn(i, (plain - average) * control, control * control)
        for k in {clusters[c] for c in kept}:
            mine = [c for c in kept if clusters[c] == k]
            mean = sum(sizes[c] * gradient[c] for c in mine) / sum(sizes[c] for c in mine)
            buffers[k] = self.rounded(buffers[k] + self.alpha * (mean - buffers[k]))
        return (1 - scale) * plain + scale * corrected

    def scale_of(self, i):
        if self.scale != "auto":
            return self.scale
        covariance, variance = self.products[i]
        return min(max(covariance / variance, 0.0), 1.0) if variance else 0.0

    def learn(self, i, *found):
        self.products[i] = [
            (1 - self.alpha) * held + self.alpha * new.sum()
            for held, new in zip(self.products[i], found, strict=True)
        ]

    def recluster(self, transfer=None, probabilities=None):
        """Buffers of other clusters: shares `transfer[k][l]` of the old ones, or their mean."""
        for i, old in enumerate(self.buffers):
            mean = self.average(i)
            self.buffers[i] = {
                k: self.rounded(
                    mean
                    if transfer is None
                    else sum(share * old[j] for j, share in enumerate(transfer[k]))
                )
                for k in old
            }
        self.q = [1.0 / len(self.q)] * len(self.q) if probabilities is None else probabilities


class Base:
    """A step on weights; `rate` is a number or a function of the number of steps taken.

    `decay` is decoupled, of the variables not in `spared`. A gradient that is None leaves
    its variable alone.
    """

    def __init__(self, rate, decay=0.0, spared=()):
        self.rate = rate if callable(rate) else lambda taken: rate
        self.decay = decay
        self.spared = spared
        self.taken = 0
        self.slots = {}

    def step(self, weights, gradients):
        rate = self.rate(self.taken)
        self.taken += 1
        return [
            w if g is None else self.move(i, w, np.asarray(g, np.float64), rate)
            for i, (w, g) in enumerate(zip(weights, gradients, strict=True))
        ]

    def decayed(self, i, w, rate):
        return w if i in self.spared else w - rate * self.decay * w

    def move(self, i, w, g, rate):
        return self.decayed(i, w, rate) - self.direction(i, g, rate)

    def seen(self, weights):
        """The weights at which the next gradient is taken."""
        return weights


class SGD(Base):
    def __init__(self, rate, momentum=0.0, **kwargs):
        super().__init__(rate, **kwargs)
        self.momentum = momentum

    def direction(self, i, g, rate):
        if not self.momentum:
            return rate * g
        velocity = self.momentum * self.slots.get(i, 0.0) + rate * g
        self.slots[i] = velocity
        return velocity


class QHM(Base):
    def __init__(self, rate, momentum, nu, **kwargs):
        super().__init__(rate, **kwargs)
        self.momentum, self.nu = momentum, nu

    def direction(self, i, g, rate):
        m = self.momentum * self.slots.get(i, 0.0) + (1 - self.momentum) * g
        self.slots[i] = m
        return rate * ((1 - self.nu) * g + self.nu * m)


class Adam(Base):
    """Adam with the bias corrections in the step size and epsilon beside sqrt(v)."""

    def __init__(self, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **kwargs):
        super().__init__(rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def direction(self, i, g, rate):
        m, v = self.slots.get(i, (0.0, 0.0))
        m = self.beta_1 * m + (1 - self.beta_1) * g
        v = self.beta_2 * v + (1 - self.beta_2) * g * g
        self.slots[i] = (m, v)
        size = rate * np.sqrt(1 - self.beta_2**self.taken) / (1 - self.beta_1**self.taken)
        return size * m / (np.sqrt(v) + self.epsilon)


def tail_averaging(s, tail_fraction):
    """gamma_s, the weight of the past in the average after s steps."""
    if s == 1:
        return 0.0
    c = 1 / tail_fraction
    plain = c * (s - 1) / (1 + c * (s - 1))
    return plain * (1 - np.sqrt((1 - c) / (s * (s - 1))) / c)


class IGT(Base):
    """`step` moves the true weights; `seen` gives the shifted ones.

    As long as the momentum is 0, so that only the decay moves a variable, it is not shifted.
    """

    def __init__(self, rate, momentum, tail_fraction, **kwargs):
        super().__init__(rate, **kwargs)
        self.momentum, self.tail_fraction = momentum, tail_fraction
        self.displacement = {}

    def direction(self, i, g, rate):
        gamma = tail_averaging(self.taken, self.tail_fraction)
        u, m = self.slots.get(i, (0.0, 0.0))
        u = gamma * u + (1 - gamma) * g
        m = self.momentum * m + u
        self.slots[i] = (u, m)
        return rate * m

    def move(self, i, w, g, rate):
        new = super().move(i, w, g, rate)
        _, momentum = self.slots[i]
        self.displacement[i] = (new - w) * np.any(momentum)
        return new

    def seen(self, weights):
        gamma = tail_averaging(self.taken + 1, self.tail_fraction)
        return [w + gamma / (1 - gamma) * self.displacement.get(i, 0.0)
                for i, w in enumerate(weights)]  # fmt: skip


def clipped(gradients, clipnorm=None, global_clipnorm=None, clipvalue=None):
    """Gradients with every norm, their common norm, or every entry, bounded; None stays."""
    if clipvalue is not None:
        return [None if g is None else np.clip(g, -clipvalue, clipvalue) for g in gradients]
    if global_clipnorm is not None:
        squares = sum((g**2).sum() for g in gradients if g is not None)
        return [None if g is None else g * _shrunk(squares, global_clipnorm) for g in gradients]
    if clipnorm is not None:
        return [None if g is None else g * _shrunk((g**2).sum(), clipnorm) for g in gradients]
    return gradients


def _shrunk(squares, bound):
    """The factor that brings a norm, given by its square, down to the bound."""
    return bound / np.sqrt(squares) if squares > bound**2 else 1.0


def train(base, variate, weights, draw, steps, clip=None):
    """Take steps on `draw(t, seen weights) -> (group gradients, clusters, sizes)`.

    Returns the true weights after every step.
    """
    history, weights = [], [np.asarray(w, np.float64) for w in weights]
    for t in range(steps):
        groups, clusters, sizes = draw(t, base.seen(weights))
        gradients = variate.correct(groups, clusters, sizes)
        weights = base.step(weights, clipped(gradients, **(clip or {})))
        history.append(weights)
    return history
