"""The between-cluster variance of the gradient, measured while a model trains."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tf_gradvar.assignments import check_assignments, check_none_empty, members_of
from tf_gradvar.callbacks.log_values import check_name, join_logs
from tf_gradvar.callbacks.schedules import every
from tf_gradvar.callbacks.steps import PassedSteps
from tf_gradvar.data.arrays import as_arrays
from tf_gradvar.estimators.between_clusters import (
    between_cluster_variance,
    buffered_between_cluster_variance,
    estimator_between_cluster_variance,
)
from tf_gradvar.estimators.draws import WeightedGradient
from tf_gradvar.keras_internals import compiled_loss, learning_rate_setting
from tf_gradvar.losses import ModelLoss
from tf_gradvar.optimizers.control_variate import find_control_variate
from tf_gradvar.optimizers.wrappers import innermost

LOG_PREFIX = "between_cluster_variance"

# Terms of a momentum buffer with a smaller weight than this are left out of its normalisation.
_SMALLEST_WEIGHT = 1e-4


class BetweenClusterVariance(keras.callbacks.Callback):
    r"""Measures how much the gradient depends on which cluster a step saw.

    The cluster gradients grad R_k are computed exactly on the given examples, at the model's
    present weights (for IGT the true ones, as for every callback), in inference mode and with
    the unreduced loss. Values, each a sum over all the trainable parameters and of one group
    (divide by C for a step of C groups):

    * ``sgd``: sum_k q_k ||grad R_k - grad R||^2, for every optimizer;
    * ``momentum``: sum_k q_k ||grad R_k - m||^2, for `keras.optimizers.SGD(momentum=...)`, where m
      is the momentum buffer as an average of gradients;
    * ``discover``: sum_k q_k ||grad R_k - g^k||^2, for Discover optimizers with the buffers g^k;
    * ``discover_exact``: sum_k q_k ||grad R_k - g^k - (grad R - gbar)||^2, the variance that is
      really left between clusters in the corrected gradient.

    Values of an epoch's last measurement join the epoch's logs as `between_cluster_variance_sgd`
    and so on, so that TensorBoard, CSVLogger and History see them (NaN for an epoch without a
    measurement). A second callback of this kind in the same `fit` writes
    `between_cluster_variance_2_sgd`, unless `name` tells them apart. Measuring changes nothing:
    the same seed with and without this callback gives bit-identical weights.

    Args:
        x: Examples [N, ...], or a dict, list or tuple of such arrays, as `Model.fit` takes them.
        y: Targets [N, ...], likewise.
        clusters: The cluster of each example, [N], to all of the K clusters; -1 for examples that
            are left out, names and [N, 1] as in `tf_gradvar.assignments`.
        num_clusters: K.
        cluster_probabilities: q_k [K], summing to 1. Defaults to uniform.
        every_steps: Measure when the number of steps taken passes a multiple of this. With
            `steps_per_execution` > 1, at the end of that execution. Defaults to 100.
        examples_per_cluster: Measure on so many examples of each cluster, the first ones.
            Defaults to all.
        loss: Function (y, y_pred) -> losses [N, ...], or a Keras loss. Defaults to the compiled
            loss, with its `loss_weights` and a `compute_loss` of the model's own.
        batch_size: Examples in one forward and backward pass. Defaults to 512.
        name: What the keys in the logs begin with. Defaults to "between_cluster_variance".

    Attributes:
        history: A list of dicts with `"step"` and the values by their names above.

    Raises:
        ValueError: Clusters that do not fit the examples, a cluster without examples, `every_steps`
            or `batch_size` below 1; when training starts, a model without a loss and no `loss`
            here.

    Example:
        >>> import keras, numpy as np
        >>> keras.utils.set_random_seed(0)
        >>> x, y = np.eye(4, dtype="float32"), np.array([[0.0], [0.0], [1.0], [1.0]])
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="mse")
        >>> measure = BetweenClusterVariance(x, y, [0, 0, 1, 1], num_clusters=2, every_steps=2)
        >>> _ = model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[measure])
        >>> [sorted(values) for values in measure.history]
        [['momentum', 'sgd', 'step'], ['momentum', 'sgd', 'step']]

    Source: Discover paper, Sections 3 to 5: Eq. 3, Eq. 5, and the figure of the between-cluster
    variance over training (which uses a step's own gradients in place of grad R_k).

    Cost: at each measurement one forward and backward pass over the examples, and K copies of the
    gradient on the host.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        clusters: ArrayLike,
        num_clusters: int,
        cluster_probabilities: ArrayLike | None = None,
        *,
        every_steps: int = 100,
        examples_per_cluster: int | None = None,
        loss: Any = None,
        batch_size: int = 512,
        name: str = LOG_PREFIX,
    ):
        super().__init__()
        for argument, value in (("every_steps", every_steps), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"`{argument}` must be at least 1. Received {value}.")
        self.history: list[dict[str, float]] = []
        self._x, self._y = as_arrays(x, "x"), as_arrays(y, "y")
        self._num_clusters, self._limit = num_clusters, examples_per_cluster
        self._members = _members_of_clusters((self._x, self._y), clusters, num_clusters)
        self._probabilities = cluster_probabilities
        self._due = every(every_steps)
        self._name = check_name(name)
        self._loss = loss
        self._chunk_size = min(batch_size, max(map(len, self._measured_members())))
        self._gradient: WeightedGradient | None = None
        self._compiled_for: tuple[Any, Any] = (None, None)
        self._steps = PassedSteps()
        self._unlogged: dict[str, float] = {}

    def reassign(self, clusters: ArrayLike, cluster_probabilities: ArrayLike | None = None) -> None:
        """Measure between other clusters from now on.

        Args:
            clusters: The cluster of each example, as in the constructor.
            cluster_probabilities: q_k [K], summing to 1. Defaults to the shares of the clusters in
                the data.

        Raises:
            ValueError: As the constructor.
        """
        members = _members_of_clusters((self._x, self._y), clusters, self._num_clusters)
        if cluster_probabilities is None:
            sizes = np.array([len(found) for found in members])
            cluster_probabilities = sizes / sizes.sum()
        self._members, self._probabilities = members, cluster_probabilities

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Count on from the optimizer's steps, so that a resumed run measures at the same ones."""
        self._steps.start(self.model)
        self._compile_once()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure if a multiple of `every_steps` has been passed."""
        passed = self._steps.advance(self.model)
        if any(map(self._due, passed)):
            self._unlogged = self.measure()
            self.history.append({"step": passed[-1], **self._unlogged})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch's last measurement to the logs."""
        if logs is not None:
            # The same keys in every epoch: CSVLogger writes those of the first one.
            values = dict.fromkeys(self._value_names(), float("nan")) | self._unlogged
            join_logs(logs, self._name, values, between="_")
        self._unlogged = {}

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn if nothing was measured."""
        if not self.history:
            self._steps.warn_of_nothing(type(self).__name__, "measured", [self._due])

    def measure(self) -> dict[str, float]:
        """The values at the model's present weights, by the names in the class docstring.

        Returns:
            Name -> sum over the trainable parameters.
        """
        gradients = self.cluster_gradients()
        optimizer = innermost(self.model.optimizer)
        variate = find_control_variate(self.model.optimizer)
        values = {"sgd": between_cluster_variance(gradients, self._probabilities)}
        if variate is not None:
            buffers = [_on_host(g) for g in variate.cluster_gradients]
            values["discover"] = buffered_between_cluster_variance(
                gradients, buffers, self._probabilities
            )
            values["discover_exact"] = estimator_between_cluster_variance(
                gradients, buffers, self._probabilities
            )
        elif "momentum" in self._value_names():
            values["momentum"] = buffered_between_cluster_variance(
                gradients, _momentum_buffers(optimizer), self._probabilities
            )
        return values

    def _value_names(self) -> tuple[str, ...]:
        optimizer = innermost(self.model.optimizer)
        if find_control_variate(self.model.optimizer) is not None:
            return "sgd", "discover", "discover_exact"
        if isinstance(optimizer, keras.optimizers.SGD) and 0 < optimizer.momentum < 1:
            return "sgd", "momentum"
        return ("sgd",)

    def cluster_gradients(self) -> list[np.ndarray]:
        """The gradients grad R_k of the mean unreduced loss of each cluster's examples.

        Returns:
            A list of float64 arrays [K, *shape], in the order of `model.trainable_variables`.
        """
        self._compile_once()
        rows = [self._mean_gradient(members) for members in self._measured_members()]
        return [np.stack(gradients) for gradients in zip(*rows, strict=True)]

    def _measured_members(self) -> list[np.ndarray]:
        return [members[: self._limit] for members in self._members]

    def _compile_once(self) -> WeightedGradient:
        given = compiled_loss(self.model) if self._loss is None else self._loss
        if self._gradient is None or self._compiled_for != (self.model, given):
            self._gradient = WeightedGradient(ModelLoss(self.model, self._loss), training=False)
            self._compiled_for = (self.model, given)
        return self._gradient

    def _mean_gradient(self, members: np.ndarray) -> list[np.ndarray]:
        gradient, size = self._compile_once(), self._chunk_size
        total = [np.zeros(variable.shape) for variable in self.model.trainable_variables]
        for start in range(0, len(members), size):
            rows = members[start : start + size]
            x, y = tf.nest.map_structure(lambda array, rows=rows: array[rows], (self._x, self._y))
            shares = np.full(len(rows), 1.0 / len(members))
            for sum_, part in zip(total, gradient((x, y, None), shares, None, 0), strict=True):
                sum_ += part
        return total


def _members_of_clusters(batch: Any, clusters: Any, num_clusters: int) -> list[np.ndarray]:
    counts = {array.shape[0] if array.ndim else 0 for array in tf.nest.flatten(batch)}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "`x` and `y` must be arrays with one row for each example. Received arrays whose first "
            f"dimensions are {counts}."
        )
    count = counts.pop()
    ids = check_assignments(clusters, name="clusters", count=count, num_clusters=num_clusters)
    members = members_of(ids, count, num_clusters)
    check_none_empty(np.array([len(found) for found in members]), "clusters")
    return members


def _momentum_buffers(optimizer: keras.optimizers.SGD) -> list[np.ndarray]:
    """The momentum buffers of Keras' SGD as averages of gradients, [1, *shape] each.

    Keras keeps velocity_t = beta velocity_{t-1} - lr_t g_t. With one learning rate,
    m = -(1 - beta) velocity / lr is the moving average that starts at zero. A schedule weighs the
    gradients by their own rates: there m = -(1 - beta^t) velocity / sum_s beta^(t-s) lr_s, which
    is the same for one rate, and does not blow up where the schedule ends at zero.
    """
    beta = optimizer.momentum
    longest = math.ceil(math.log(_SMALLEST_WEIGHT) / math.log(beta))
    steps = int(_on_host(optimizer.iterations))
    ages = range(min(steps, longest))
    total = sum(beta**age * _learning_rate(optimizer, steps - 1 - age) for age in ages)
    scale = -(1 - beta ** len(ages)) / total if total else 0.0
    return [scale * _on_host(velocity)[None] for velocity in optimizer.momentums]


def _learning_rate(optimizer: keras.optimizers.Optimizer, step: int) -> float:
    schedule = learning_rate_setting(optimizer)
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return float(schedule(step))
    return float(_on_host(optimizer.learning_rate))


def _on_host(variable: Any) -> np.ndarray:
    """The value of a variable; of its first copy where a strategy mirrors it."""
    return np.asarray(tf.convert_to_tensor(variable))
