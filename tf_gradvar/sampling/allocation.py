"""Expected draws of a batch from each cluster, and how much each of them weighs.

A batch of B draws takes n_k examples of cluster k, which holds N_k of N, and gives each the weight

    w_k = B (N_k / N) / e_k,        e_k = E[n_k],        sum_k e_k = B,

so that the mean over the batch is `sum_k (N_k/N) (n_k/e_k) mean of the n_k draws`: unbiased for any
e_k > 0 (Horvitz and Thompson 1952), and Eq. 1 where n_k = e_k always. A bound on the weights is a
least number of draws:

    w_k <= w_max   <=>   e_k >= B (N_k / N) / w_max.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tf_gradvar.arguments import check_choice, check_number

ALLOCATIONS = ("proportional", "neyman", "equal")

# What `max_weight="auto"` stands for: weights of about equal clusters are left alone, and where
# clusters differ more (gradient clusters do, by far) they get the bound that kept training stable.
LITERAL_WEIGHT = 4.0
SAFE_WEIGHT = 1.25

# Expected draws are counted in ticks, whole numbers, so that their sum is B without rounding.
TICKS = 2**32


def allocation_shares(
    allocation: str, sizes: np.ndarray, standard_deviations: Any = None
) -> np.ndarray:
    """Return what the expected draws are proportional to, `[K]` float64.

    Args:
        allocation: `"proportional"` (N_k), `"neyman"` (N_k sigma_k) or `"equal"` (1).
        sizes: N_k, `[K]`.
        standard_deviations: sigma_k of the clusters that hold examples; `"neyman"` only.

    Raises:
        ValueError: another allocation, standard deviations that are missing or not wanted, not
            one for each cluster, negative, not finite or all 0.
    """
    check_choice("allocation", allocation, ALLOCATIONS)
    if allocation != "neyman" and standard_deviations is not None:
        raise ValueError(
            "`standard_deviations` belong to `allocation='neyman'`: leave them out, or change the "
            f"allocation. Received: allocation={allocation!r}."
        )
    if allocation == "proportional":
        return sizes.astype(np.float64)
    if allocation == "equal":
        return (sizes > 0).astype(np.float64)
    shares = np.zeros(len(sizes))
    shares[sizes > 0] = sizes[sizes > 0] * _check_deviations(
        standard_deviations, int((sizes > 0).sum())
    )
    return shares


def _check_deviations(standard_deviations: Any, num_clusters: int) -> np.ndarray:
    if standard_deviations is None:
        raise ValueError(
            "`allocation='neyman'` needs `standard_deviations`, the square root of the variance "
            "of an example's gradient within each cluster. Received: standard_deviations=None."
        )
    values = np.asarray(standard_deviations, np.float64)
    if (
        values.shape != (num_clusters,)
        or not np.isfinite(values).all()
        or (values < 0).any()
        or not values.any()
    ):
        raise ValueError(
            f"`standard_deviations` must be {num_clusters} finite numbers >= 0, one for each "
            "cluster that has examples, not all of them 0. Received: standard_deviations="
            f"{np.array2string(values, threshold=8)}."
        )
    return values


def expected_ticks(
    sizes: np.ndarray, batch_size: int, shares: np.ndarray, max_weight: float | None
) -> np.ndarray:
    """Return the expected draws of each cluster, in ticks.

    ``e_k = max(B (N_k / N) / w_max, c shares_k)``, with the c for which they sum to B: clusters
    whose weight would be too large get the draws that they lack, and the others give them up in
    proportion. (With the shares N_k sigma_k this has the least variance that the bound allows.)

    Args:
        sizes: N_k, `[K]`.
        batch_size: B.
        shares: of the allocation, `[K]`.
        max_weight: w_max, at least 1, or None for no bound.

    Returns:
        Ticks, `[K]` int64, summing to `batch_size * TICKS`.

    Raises:
        ValueError: shares of 0 for a cluster with examples, and no bound.

    Example:
        >>> import numpy as np
        >>> sizes = np.array([10, 10, 80])
        >>> expected_ticks(sizes, 3, np.ones(3), None) / TICKS  # the last weighs 2.4
        array([1., 1., 1.])
        >>> expected_ticks(sizes, 3, np.ones(3), 2.0) / TICKS  # 2.0
        array([0.9, 0.9, 1.2])
        >>> expected_ticks(sizes, 3, np.ones(3), 1.0) / TICKS  # proportional: all weigh 1
        array([0.3, 0.3, 2.4])
    """
    proportional = batch_size * sizes / sizes.sum()
    if max_weight is None:
        least = np.zeros(len(sizes))
        if (shares[sizes > 0] == 0).any():
            raise ValueError(
                "`standard_deviations` of 0 leave a cluster without draws, and the gradient "
                f"biased: set `max_weight`. Received: max_weight=None and 0 for "
                f"{int((shares[sizes > 0] == 0).sum())} of {int((sizes > 0).sum())} clusters."
            )
    else:
        least = proportional / max_weight
    draws = _raised(batch_size * (shares / shares.sum()), least, batch_size)
    ticks = np.rint(draws * TICKS).astype(np.int64)
    ticks[sizes > 0] = np.maximum(ticks[sizes > 0], 1)
    ticks[np.argmax(ticks)] += batch_size * TICKS - ticks.sum()
    return ticks


def check_max_weight(max_weight: Any) -> float | str | None:
    """Return the bound as a float, None or "auto", or raise unless it is at least 1."""
    if max_weight is None or max_weight == "auto":
        return max_weight
    return check_number("max_weight", max_weight, 1.0, np.inf)


def resolve_max_weight(
    max_weight: float | str | None, sizes: np.ndarray, draws: np.ndarray | None
) -> float | None:
    """Return the bound that `"auto"` stands for, or any other unchanged.

    Args:
        max_weight: w_max, None or "auto".
        sizes: N_k, `[K]`.
        draws: n_k that were asked for, `[K]`; None where draws are shared out.
    """
    if max_weight != "auto":
        return max_weight  # type: ignore[return-value]
    if draws is None:
        return SAFE_WEIGHT
    present = sizes > 0
    weights = draws.sum() * (sizes[present] / sizes.sum()) / draws[present]
    return None if weights.max() <= LITERAL_WEIGHT else SAFE_WEIGHT


def _raised(draws: np.ndarray, least: np.ndarray, total: float) -> np.ndarray:
    """Return max(least, c draws), with the c for which they sum to `total`."""
    raised = np.zeros(len(draws), bool)
    while True:
        low = ~raised & (draws < least * (1 - 1e-12))
        if not low.any():
            return draws
        raised |= low
        free = draws[~raised].sum()
        left = total - least[raised].sum()
        draws = np.where(raised, least, draws * (left / free))
