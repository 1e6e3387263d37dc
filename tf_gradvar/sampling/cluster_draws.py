"""The draws of cluster batches in NumPy: the same streams as `cluster_choice` and `shuffle` have.

Of the draws of tf.data there is no number here that is not the same, so that a run may change its
backend between two batches.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tf_gradvar.ownership import Ownership
from tf_gradvar.sampling.stateless_numbers import index_permutation, permutation, uniform

# Draws are made in blocks, so that the stream can be replayed to any place by arithmetic
# on whole blocks instead of one operation for each draw.
BLOCK = 1024
ORDERS = ("random", "cycle")
# Keys of few bits make permutations that hardly differ from none: that of (0, 0, 0) is none.
KEY_MIX = (0x5DEECE66D1CE4E5B, 0x2545F4914F6CDD1D, 0x369DEA0F31A53F85)
# 65 537, 262 145, ...: of 4^j + 1 indices `RandomIndexShuffle` permutes the first 4^j alone and
# gives the last one the place of the first.
FAULTY_SIZES = tuple(4**j + 1 for j in range(8, 31))


class Blocks(NamedTuple):
    """Replicas that draw in turns, each from its own clusters.

    Attributes:
        ownership: Of the clusters.
        groups: How many numbers in a row belong to one replica.
    """

    ownership: Ownership
    groups: int


def block_size(num_clusters: int, order: str) -> int:
    """Return how many draws a block of the stream holds."""
    return num_clusters if order == "cycle" else BLOCK


def choices(
    probabilities: Any,
    seed: int,
    order: str,
    start: int,
    stop: int,
    blocks: Blocks | None = None,
    run_length: int = 1,
) -> NDArray[np.int64]:
    """Return the clusters of the draws with the numbers from `start` to `stop`, which is left out.

    Args:
        probabilities: The probability of each cluster, K floats; uniform for `order="cycle"`.
        seed: The seed of the stream.
        order: `"random"` (independent draws) or `"cycle"` (permutations of all clusters).
        start: The first draw.
        stop: The one behind the last.
        blocks: Where replicas own clusters; a number then falls into the interval of its block.
        run_length: How often in a row each number of the stream is drawn; 1 with blocks.
    """
    if run_length > 1:
        runs = choices(probabilities, seed, order, start // run_length, -(-stop // run_length))
        first = start // run_length * run_length
        return np.repeat(runs, run_length)[start - first : stop - first]
    edges = np.cumsum(np.asarray(probabilities, np.float64))
    size = block_size(len(edges), order)
    drawn = [_block(i, len(edges), seed, order) for i in range(start // size, -(-stop // size))]
    first = start // size * size
    numbers = np.concatenate([np.zeros(0), *drawn])[start - first : stop - first]
    if blocks is not None:
        return _choose_own(numbers, edges, blocks, start)
    return np.searchsorted(edges, numbers * edges[-1], side="right")


def _choose_own(
    numbers: NDArray[np.float64], edges: NDArray[np.float64], blocks: Blocks, first: int
) -> NDArray[np.int64]:
    starts, counts = blocks.ownership.starts, blocks.ownership.counts
    places = first + np.arange(len(numbers))
    replicas = places // blocks.groups % blocks.ownership.num_replicas
    begin, last = starts[replicas], (starts + counts - 1)[replicas]
    lower, upper = np.concatenate([[0.0], edges])[begin], edges[last]
    found = np.searchsorted(edges, lower + numbers * (upper - lower), side="right")
    return np.clip(found, begin, last)  # rounding must not lead out of the block


def count_choices(
    probabilities: Any,
    seed: int,
    order: str,
    stop: int,
    blocks: Blocks | None = None,
    run_length: int = 1,
) -> NDArray[np.int64]:
    """Return how often each cluster occurs in the first `stop` draws, int64 [K].

    Cost: for `"random"` in proportion to `stop`; for `"cycle"` that of one cycle.
    """
    if run_length > 1:
        whole, rest = divmod(stop, run_length)
        counts = run_length * count_choices(probabilities, seed, order, whole)
        counts[choices(probabilities, seed, order, whole, whole + 1)] += rest
        return counts
    k = len(probabilities)
    cycles = stop // k if order == "cycle" else 0
    size = max(k, BLOCK)
    found = np.full(k, cycles, np.int64)
    for start in range(cycles * k, stop, size):
        drawn = choices(probabilities, seed, order, start, min(start + size, stop), blocks)
        found += np.bincount(drawn, minlength=k)
    return found


@functools.lru_cache(maxsize=4)
def _block(index: int, num_clusters: int, seed: int, order: str) -> NDArray[np.float64]:
    """Return one block of numbers in [0, 1): independent ones, or one of each cluster."""
    if order == "cycle":
        return (permutation((seed, index), num_clusters) + 0.5) / num_clusters
    return uniform((seed, index), BLOCK)


def order_of_pass(seed: int, cluster: int, number: int, size: int) -> NDArray[np.int64]:
    """Return the places of a cluster's examples in the order of one pass over them, int64 [N_k].

    Args:
        seed: The seed of the permutations.
        cluster: k.
        number: That of the pass, from 0.
        size: N_k.
    """
    key = tuple(part ^ bits for part, bits in zip((seed, cluster, number), KEY_MIX, strict=True))
    if size not in FAULTY_SIZES:
        return index_permutation((key[0], key[1], key[2]), size)
    longer = index_permutation((key[0], key[1], key[2]), size + 1)
    return np.where(longer < size, longer, longer[size])[:size]
