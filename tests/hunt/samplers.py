"""Settings of the two samplers as data, drawn with hypothesis."""

import itertools
from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np

from tests.hunt.problem import Data


@dataclass(frozen=True, repr=False)
class Groups(Data):
    """Settings of `cluster_batches`.

    Attributes:
        sizes: The examples of each cluster, K.
        later: The sizes after `reassign`, of as many examples, or None.
        place: The batch at which the stream is resumed or the clusters change.
        batches: How many batches are read.
    """

    sizes: tuple
    group_size: int = 1
    groups_per_batch: int = 1
    probabilities: tuple | None = None
    order: str = "random"
    source: str = "arrays"
    read_ahead: bool = True
    weighted: bool = False
    later: tuple | None = None
    place: int = 0
    batches: int = 12
    seed: int = 0


@dataclass(frozen=True, repr=False)
class Strata(Data):
    """Settings of `stratified_batches`.

    Attributes:
        sizes: The examples of each cluster, K.
        gaps: Whether the numbers of the clusters have gaps.
        left_out: Examples in no cluster.
        draws: `samples_per_cluster`, or None.
        batch_size: Or None.
        deviations: For `allocation="neyman"`.
        later: The sizes after `reassign`, or None.
        when: Of `reassign`.
        place: The batch at which the stream is resumed or the clusters change.
    """

    sizes: tuple
    gaps: bool = False
    left_out: int = 0
    draws: tuple | int | None = None
    batch_size: int | None = None
    allocation: str = "proportional"
    deviations: tuple | None = None
    max_weight: float | str | None = "auto"
    weighted: bool = False
    later: tuple | None = None
    when: str = "now"
    place: int = 0
    batches: int = 12
    seed: int = 0


def assignments_of(sizes, seed, *, gaps=False, left_out=0):
    """Return the cluster of each example, in random order; -1 for those left out."""
    numbers = [2 * k + 1 if gaps else k for k in range(len(sizes))]
    ids = np.repeat([*numbers, -1], [*sizes, left_out])
    return np.random.default_rng(seed).permutation(ids)


def shuffled_sizes(draw, sizes):
    """Draw other sizes >= 1 that sum to the same, for as many clusters."""
    cuts = sorted(
        draw(
            st.lists(
                st.integers(1, sum(sizes) - 1),
                unique=True,
                min_size=len(sizes) - 1,
                max_size=len(sizes) - 1,
            )
        )
        if len(sizes) > 1
        else []
    )
    return tuple(b - a for a, b in itertools.pairwise([0, *cuts, sum(sizes)]))


@st.composite
def group_settings(draw):
    """Draw `Groups`."""
    sizes = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    order = draw(st.sampled_from(["random", "cycle"]))
    probabilities = None
    if order == "random" and draw(st.booleans()):
        shares = draw(
            st.lists(st.integers(0, 6), min_size=len(sizes), max_size=len(sizes)).filter(any)
        )
        probabilities = tuple(share / sum(shares) for share in shares)
    source = draw(st.sampled_from(["arrays", "arrays", "arrays", "dataset"]))
    read_ahead = source == "dataset" or draw(st.booleans())
    change = not read_ahead and order == "random" and draw(st.booleans())
    batches = draw(st.integers(1, 40))
    return Groups(
        sizes,
        draw(st.integers(1, 4)),
        draw(st.integers(1, 4)),
        probabilities,
        order,
        source,
        read_ahead,
        draw(st.booleans()),
        shuffled_sizes(draw, sizes) if change else None,
        draw(st.integers(0, batches)),
        batches,
        draw(st.integers(-(2**62), 2**62)),
    )


@st.composite
def strata_settings(draw):
    """Draw `Strata`."""
    sizes = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    draws, batch_size, allocation, deviations = None, None, "proportional", None
    max_weight = draw(st.sampled_from(["auto", "auto", None, 1, 1.25, 3.0]))
    if draw(st.booleans()):
        draws = draw(st.integers(1, 3) | st.tuples(*[st.integers(1, 3)] * len(sizes)))
    else:
        batch_size = draw(st.integers(1, 8))
        allocation = draw(st.sampled_from(["proportional", "equal", "neyman"]))
        if allocation == "neyman":
            least = 1 if max_weight is None else 0
            numbers = st.lists(
                st.integers(least, 4), min_size=len(sizes), max_size=len(sizes)
            ).filter(any)
            deviations = tuple(draw(numbers))
    change = isinstance(draws, int | None) and draw(st.booleans())
    batches = draw(st.integers(1, 30))
    return Strata(
        sizes,
        draw(st.booleans()),
        draw(st.integers(0, 3)),
        draws,
        batch_size,
        allocation,
        deviations,
        max_weight,
        draw(st.booleans()),
        shuffled_sizes(draw, sizes) if change else None,
        draw(st.sampled_from(["now", "next_epoch"])),
        draw(st.integers(0, batches)),
        batches,
        draw(st.integers(-(2**62), 2**62)),
    )
