"""The between-cluster variance of the gradient, measured while a model trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from tf_gradvar.arguments import check_count
from tf_gradvar.assignments import check_assignments, check_none_empty, members_of
from tf_gradvar.callbacks.momentum import momentum_buffers, on_host
from tf_gradvar.callbacks.per_model import PerModel
from tf_gradvar.callbacks.scheduled import ScheduledCallback
from tf_gradvar.callbacks.schedules import Schedule, old_schedules, schedule_of
from tf_gradvar.data.examples import as_examples
from tf_gradvar.estimators.between_clusters import between_values
from tf_gradvar.losses import ModelLoss
from tf_gradvar.optimizers.control_variate import ClusterControlVariate, find_control_variate
from tf_gradvar.optimizers.low_rank import FactoredBuffers
from tf_gradvar.optimizers.wrappers import innermost

if keras.backend.backend() == "jax":
    from tf_gradvar.estimators.jax_weighted_gradient import WeightedGradient
else:
    from tf_gradvar.estimators.weighted_gradient import (  # type: ignore[assignment]
        WeightedGradient,
    )

LOG_PREFIX = "between_cluster_variance"


class BetweenClusterVariance(ScheduledCallback):
    r"""Measures how much the gradient depends on which cluster a step saw.

    The cluster gradients grad R_k are computed exactly on the given examples, at the model's
    present weights (for IGT the true ones, as for every callback), in inference mode and with
    the unreduced loss. Values, each a sum over all the trainable parameters and of one group
    (divide by C for a step of C groups):

    * ``sgd``: sum_k q_k ||grad R_k - grad R||^2, for every optimizer;
    * ``momentum``: sum_k q_k ||grad R_k - m||^2, for `keras.optimizers.SGD(momentum=...)`, where m
      is the momentum buffer as an average of gradients;
    * ``discover``: sum_k q_k ||grad R_k - g^k||^2, for Discover optimizers with the buffers g^k;
    * ``discover_exact``: sum_k q_k ||a (grad R_k - grad R) - b (g^k - gbar)||^2, the variance that
      is really left between clusters in the corrected gradient (with the optimizer's gain c
      and scale s, a = 1 - s + s c and b = s c);
    * ``correction_scale``: with `scale="auto"`, the mean over the variables of the share of the
      correction that was learned.

    Values of an epoch's last measurement join the epoch's logs as `between_cluster_variance_sgd`
    and so on, so that TensorBoard, CSVLogger and History see them (NaN for an epoch without a
    measurement). A second callback of this kind in the same `fit` writes
    `between_cluster_variance_2_sgd`, unless `name` tells them apart. Measuring changes nothing:
    the same seed with and without this callback gives bit-identical weights.

    Args:
        x: Examples [N, ...], or a structure of such arrays, as `Model.fit` takes them; or a finite
            `tf.data.Dataset` of batches.
        y: Targets [N, ...], likewise; None for a dataset.
        clusters: The cluster of each example, [N], to all of the K clusters; -1 for examples that
            are left out, names and [N, 1] as in `tf_gradvar.assignments`.
        num_clusters: K.
        cluster_probabilities: q_k [K], summing to 1. Defaults to uniform.
        every: Steps from one measurement to the next; or a function step -> bool, such as
            `tf_gradvar.callbacks.log_spaced()`. With `steps_per_execution` > 1, at the end of an
            execution. Defaults to 100.
        every_steps: Deprecated: a number for `every`. Defaults to None.
        examples_per_cluster: Measure on so many examples of each cluster, the first ones.
            Defaults to all.
        loss: Function (y, y_pred) -> losses [N, ...], or a Keras loss. Defaults to the compiled
            loss, with its `loss_weights` and a `compute_loss` of the model's own.
        batch_size: Examples in one forward and backward pass. Defaults to 512.
        name: What the keys in the logs begin with. Defaults to "between_cluster_variance".

    Attributes:
        history: A list of dicts with `"step"` and the values by their names above.

    Raises:
        ValueError: Clusters that do not fit the examples, a cluster without examples, `every` or
            `batch_size` below 1; when training starts, a model without a loss and no `loss`
            here.

    Example:
        >>> import keras, numpy as np
        >>> keras.utils.set_random_seed(0)
        >>> x, y = np.eye(4, dtype="float32"), np.array([[0.0], [0.0], [1.0], [1.0]])
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="mse")
        >>> measure = BetweenClusterVariance(x, y, [0, 0, 1, 1], num_clusters=2, every=2)
        >>> _ = model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[measure])
        >>> [sorted(values) for values in measure.history]
        [['momentum', 'sgd', 'step'], ['momentum', 'sgd', 'step']]

    Source: Discover paper, Sections 3 to 5: Eq. 3, Eq. 5, and the figure of the between-cluster
    variance over training (which uses a step's own gradients in place of grad R_k).

    Cost: at each measurement one forward and backward pass over the examples, and K copies of the
    gradient on the host.
    """

    separator = "_"

    def __init__(
        self,
        x: Any,
        y: Any,
        clusters: ArrayLike,
        num_clusters: int,
        cluster_probabilities: ArrayLike | None = None,
        *,
        every: int | Schedule = 100,
        every_steps: int | None = None,
        examples_per_cluster: int | None = None,
        loss: Any = None,
        batch_size: int = 512,
        name: str = LOG_PREFIX,
    ):
        due = old_schedules(every_steps=every_steps) or [schedule_of("every", every)]
        super().__init__(name, due, x)
        self._chunk_size = check_count("batch_size", batch_size, "the examples in one pass")
        self._examples = as_examples(x, y, None)
        self._num_clusters, self._limit = num_clusters, examples_per_cluster
        self._members = self._members_of(clusters)
        self._probabilities = cluster_probabilities
        self._gradient = PerModel(
            lambda model: WeightedGradient(ModelLoss(model, loss), training=False), loss
        )

    def _members_of(self, clusters: ArrayLike) -> list[np.ndarray]:
        count, k = self._examples.count, self._num_clusters
        ids = check_assignments(clusters, name="clusters", count=count, num_clusters=k)
        members = members_of(ids, count, k)
        check_none_empty(np.array([len(found) for found in members]), "clusters")
        return members

    def reassign(self, clusters: ArrayLike, cluster_probabilities: ArrayLike | None = None) -> None:
        """Measure between other clusters from now on.

        Args:
            clusters: The cluster of each example, as in the constructor.
            cluster_probabilities: q_k [K], summing to 1. Defaults to the shares of the clusters in
                the data.

        Raises:
            ValueError: As the constructor.
        """
        members = self._members_of(clusters)
        if cluster_probabilities is None:
            sizes = np.array([len(found) for found in members])
            cluster_probabilities = sizes / sizes.sum()
        self._members, self._probabilities = members, cluster_probabilities

    def prepare(self) -> None:
        """Check that the model has a loss."""
        self._gradient(self.model)

    def act(self, step: int) -> None:
        """Measure, and record it."""
        values = self.measure()
        self.report({"step": step, **values}, values)

    def missing(self) -> dict[str, float]:
        """Return NaN for every value in the logs."""
        return dict.fromkeys(self._value_names(), float("nan"))

    def measure(self) -> dict[str, float]:
        """Return the values at the model's present weights, by the names in the class docstring.

        Returns:
            Name -> sum over the trainable parameters.
        """
        gradients, q = self.cluster_gradients(), self._probabilities
        variate = find_control_variate(self.model.optimizer)
        values = {"sgd": between_values(gradients, None, q).exact}
        if variate is not None:
            values |= self._of_variate(gradients, variate)
        elif "momentum" in self._value_names():
            buffers = momentum_buffers(innermost(self.model.optimizer))
            values["momentum"] = between_values(gradients, buffers, q).buffered
        return values

    def _of_variate(
        self, gradients: Sequence[np.ndarray], variate: ClusterControlVariate
    ) -> dict[str, float]:
        """Return the values of a Discover optimizer."""
        q = self._probabilities
        buffers = [
            held if isinstance(held, FactoredBuffers) else on_host(held)
            for held in variate.cluster_gradients
        ]
        found = between_values(gradients, buffers, q)
        values = {"discover": found.buffered, "discover_exact": found.exact}
        a, factors = variate.combination
        if any(b != a for b in factors):
            ratios = [b / a for b in factors]
            values["discover_exact"] = between_values(gradients, buffers, q, ratios).exact
        values["discover_exact"] *= a**2
        if variate.scale == "auto":
            values["correction_scale"] = float(np.mean(on_host(variate.correction_scale)))
        return values

    def _value_names(self) -> tuple[str, ...]:
        optimizer = innermost(self.model.optimizer)
        variate = find_control_variate(self.model.optimizer)
        if variate is not None:
            names = "sgd", "discover", "discover_exact"
            return (*names, "correction_scale") if variate.scale == "auto" else names
        if isinstance(optimizer, keras.optimizers.SGD) and 0 < optimizer.momentum < 1:
            return "sgd", "momentum"
        return ("sgd",)

    def cluster_gradients(self) -> list[np.ndarray]:
        """Return the gradients grad R_k of the mean unreduced loss of each cluster's examples.

        Returns:
            A list of float64 arrays [K, *shape], in the order of `model.trainable_variables`.
        """
        members = [found[: self._limit] for found in self._members]
        pieces = self._examples.pieces(members, None, self._chunk_size)
        means = self._gradient(self.model).means(pieces, [len(found) for found in members])
        return [np.stack(gradients) for gradients in zip(*means, strict=True)]
