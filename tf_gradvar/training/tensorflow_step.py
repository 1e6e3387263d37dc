"""The steps of a ClusterModel on TensorFlow: variables are changed in place, on each replica."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.optimizers.control_variate import find_control_variate
from tf_gradvar.training.cluster_batch import (
    Batch,
    check_made_in_scope,
    plain_inputs,
    split_cluster_batch,
    track_loss,
)
from tf_gradvar.training.fit_limits import refuse_several_workers, refuse_what_fit_lacks
from tf_gradvar.training.grouping import grouped_gradients, groups_per_replica
from tf_gradvar.training.outside_groups import scaled, with_regularization


class ClusterSteps(keras.Model):
    """The methods of a ClusterModel that Keras calls with a batch."""

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: Any) -> dict[str, Any]:
        """Take one step on a cluster batch; callable from `strategy.run` as well.

        Args:
            data: `({"inputs": x, "cluster_ids": ids}, y)` or with sample weights.

        Returns:
            The metrics, a dict of scalars.

        Raises:
            ValueError: If the batch is not a cluster batch of whole groups.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        inputs, cluster_ids = split_cluster_batch(x)
        variate = find_control_variate(self.optimizer)
        if variate is None:
            return super().train_step((inputs, y, sample_weight))
        if not self.built:  # a subclass that was not called yet
            self(keras.tree.map_structure(_symbol, inputs))
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        batch = Batch(inputs, y, sample_weight)
        groups, clusters, sizes, left_out = grouped_gradients(
            self, batch, cluster_ids, variate.num_clusters
        )
        if left_out is not None:
            variate.count_skipped(left_out)
        skipped = tf.identity(variate.skipped_groups.value)
        gradients = variate.correct_gradients(groups.gradients, clusters, sizes)
        gradients = with_regularization(self, gradients)
        gradients = scaled(self.optimizer, gradients, variate.skipped_groups.value > skipped)
        self.optimizer.apply(gradients, self.trainable_variables)
        track_loss(self, groups.loss, tf.shape(cluster_ids)[0])
        return self.compute_metrics(inputs, y, groups.predictions, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluate one batch, plain or of clusters."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return super().test_step((plain_inputs(x), y, sample_weight))

    def predict_step(self, data: Any) -> Any:
        """Predict one batch, plain or of clusters."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return super().predict_step((plain_inputs(x), y, sample_weight))

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate; arguments are those of `keras.Model.evaluate`.

        Raises:
            ValueError: If the strategy has several workers.
        """
        refuse_several_workers(self, "evaluate")
        return super().evaluate(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Train on one batch; arguments and errors as `evaluate` has them."""
        refuse_several_workers(self, "train_on_batch")
        return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one batch; arguments and errors as `evaluate` has them."""
        refuse_several_workers(self, "test_on_batch")
        return super().test_on_batch(*args, **kwargs)

    def check_ready(self) -> None:
        """Raise unless the strategy can train the model."""
        refuse_what_fit_lacks(self)
        check_made_in_scope(self)

    def check_sampling(self, sampling: Any) -> None:
        """Raise unless the groups of a batch divide among the replicas."""
        groups_per_replica(self)


def _symbol(tensor: tf.Tensor) -> keras.KerasTensor:
    return keras.KerasTensor(tensor.shape, tensor.dtype.name)
