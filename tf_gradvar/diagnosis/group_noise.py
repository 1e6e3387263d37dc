r"""Share of the noise that lies between groups of examples, and the groups that are noisy.

With m the mean gradient, m_k that of group k, N_k its size, and T the noise of one example,

    T = (1/N) sum_i ||g_i - m||^2 = B + W
    B = sum_k (N_k / N) ||m_k - m||^2            between the groups
    W = (1/N) sum_k sum_{i in k} ||g_i - m_k||^2     within them

Groups that mean nothing hold B = T (G - 1) / (N - 1) on average over all ways to deal the examples
into G groups of these sizes. The corrected share takes that off (the epsilon squared of Kelley
1935),

    share = (B / T - chance) / (1 - chance),    chance = (G - 1) / (N - 1).

It is 0 on average for groups that mean nothing and 1 where all gradients of a group agree.
||m||^2 and ||m_k||^2 come from the sketches, with the exact norms for the products of an example
with itself.

A bad source is found by the ranks of ||g_i - m||^2, noisier or quieter, not by B: measured with
images from a camera with noise (`benchmarks/planted_truth.py`), its examples are the noisiest
before a network has learned them by heart and the quietest afterwards. It comes first by ranks in
21 of 27 runs, by the mean in 13, by the mean loss in 6; an annotator with wrong labels in 25, 26
and 27.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tf_gradvar.diagnosis.columns import Column

PERMUTATIONS = 499
# Examples that the permutation test of a share looks at, drawn by the seed where there are more.
_MOST_TESTED = 4096
_ROWS = 4096


@dataclass(frozen=True)
class GroupRow:
    """One group of a column.

    Attributes:
        group: Its name.
        size: Its examples, N_k.
        second_moment_share: Its part of sum_i ||g_i||^2.
        noise_share: Its part of sum_i ||g_i - m||^2.
        relative_noise: `noise_share` over its part of the examples: 1 is average.
        standard_error: Of `relative_noise`; NaN for a group of one example.
        typical_rank: Mean rank of ||g_i - m||^2 in the group over that of all examples, from 0 to
            2: above 1 its examples are typically noisier than others, below 1 quieter. A few very
            large gradients rule the mean and not the ranks.
        p_value: The chance of a group whose `typical_rank` is this far from 1, were groups of
            these sizes dealt at random; corrected for the number of groups.
    """

    group: str
    size: int
    second_moment_share: float
    noise_share: float
    relative_noise: float
    standard_error: float
    typical_rank: float
    p_value: float


@dataclass(frozen=True)
class GroupNoise:
    """What one column says of the noise.

    Attributes:
        column: Its name.
        binned: Whether its groups are bins of numbers, by quantiles.
        raw_share: B / T, from 0 to 1.
        chance_share: What of it groups that mean nothing would hold, (G - 1) / (N - 1).
        share: The corrected share; may be slightly negative.
        standard_error: Of the corrected share, by the delta method over the examples.
        p_value: The chance of a share this large if the groups meant nothing, (1 + b) / (1 + P)
            with b of P permutations at least as large.
        permutations: P.
        rows: One for each group, the noisiest first.
    """

    column: str
    binned: bool
    raw_share: float
    chance_share: float
    share: float
    standard_error: float
    p_value: float
    permutations: int
    rows: tuple[GroupRow, ...]


@dataclass(frozen=True)
class Noise:
    """The gradients around their mean.

    Attributes:
        squared_norms: ||g_i||^2, `[N]`.
        sketches: `[N, S]`.
        deviations: ||g_i - m||^2, `[N]`.
        squared_mean: ||m||^2.
    """

    squared_norms: np.ndarray
    sketches: np.ndarray
    deviations: np.ndarray
    squared_mean: float

    @classmethod
    def of(cls, squared_norms: np.ndarray, sketches: np.ndarray) -> Noise:
        """Return the noise of gradients, from their norms and sketches."""
        everything = np.zeros(len(squared_norms), np.int64)
        products = products_with_own_mean(squared_norms, sketches, everything)
        squared_mean = float(products.mean())
        deviations = squared_norms - 2.0 * products + squared_mean
        return cls(squared_norms, sketches, np.maximum(deviations, 0.0), squared_mean)

    @property
    def total(self) -> float:
        """T; 0 where the gradients agree to rounding."""
        total = float(self.squared_norms.mean()) - self.squared_mean
        return total if total > 1e-6 * self.squared_norms.mean() else 0.0


def products_with_own_mean(
    squared_norms: np.ndarray, sketches: np.ndarray, ids: np.ndarray
) -> np.ndarray:
    """Return <g_i, m_k> of each example with the mean of its own group, float64 `[N]`.

    <g_i, g_i> is exact, all other products are those of the sketches.

    Args:
        squared_norms: ||g_i||^2, `[N]`.
        sketches: `[N, S]`.
        ids: Group of each example, `[N]`, every group with an example.
    """
    groups = _Groups(ids)
    products = np.empty(len(ids))
    sums = groups.sums(sketches[groups.order].astype(np.float64))
    for start in range(0, len(ids), _ROWS):
        rows = slice(start, start + _ROWS)
        part = sketches[rows].astype(np.float64)
        with_sums = np.einsum("ns,ns->n", part, sums[ids[rows]])
        products[rows] = with_sums + squared_norms[rows] - np.square(part).sum(axis=1)
    return products / groups.sizes[ids]


def noise_by_group(
    noise: Noise, column: Column, seed: int, permutations: int = PERMUTATIONS
) -> GroupNoise:
    """Return the share of the noise between the groups of a column, and a row for each of them.

    Args:
        noise: The gradients around their mean.
        column: At least two groups, and fewer than there are examples.
        seed: Of the permutations.
        permutations: P. Defaults to 499.

    Cost: `P min(N, 4096) S` operations for the test of the share, `P N` for that of the rows.
    """
    rng = np.random.default_rng(seed)
    chance = (len(column.groups) - 1) / (len(column.ids) - 1)
    raw, error = _raw_share(noise, column)
    return GroupNoise(
        column=column.name,
        binned=column.binned,
        raw_share=raw,
        chance_share=chance,
        share=(raw - chance) / (1.0 - chance) if noise.total else 0.0,
        standard_error=error / (1.0 - chance),
        p_value=_p_value_of_share(noise, column.ids, permutations, rng),
        permutations=permutations,
        rows=_rows(noise, column, permutations, rng),
    )


def _raw_share(noise: Noise, column: Column) -> tuple[float, float]:
    """Return B / T and its standard error, from the influence of each example on B and on T.

    B moves with example i by 2 <g_i, m_k - m> - ||m_k||^2 + 2 ||m||^2 - sum_k (N_k/N) ||m_k||^2,
    and T by ||g_i - m||^2 - T.
    """
    total, ids = noise.total, column.ids
    if not total:
        return 0.0, 0.0
    shares = column.sizes / len(ids)
    with_own = products_with_own_mean(noise.squared_norms, noise.sketches, ids)
    # ||g_i - m||^2 = ||g_i||^2 - 2 <g_i, m> + ||m||^2
    with_mean = (noise.squared_norms + noise.squared_mean - noise.deviations) / 2.0
    squared_means = np.bincount(ids, with_own) / column.sizes
    mean_square = float(shares @ squared_means)
    between = mean_square - noise.squared_mean
    of_between = 2.0 * (with_own - with_mean) - squared_means[ids]
    of_between += 2.0 * noise.squared_mean - mean_square
    of_total = noise.deviations - total
    share = between / total
    influence = (of_between - share * of_total) / total
    return share, float(influence.std() / np.sqrt(len(ids)))


def _p_value_of_share(
    noise: Noise, ids: np.ndarray, permutations: int, rng: np.random.Generator
) -> float:
    """Return the p-value of sum_k ||sum_{i in k} (s_i - m)||^2 / N_k, which is N B of sketches."""
    chosen: np.ndarray = np.arange(len(ids))
    if len(ids) > _MOST_TESTED:
        chosen = rng.choice(len(ids), _MOST_TESTED, replace=False)
    groups = _Groups(ids[chosen])
    centred = noise.sketches[chosen] - noise.sketches[chosen].mean(axis=0)
    if not noise.total or len(groups.sizes) < 2:
        return 1.0

    def statistic(order: np.ndarray) -> float:
        squares = np.square(groups.sums(centred[order])).sum(axis=1, dtype=np.float64)
        return float((squares / groups.sizes).sum())

    found = [statistic(rng.permutation(len(chosen))) for _ in range(permutations)]
    return float(_p_values(np.array([statistic(groups.order)]), np.array(found))[0])


def _rows(
    noise: Noise, column: Column, permutations: int, rng: np.random.Generator
) -> tuple[GroupRow, ...]:
    """Return a row for each group, the noisiest first.

    The statistic is the mean rank of ||g_i - m||^2 over the group, in standard errors of a group
    drawn at random, noisier or quieter; its largest value over the groups corrects for their
    number.
    """
    values, groups = noise.deviations, _Groups(column.ids)
    mean, count = values.mean(), len(values)
    ranks = ranks_of(values)
    spread = ranks.std(ddof=1) * np.sqrt(1.0 / groups.sizes - 1.0 / count)

    def statistics(order: np.ndarray) -> np.ndarray:
        off = np.abs(groups.sums(ranks[order]) / groups.sizes - ranks.mean())
        return np.divide(off, spread, out=np.zeros_like(off), where=spread > 0)

    found = np.array([statistics(rng.permutation(count)).max() for _ in range(permutations)])
    p_values = _p_values(statistics(groups.order), found)
    rank_sums = groups.sums(ranks[groups.order])
    noise_sums = groups.sums(values[groups.order])
    square_sums = groups.sums(np.square(values[groups.order]))
    moments = groups.sums(noise.squared_norms[groups.order])
    rows = []
    for k in range(len(groups.sizes)):
        size = int(groups.sizes[k])
        in_group = square_sums[k] / size - (noise_sums[k] / size) ** 2
        deviation = np.sqrt(max(in_group, 0.0) / (size - 1)) if size > 1 else np.nan
        rows.append(
            GroupRow(
                group=column.groups[k],
                size=size,
                second_moment_share=_part(moments[k], moments.sum()),
                noise_share=_part(noise_sums[k], noise_sums.sum()),
                relative_noise=_part(noise_sums[k] * count, noise_sums.sum() * size),
                standard_error=_part(deviation, mean),
                typical_rank=_part(rank_sums[k], ranks.mean() * size),
                p_value=float(p_values[k]),
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.relative_noise))


class _Groups:
    """Sums over groups of examples, in the order that puts the examples of a group together."""

    def __init__(self, ids: np.ndarray):
        self.order = np.argsort(ids, kind="stable")
        _, self._starts, self.sizes = np.unique(
            ids[self.order], return_index=True, return_counts=True
        )

    def sums(self, ordered: np.ndarray) -> np.ndarray:
        """Return the sum of each group's rows, which stand in this order."""
        return np.add.reduceat(ordered, self._starts, axis=0)


def ranks_of(values: np.ndarray) -> np.ndarray:
    """Return 1 for the smallest value to N for the largest; equal values share their mean rank."""
    _, codes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return (last - (sizes - 1) / 2.0)[codes.reshape(len(values))]


def _p_values(observed: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return (1 + b) / (1 + P), with b of P values at least as large; rounding breaks no ties."""
    tolerance = 1e-6 * np.abs(observed)
    at_least = (found[:, None] >= observed - tolerance).sum(axis=0)
    return (1.0 + at_least) / (1.0 + len(found))


def _part(value: float, whole: float) -> float:
    return float(value / whole) if whole > 0 else 0.0
