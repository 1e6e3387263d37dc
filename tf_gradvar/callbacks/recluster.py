"""Gradient Clustering again and again while a model trains, which passes the clusters on."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_gradvar.arguments import check_choice
from tf_gradvar.assignments import check_assignments, cluster_transfer
from tf_gradvar.callbacks.scheduled import ScheduledCallback
from tf_gradvar.callbacks.schedules import Schedule, schedule_of
from tf_gradvar.callbacks.steps import strategy_scope
from tf_gradvar.optimizers.control_variate import find_control_variate
from tf_gradvar.sampling import design_of

LOG_PREFIX = "recluster"
BUFFERS = ("match", "restart")
_LOGGED = ("objective", "variance_ratio", "moved", "seconds")

logger = logging.getLogger(__name__)


class Recluster(ScheduledCallback):
    r"""Clusters the per-example gradients every so many steps and hands the clusters on.

    Each clustering starts from the assignments of the one before. The new ones go to

    1. the sampler: `dataset.reassign`, for `tf_gradvar.stratified_batches`, or for
       `tf_gradvar.cluster_batches` made with ``read_ahead=False``, which then draws cluster k with
       the probability N_k/N, so that the risk stays the average over the data;
    2. if that sampler makes cluster batches, the model's Discover optimizer, with the sampler's
       probabilities and new buffers: matched to the old ones, g^k <- sum_l (share of the new
       cluster k that was in l) g^l, or all started at their average;
    3. everything in `estimators`.

    Both 1 and 2 hold from the next step on, and the corrected gradient stays unbiased whatever the
    clusters and the buffers are. A distribution strategy has read a few batches ahead by then
    (three with two CPU replicas; so has Keras on JAX one batch, on a GPU or a TPU): they still
    come from the old clusters, and the steps that take them are not unbiased. Without `dataset`,
    sampler and optimizer keep theirs. Clustering itself changes nothing: where nothing listens,
    the same seed with and without this callback gives bit-identical weights.

    A clustering that fails while the model trains, for example because its gradients are no
    longer finite, is reported by a warning in the log; all go on with the clusters they have.

    **Where the results go.** `history`, a record for each clustering; the file at `path`, the
    same as JSON lines; and the logs of the epoch, as `recluster/variance_ratio` and so on, for
    TensorBoard, CSVLogger and History (NaN for an epoch without a clustering; the last of
    several). A second one in the same `fit` writes `recluster_2/...`, unless `name` tells them
    apart.

    Args:
        clustering: A `tf_gradvar.GradientClustering`, or another object whose method
            ``fit(model, x, y, loss, initial_assignments=...)`` returns such a result.
        x: Inputs [N, ...] of the examples that the sampler draws from, in its order.
        y: Labels, likewise.
        loss: Function (y, y_pred) -> losses [N], or a Keras loss. Defaults to the compiled loss.
        every: Steps from one clustering to the next; or a function step -> bool, such as
            `tf_gradvar.callbacks.at([150, 1000])`.
        start: The step of the first clustering, 0 being before the first step; a function is
            not asked before it. Defaults to 0.
        dataset: What the model trains on. Defaults to none: nobody is
            told but the estimators.
        estimators: Objects with a method `reassign(assignments)`: `Stratified`,
            `DiscoverEstimate`, `BetweenClusterVariance`. Examples that the clustering left out,
            because their gradients are not finite, are in the first cluster for them. A
            `Stratified` of a design takes the new design of `dataset`. Defaults to none.
        buffers: What the optimizer's buffers of the new clusters are: "match" (default) or
            "restart", as above.
        initial_assignments: The clusters [N] with which training starts, or goes on: the first
            clustering starts from them, and its buffers are matched to them. Defaults to none: it
            starts by itself, and the buffers restart.
        path: A file for the records. Defaults to none.
        name: What the keys in the logs begin with. Defaults to "recluster".
        verbose: Whether to print a line for each clustering. Defaults to False.

    Attributes:
        assignments: Those in effect, int64 [N]; None before the first clustering.
        history: Records: `"step"`, `"epoch"`, `"objective"` (a value a pass), `"variance_ratio"`
            (the predicted V[GC] / V[SG-B] for B = K), `"sizes"`, `"moved"` (the share of the
            examples that changed their cluster, NaN for the first) and `"seconds"`; or `"failed"`,
            the reason, in place of the results.

    Raises:
        ValueError: Arguments that break their rule, a `path` that cannot be written; when it is
            handed on, a sampler, optimizer or estimator that the clusters do not fit.

    Example:
        >>> import keras, numpy as np
        >>> from tf_gradvar import GradientClustering, stratified_batches
        >>> keras.utils.set_random_seed(0)
        >>> x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
        >>> y = (x[:, :1] > 0).astype("float32")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
        >>> batches = stratified_batches((x, y), np.arange(60) % 6, seed=0)
        >>> recluster = Recluster(GradientClustering(6), x, y, every=10, dataset=batches)
        >>> _ = model.fit(
        ...     batches, steps_per_epoch=12, verbose=0, shuffle=False, callbacks=[recluster])
        >>> [record["step"] for record in recluster.history]
        [0, 10]
        >>> batches.sampling.num_clusters, bool(recluster.history[-1]["variance_ratio"] < 0.5)
        (6, True)

    Source: Faghri et al. 2020, section 3.2 (clustering every U steps). Handing the clusters to
    Discover is ours.

    Cost: that of the clustering, of which `history` has the seconds; and of
    `optimizer.recluster`.
    """

    acted = "clustered"

    def __init__(
        self,
        clustering: Any,
        x: Any,
        y: Any = None,
        loss: Any = None,
        *,
        every: int | Schedule,
        start: int = 0,
        dataset: Any = None,
        estimators: Sequence[Any] = (),
        buffers: str = "match",
        initial_assignments: Any = None,
        path: str | os.PathLike[str] | None = None,
        name: str = LOG_PREFIX,
        verbose: bool = False,
    ):
        super().__init__(name, [schedule_of("every", every, _check_start(start))], x, path)
        check_choice("buffers", buffers, BUFFERS)
        for argument, listener in (("dataset", dataset), *(("estimators", e) for e in estimators)):
            if listener is not None and not hasattr(listener, "reassign"):
                raise ValueError(
                    f"`{argument}` must have a method `reassign`: pass what `cluster_batches` or "
                    "`stratified_batches` returned, not a dataset made of it, and estimators that "
                    f"have clusters. Received: {argument}={listener!r}."
                )
        self.assignments = _initial(clustering, initial_assignments)
        self._clustering = clustering
        self._data = (x, y)
        self._loss = loss
        self._dataset = dataset
        self._estimators = list(estimators)
        self._buffers = buffers
        self._verbose = verbose

    def missing(self) -> dict[str, float]:
        """Return NaN for every value in the logs."""
        return dict.fromkeys(_LOGGED, float("nan"))

    def act(self, step: int) -> None:
        """Cluster, hand the clusters on, and record it."""
        start = time.perf_counter()
        record: dict[str, Any] = {"step": step, "epoch": self._epoch}
        values = self._unlogged
        try:
            result = self._clustering.fit(
                self.model,
                *self._data,
                loss=self._loss,
                initial_assignments=self.assignments,
            )
        except Exception as error:  # whatever it is, the clusters of before still serve
            if step == 0:
                raise
            logger.warning(
                "Clustering the gradients at step %d failed, and the clusters stay as they are: %s",
                step,
                error,
            )
            record |= {"failed": str(error), "seconds": time.perf_counter() - start}
        else:
            previous = self.assignments
            self.assignments = found = np.asarray(result.assignments)
            self._hand_on(result, found, previous)
            record |= _summary(result, previous) | {"seconds": time.perf_counter() - start}
            values = {
                name: record["objective"][-1] if name == "objective" else record[name]
                for name in _LOGGED
            }
            if self._verbose:
                print(_line(record))
        self.report(record, values)

    def _hand_on(self, result: Any, found: np.ndarray, previous: np.ndarray | None) -> None:
        """Give the clusters to the sampler, then to the optimizer, then to the estimators."""
        if self._dataset is not None:
            self._dataset.reassign(result if hasattr(result, "fingerprint") else found)
            probabilities = getattr(self._dataset.sampling, "cluster_probabilities", None)
            if probabilities is not None:
                self._recluster_optimizer(found, previous, probabilities)
        design = design_of(self._dataset)
        for estimator in self._estimators:
            follows = getattr(estimator, "follows_design", False) and (found >= 0).all()
            estimator.reassign(design if follows and design else np.maximum(found, 0))

    def _recluster_optimizer(
        self, found: np.ndarray, previous: np.ndarray | None, probabilities: Sequence[float]
    ) -> None:
        variate = find_control_variate(self.model.optimizer)
        if variate is None:
            return
        transfer = None
        if previous is not None and self._buffers == "match":
            transfer = cluster_transfer(previous, found, variate.num_clusters)
        if not variate.built:
            with strategy_scope(self.model):
                self.model.optimizer.build(self.model.trainable_variables)
        variate.recluster(transfer, probabilities)


def _initial(clustering: Any, assignments: Any) -> np.ndarray | None:
    if assignments is None:
        return None
    # Numbers keep their meaning, that of the buffers, so gaps stay.
    num_clusters = getattr(clustering, "num_clusters", np.iinfo(np.int64).max)
    return check_assignments(assignments, name="initial_assignments", num_clusters=num_clusters)


def _check_start(start: Any) -> int:
    if not isinstance(start, int | np.integer) or isinstance(start, bool) or start < 0:
        raise ValueError(
            "`start` must be an integer of at least 0, the step of the first clustering. "
            f"Received: start={start!r}."
        )
    return int(start)


def _summary(result: Any, previous: np.ndarray | None) -> dict[str, Any]:
    found = np.asarray(result.assignments)
    return {
        "objective": [float(value) for value in np.atleast_1d(result.objective)],
        "variance_ratio": float(result.variance_ratio),
        "sizes": [int(size) for size in result.sizes],
        "moved": float("nan") if previous is None else float(np.mean(found != previous)),
    }


def _line(record: dict[str, Any]) -> str:
    sizes = record["sizes"]
    moved = "" if np.isnan(record["moved"]) else f", {100 * record['moved']:.0f} % moved"
    return (
        f"step {record['step']}  V[GC]/V[SG] {record['variance_ratio']:.3f}  {len(sizes)} clusters "
        f"of {min(sizes)} to {max(sizes)} examples{moved}  [{record['seconds']:.1f} s]"
    )
