"""Values along the trajectories of a study: ends, swings, ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras_apps.experiments.variance_study import Study

Record = Mapping[str, Any]

VARIANCE, NORMALIZED = "average_variance", "normalized_variance"
EDGE = 0.2


class Trajectories(NamedTuple):
    """What a study has measured so far.

    Attributes:
        study: Its configuration.
        records: In the order of the steps, of one seed after the other.
    """

    study: Study
    records: Sequence[Record]

    @property
    def by_seed(self) -> dict[int, list[Record]]:
        """The records of each trajectory."""
        found: dict[int, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.get("seed", 0), []).append(record)
        return found

    def names(self) -> dict[str, str]:
        """Return what estimators are called in the records: SG-B, SG-2B, SVRG, GC."""
        size = self.study.trajectory.batch_size
        return {
            "SG-B": f"SG-{size}",
            "SG-2B": f"SG-{2 * size}",
            "SVRG": f"SVRG-{size}",
            "GC": f"GC-{size}",
        }

    def values(self, records: Sequence[Record], estimator: str, value: str) -> list[float]:
        """Return a value of an estimator at each of some measurements; none if it has none."""
        name = self.names()[estimator]
        found = [record["estimators"].get(name, {}).get(value) for record in records]
        return [] if None in found else found

    def ratios(self, records: Sequence[Record], estimator: str, base: str) -> list[float]:
        """Return an estimator's variance over another one's; none if one was not measured."""
        own, other = (self.values(records, name, VARIANCE) for name in (estimator, base))
        return [one / two for one, two in zip(own, other, strict=True)] if own and other else []


def ends(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Return the first and the last fifth, at least one value each.

    Example:
        >>> ends([1, 2, 3, 4, 5])
        ([1], [5])
    """
    count = max(1, round(EDGE * len(values)))
    return values[:count], values[-count:]


def swings(trajectories: Trajectories) -> list[float]:
    """Return how far GC's variance over SG-B's goes up and comes back, under each clustering."""
    every = trajectories.study.trajectory.refresh_every
    found = []
    for records in trajectories.by_seed.values():
        clusterings: dict[int, list[float]] = {}
        for record, ratio in zip(records, trajectories.ratios(records, "GC", "SG-B"), strict=True):
            # The measurement at a refresh still sees the old clusters.
            clusterings.setdefault((record["step"] - 1) // every, []).append(ratio)
        found += [_swing(ratios) for ratios in clusterings.values()]
    return found


def _swing(values: Sequence[float]) -> float:
    """Return by how much a value lies above one before and one after it; 1 where none does.

    Example:
        >>> _swing([1, 4, 2]), _swing([1, 2, 4])
        (2.0, 1.0)
    """
    inner = range(1, len(values) - 1)
    return max([1.0, *(values[k] / max(min(values[:k]), min(values[k + 1 :])) for k in inner)])


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's correlation, without ties.

    Example:
        >>> rank_correlation([1, 2, 3], [9, 4, 1])
        -1.0
    """
    ranks = [
        {place: rank for rank, place in enumerate(sorted(range(len(v)), key=v.__getitem__))}
        for v in (first, second)
    ]
    differences = [ranks[0][place] - ranks[1][place] for place in range(len(first))]
    n = len(first)
    return 1 - 6 * sum(d * d for d in differences) / (n * (n * n - 1))
