"""The steps of a ClusterModel on JAX: functions of the state, on one device or many."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras

from tf_gradvar.keras_internals import keeps_batches_in_order
from tf_gradvar.optimizers.backend.sharded_weights import count_devices
from tf_gradvar.optimizers.control_variate import ClusterControlVariate, find_control_variate
from tf_gradvar.training.cluster_batch import (
    Batch,
    groups_of_batch,
    plain_inputs,
    split_cluster_batch,
    track_loss,
)
from tf_gradvar.training.jax_groups import State, pass_over_groups


class ClusterSteps(keras.Model):
    """The methods of a ClusterModel that Keras calls with a state and a batch."""

    def train_step(self, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        """Return the metrics and the state after one step on a cluster batch.

        Args:
            state: The values of the trainable, the other, the optimizer's and the metrics'
                variables, a list each.
            data: `({"inputs": x, "cluster_ids": ids}, y)` or with sample weights.

        Raises:
            ValueError: If the batch is not a cluster batch of whole groups, or their number is
                not known.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        inputs, cluster_ids = split_cluster_batch(x)
        variate = find_control_variate(self.optimizer)
        if variate is None:
            return super().train_step(state, (inputs, y, sample_weight))
        state, num_groups = State(*state), _known_groups(self)
        clusters = groups_of_batch(cluster_ids, num_groups)
        scale = _loss_scale(self.optimizer, state.optimizer)
        batch = Batch(inputs, y, sample_weight)
        passes = pass_over_groups(self, state, batch, num_groups, scale)
        corrected, skipped, of_optimizer = _corrected(
            self.optimizer, variate, state.optimizer, passes.gradients, clusters
        )
        gradients = _with_regularization(self, state.trainable, corrected)
        gradients = _scaled(self.optimizer, gradients, scale, skipped)
        trainable, of_optimizer = self.optimizer.stateless_apply(
            of_optimizer, gradients, state.trainable
        )
        with _values(self.metrics_variables, passes.metrics) as scope:
            track_loss(self, passes.loss, cluster_ids.shape[0])
            logs = self.compute_metrics(inputs, y, passes.predictions, sample_weight=sample_weight)
        metrics = [scope.get_current_value(v) for v in self.metrics_variables]
        return logs, (trainable, passes.non_trainable, of_optimizer, metrics)

    def test_step(self, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        """Evaluate one batch, plain or of clusters."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return super().test_step(state, (plain_inputs(x), y, sample_weight))

    def predict_step(self, state: Any, data: Any) -> tuple[Any, Any]:
        """Predict one batch, plain or of clusters."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return super().predict_step(state, (plain_inputs(x), y, sample_weight))

    def check_ready(self) -> None:
        """Raise unless the devices can train the model: nothing is needed on JAX."""

    def check_sampling(self, sampling: Any) -> None:
        """Raise unless the devices of `keras.distribution` get whole parts of a batch, their own.

        Args:
            sampling: Of the dataset that `cluster_batches` returned.

        Raises:
            ValueError: If a batch does not divide among them, or its groups would not go to the
                devices that own their clusters.
        """
        devices = count_devices()
        if (sampling.owned_by or 1) > 1 and not keeps_batches_in_order():
            raise ValueError(
                "`buffers='owned'` on several devices of JAX needs Keras 3.10 or newer, since an "
                "older one deals the groups of a batch to the devices in no order. Received: Keras "
                f"{keras.__version__}. Install a newer one, or use `buffers='full'` or 'sharded'."
            )
        size = sampling.groups_per_batch * sampling.group_size
        if size % devices:
            raise ValueError(
                "A batch must divide among the devices of the distribution: make "
                f"`groups_per_batch` (or `group_size`) a multiple of {devices}. Received: "
                f"groups_per_batch={sampling.groups_per_batch} and "
                f"group_size={sampling.group_size}, {size} examples for {devices} devices."
            )


def _known_groups(model: Any) -> int:
    if model.groups_per_batch is None:
        raise ValueError(
            "`groups_per_batch` must be known on JAX. Received: groups_per_batch=None. Train on "
            "what `tf_gradvar.data.cluster_batches` returned, or set `model.groups_per_batch` to "
            "the groups in a batch before `fit`."
        )
    return int(model.groups_per_batch)


def _values(variables: list[Any], values: list[Any]) -> Any:
    """Return a scope in which variables have values and keep what is assigned to them."""
    return keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)))


def _corrected(
    optimizer: Any, variate: ClusterControlVariate, state: list[Any], groups: list[Any], ids: Any
) -> tuple[list[Any], Any, list[Any]]:
    """Return v, whether a group was left out, and the optimizer's state after the correction."""
    with _values(optimizer.variables, state) as scope:
        before = keras.ops.convert_to_tensor(variate.skipped_groups)
        corrected = variate.correct_gradients(groups, ids)
        skipped = keras.ops.convert_to_tensor(variate.skipped_groups) > before
    return corrected, skipped, [scope.get_current_value(v) for v in optimizer.variables]


def _with_regularization(
    model: keras.Model, trainable: list[Any], gradients: list[Any]
) -> list[Any]:
    """Return gradients with that of the weight regularisers added."""
    regularized = [i for i, v in enumerate(model.trainable_variables) if v.regularizer is not None]
    if not regularized:
        return gradients

    def loss(values: list[Any]) -> Any:
        terms = [
            model.trainable_variables[i].regularizer(value)
            for i, value in zip(regularized, values, strict=True)
        ]
        return sum(jnp.asarray(term, "float32") for term in terms)

    extra = jax.grad(loss)([trainable[i] for i in regularized])
    gradients = list(gradients)
    for i, more in zip(regularized, extra, strict=True):
        gradients[i] = gradients[i] + more.astype(gradients[i].dtype)
    return gradients


def _loss_scale(optimizer: Any, state: list[Any]) -> Any:
    """Return the factor by which an optimizer wants the loss scaled, or None for 1."""
    with _values(optimizer.variables, state):
        scale = optimizer.scale_loss(1.0)
    return None if isinstance(scale, float) and scale == 1.0 else scale


def _scaled(optimizer: Any, gradients: list[Any], scale: Any, skipped: Any) -> list[Any]:
    """Return gradients as an optimizer expects them: of the scaled loss.

    Dynamic loss scaling learns of an overflow, so that it skips the step and lowers the scale:
    it gets a gradient that is not finite where a group was skipped.
    """
    if scale is None:
        return gradients
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        scale = jnp.where(skipped, jnp.nan, scale)
    return [g * jnp.asarray(scale, g.dtype) for g in gradients]
