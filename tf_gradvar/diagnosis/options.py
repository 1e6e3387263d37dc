"""What could be done about the noise: each way with its prediction, its cost and its code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_gradvar.clustering import cluster_sketches
from tf_gradvar.diagnosis import code, remedies
from tf_gradvar.diagnosis.examples_seen import SKETCH_SIZE, Seen
from tf_gradvar.diagnosis.group_moments import GroupMoments, Prediction
from tf_gradvar.diagnosis.groupings import Grouping
from tf_gradvar.diagnosis.noise import Estimate, GradientNoise
from tf_gradvar.diagnosis.remedies import GroupSteps

# Examples that are clustered; more take longer and change the prediction little.
MOST_CLUSTERED = 10_000
# Epochs from one clustering to the next; each takes a pass over the data.
EPOCHS_BETWEEN_CLUSTERINGS = 5
# A way is worth its trouble if the variance falls below this share of what its cost buys anyway.
WORTH = 0.95


@dataclass(frozen=True)
class Option:
    """One way to lower the variance.

    Attributes:
        name: What it is called.
        kind: "batch", "strata", "clusters", "one_group", "discover" or "svrg".
        ratio: Its variance over that of plain batches of B.
        equivalent_batch_size: The plain batch that varies as little, in examples.
        passes: Gradients that it computes for each example of a batch; 1 for plain batches.
        memory_bytes: That it needs in addition.
        assumption: What the prediction rests on; "" for nothing but this pass.
        stale: Whether it rests on quantities that age while the model trains.
        code: Lines that turn it on; "" where the package has none.
    """

    name: str
    kind: str
    ratio: Estimate
    equivalent_batch_size: float
    passes: float
    memory_bytes: float
    assumption: str = ""
    stale: bool = False
    code: str = ""

    @property
    def gain(self) -> float:
        """How many times a plain batch of the same cost would vary more."""
        with np.errstate(divide="ignore"):
            return float(1.0 / (np.float64(self.ratio.value) * self.passes))

    @property
    def is_worth_it(self) -> bool:
        """Whether the upper end of the range, too, is below what the cost would buy anyway."""
        return bool(self.code) and self.ratio.high * self.passes < WORTH


@dataclass(frozen=True)
class Apart:
    """Data that cannot be mixed: every step sees examples of one group alone.

    Attributes:
        grouping: Its name.
        ratio: The variance of such a step over that of a mixed batch.
        discover_ratio: The same with Discover, buffers in a steady state.
    """

    grouping: str
    ratio: Estimate
    discover_ratio: Estimate


@dataclass(frozen=True)
class Facts:
    """What the options depend on.

    Attributes:
        noise: Signal and noise.
        seen: The examples.
        learning_rate: Of the compiled optimizer; None: not known.
        seed: Of the clustering.
    """

    noise: GradientNoise
    seen: Seen
    learning_rate: float | None
    seed: int

    @property
    def batch_size(self) -> int:
        """B."""
        return self.noise.batch_size

    @property
    def weight_bytes(self) -> float:
        """Of one copy of the weights, in float32."""
        return 4.0 * sum(self.seen.layout.sizes)


def options_of(
    facts: Facts,
    groupings: Sequence[Grouping],
    svrg_ratio: Estimate | None,
    *,
    with_clusters: bool = True,
) -> tuple[list[Option], list[Apart]]:
    """Return all ways, the one with the largest gain first, and what data apart would do.

    Args:
        facts: What they depend on.
        groupings: The classes and the columns.
        svrg_ratio: Measured with earlier weights; None: there were none.
        with_clusters: Whether to cluster the gradients, too, which takes longest.
    """
    found = [larger_batch(facts)]
    apart = []
    for grouping in groupings:
        moments = _moments(facts.seen, grouping.assignments)
        found += [strata(facts, grouping, moments), discover(facts, grouping, moments)]
        apart.append(data_apart(facts, grouping, moments))
    enough = len(facts.seen.indices) >= 4 * facts.batch_size
    if with_clusters and enough and facts.noise.noise.value > 0:
        found.append(clusters(facts))
    if svrg_ratio is not None:
        found.append(svrg(facts, svrg_ratio))
    return sorted(found, key=lambda option: -option.gain), apart


def larger_batch(facts: Facts) -> Option:
    """Return twice the batch: half the variance at twice the cost, exactly."""
    twice = 2 * facts.batch_size
    lines = code.larger_batch(twice)
    name = f"batches of {twice}"
    return Option(name, "batch", Estimate.of(0.5, 0.0), twice, 2.0, 0.0, code=lines)


def strata(facts: Facts, grouping: Grouping, moments: GroupMoments) -> Option:
    """Return batches that draw from every group in proportion."""
    return _option(
        facts,
        remedies.strata(moments, facts.batch_size),
        name=f"strata by {grouping.name}",
        kind="strata",
        memory_bytes=8.0 * len(grouping.assignments),
        code=code.strata(grouping.code, facts.batch_size),
    )


def clusters(facts: Facts) -> Option:
    """Return strata by B clusters of the gradients.

    The clusters are found in one half of the numbers of the sketches, and judged by the other.
    """
    seen, count = facts.seen, facts.batch_size
    rng = np.random.default_rng(facts.seed)
    rows = rng.permutation(len(seen.indices))[:MOST_CLUSTERED]
    one, other = seen.sketches[rows, 0::2], seen.sketches[rows, 1::2] * np.float32(math.sqrt(2.0))
    norms = seen.squared_norms[rows]
    found = cluster_sketches(one, norms, count, seed=facts.seed, max_passes=5)
    moments = GroupMoments(found, np.arange(len(rows)), norms, other)
    everyone = GroupMoments(np.zeros_like(found), np.arange(len(rows)), norms, other)
    plain = everyone.predict_sum(np.array([1.0 / count])).variance
    predicted = remedies.strata(moments, count)
    return _option(
        facts,
        predicted,
        name=f"gradient clusters ({count})",
        kind="clusters",
        plain=plain,
        passes=1.0 + 1.0 / EPOCHS_BETWEEN_CLUSTERINGS,
        memory_bytes=4.0 * SKETCH_SIZE * seen.count,
        assumption=(
            f"the clusters are of the present weights; new ones every {EPOCHS_BETWEEN_CLUSTERINGS} "
            "epochs are counted in the cost"
        ),
        stale=True,
        code=code.clusters(count),
    )


def discover(facts: Facts, grouping: Grouping, moments: GroupMoments) -> Option:
    """Return Discover with gain 1, its buffers in a steady state."""
    steps = GroupSteps.of(facts.batch_size, grouping.count)
    memory = remedies.memory_of_buffers(grouping.count, steps.groups)
    return _option(
        facts,
        remedies.discover(moments, facts.batch_size, steps.groups),
        name=f"Discover by {grouping.name}",
        kind="discover",
        memory_bytes=(grouping.count + 1) * facts.weight_bytes,
        assumption=(
            f"the weights hardly move while a buffer is renewed, about {math.ceil(memory):,} steps"
        ),
        stale=True,
        code=code.discover(grouping.code, grouping.count, steps, facts.learning_rate),
    )


def data_apart(facts: Facts, grouping: Grouping, moments: GroupMoments) -> Apart:
    """Return what steps of one group alone would vary, without and with Discover."""
    plain = facts.noise.batch_variance.value
    without = remedies.one_group_a_step(moments, facts.batch_size)
    corrected = remedies.discover(moments, facts.batch_size, 1)
    return Apart(grouping.name, _ratio(without, plain), _ratio(corrected, plain))


def svrg(facts: Facts, ratio: Estimate) -> Option:
    """Return SVRG with a snapshot as old as the earlier weights."""
    return Option(
        "SVRG",
        "svrg",
        ratio,
        remedies.equivalent_batch_size(facts.batch_size, 1.0, ratio.value),
        passes=3.0,
        memory_bytes=2.0 * facts.weight_bytes,
        assumption="the snapshot is as old as `earlier_weights` are",
        stale=True,
    )


def best_of(options: Sequence[Option]) -> Option | None:
    """Return the first way that is worth its cost, or None."""
    return next((option for option in options if option.is_worth_it), None)


def _option(
    facts: Facts,
    predicted: Prediction,
    *,
    name: str,
    kind: str,
    memory_bytes: float,
    code: str,
    plain: float | None = None,
    passes: float = 1.0,
    assumption: str = "",
    stale: bool = False,
) -> Option:
    plain = facts.noise.batch_variance.value if plain is None else plain
    ratio = _ratio(predicted, plain)
    equivalent = remedies.equivalent_batch_size(facts.batch_size, plain, predicted.variance)
    return Option(name, kind, ratio, equivalent, passes, memory_bytes, assumption, stale, code)


def _ratio(predicted: Prediction, plain: float) -> Estimate:
    """Return V / V_plain, whose error is that of V alone: both come from the same examples."""
    if plain <= 0:
        return Estimate(1.0, math.nan, 0.0, math.inf)
    return Estimate.of(predicted.variance / plain, predicted.standard_error / plain)


def _moments(seen: Seen, assignments: np.ndarray) -> GroupMoments:
    return GroupMoments(assignments, seen.indices, seen.squared_norms, seen.sketches)
