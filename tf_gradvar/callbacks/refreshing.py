"""Snapshots of the weights and clusters, which estimators take from the model now and then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from tf_gradvar.callbacks.schedules import Schedule, schedule_of
from tf_gradvar.estimators.protocol import Estimator
from tf_gradvar.estimators.stratified import Stratified
from tf_gradvar.estimators.svrg import SVRG

# (model, step) -> assignments [N]
ClusterFunction = Callable[[keras.Model, int], Any]


class Refresher:
    """Takes SVRG snapshots and clusters the data again, each on its own interval.

    Args:
        estimators: Those that are measured.
        snapshot_every: Steps from one snapshot to the next, or a function step -> bool; None for a
            first one alone.
        recluster: As for `GradientVarianceLogger`.
        recluster_every: When to cluster, likewise.

    Raises:
        ValueError: A hook without an interval or the other way round, or one that does not fit
            the estimators; intervals below 1.
    """

    def __init__(
        self,
        estimators: Sequence[Estimator],
        snapshot_every: int | Schedule | None,
        recluster: ClusterFunction | Mapping[str, ClusterFunction] | None,
        recluster_every: int | Schedule | None,
    ):
        if (recluster is None) != (recluster_every is None):
            raise ValueError(
                "`recluster` and `recluster_every` must be given together: the function and the "
                f"steps from one call to the next. Received: recluster={recluster!r} and "
                f"recluster_every={recluster_every!r}."
            )
        self._snapshots = [e for e in estimators if isinstance(e, SVRG)]
        self._snapshot_due = _optional("snapshot_every", snapshot_every)
        self._hooks = [] if recluster is None else _hooks(recluster, estimators)
        self._recluster_due = _optional("recluster_every", recluster_every)

    def start(self, model: keras.Model) -> None:
        """Take the snapshots that are missing."""
        for estimator in self._snapshots:
            if estimator.snapshot is None:
                estimator.take_snapshot(model)

    def refresh(self, model: keras.Model, passed: Sequence[int]) -> None:
        """Do what is due at one of the steps that were passed; the last is the present one."""
        if any(map(self._snapshot_due, passed)):
            for estimator in self._snapshots:
                estimator.take_snapshot(model)
        if any(map(self._recluster_due, passed)):
            for stratified, hook in self._hooks:
                stratified.reassign(hook(model, passed[-1]))


def _optional(name: str, given: int | Schedule | None) -> Schedule:
    return (lambda step: False) if given is None else schedule_of(name, given)


def _hooks(
    recluster: ClusterFunction | Mapping[str, ClusterFunction], estimators: Sequence[Estimator]
) -> list[tuple[Stratified, ClusterFunction]]:
    stratified = {e.name: e for e in estimators if isinstance(e, Stratified)}
    if not isinstance(recluster, Mapping):
        if len(stratified) != 1:
            raise ValueError(
                "`recluster` must be a dictionary, estimator's name -> function, unless there is "
                f"exactly one `Stratified` estimator. Received: one function for {[*stratified]}."
            )
        recluster = dict.fromkeys(stratified, recluster)
    unknown = set(recluster) - set(stratified)
    if unknown:
        raise ValueError(
            f"`recluster` must use the names of `Stratified` estimators, {[*stratified]}. "
            f"Received: {sorted(unknown)}."
        )
    return [(stratified[name], hook) for name, hook in recluster.items()]
