"""The cluster control variate: one gradient buffer per cluster, composed with any base step.

`ClusterControlVariate` turns the mean gradients of groups, each of one cluster, into the
corrected gradient v_t and hands it to the optimizer that follows it among a class's bases.
Whatever that optimizer does with a gradient (clipping, weight decay, schedules, averaging,
its own moments) acts on v_t.
"""

import keras
from keras import ops

from tf_gradvar.keras_internals import clip_gradients
from tf_gradvar.optimizers import backend
from tf_gradvar.optimizers.cluster_buffers import ClusterBuffers
from tf_gradvar.optimizers.rows import as_column, combine_rows, finite_rows, mixing_weights
from tf_gradvar.optimizers.wrappers import find_optimizer


class ClusterControlVariate(ClusterBuffers):
    """Mix-in that puts the control variate before an optimizer's own step.

    Every variable has K buffers g^k, stacked as `[K, *shape]`, and their average
    gbar = sum_k q_k g^k. A step sees C groups; group c holds examples of one cluster k_c
    and has the mean gradient G_c:

        v_t    = mean_c (G_c - g^{k_c}_{t-1}) + gbar_{t-1}
        g^k_t  = g^k_{t-1} + alpha (mean_{c: k_c = k} G_c - g^k_{t-1})    for the k present
        gbar_t = gbar_{t-1} + sum_k q_k (g^k_t - g^k_{t-1})

    v_t is an unbiased estimate of the gradient of sum_k q_k R_k whatever the buffers hold,
    provided that clusters are drawn with the probabilities q_k, and its between-cluster
    variance vanishes as the buffers approach the clusters' gradients. `alpha` acts on the
    mean over all groups of a cluster in the step, on all replicas, so it means the same on
    1 and on 64 replicas.

    A group whose gradient is not finite, or whose cluster is not in [0, K), is left out of
    the step: it enters neither v_t nor a buffer, and `skipped_groups` counts it.

    With `gradient_accumulation_steps`, every accumulated step is corrected and moves the
    buffers; the base optimizer then steps with the mean of the corrected gradients.

    Memory: K + 1 copies of the trainable weights beside what the base optimizer keeps.

    Args:
        num_clusters: The number of clusters K, an integer of at least 1.
        alpha: The step of the buffers, in (0, 1].
        cluster_probabilities: The probability q_k of each cluster, K floats that sum to 1;
            None stands for 1 / K each.
        buffer_dtype: `"float32"`, or `"bfloat16"` to halve the memory of the K buffers
            (their average stays float32).

    Raises:
        ValueError: If an argument breaks its rule.

    Source: Discover paper, Section 4, Eq. 4 and Algorithm 1.
    """

    def correct_gradients(self, group_gradients, group_clusters, group_sizes=None):
        """Return the corrected gradient v_t and move the buffers towards the groups.

        Call it once a step, then `apply` what it returns. Inside `strategy.run`, pass the
        groups of the replica: the result is that of all groups of all replicas.

        Args:
            group_gradients: One tensor [C, *shape] for each variable that the optimizer
                was built with, in that order: the mean gradient of each group (of the
                unscaled loss). None for a variable without a gradient.
            group_clusters: The cluster of each group, integers [C] in [0, K).
            group_sizes: The examples in each group, numbers [C], where groups differ in
                size: the means over groups above then weigh every example alike. A group
                of size 0 is absent. Defaults to None, groups of equal size.

        Returns:
            v_t, a list of float32 tensors [*shape] (None where the gradient was None).

        Raises:
            ValueError: If the optimizer is not built, or a length, shape or dtype does
                not fit.
        """
        group_clusters = ops.convert_to_tensor(group_clusters)
        if group_sizes is not None:
            group_sizes = ops.convert_to_tensor(group_sizes, "float32")
        self._check_groups(group_gradients, group_clusters, group_sizes)
        given = [i for i, gradient in enumerate(group_gradients) if gradient is not None]
        rows = [ops.cast(group_gradients[i], "float32") for i in given]
        clusters = ops.cast(group_clusters, "int32")
        sizes = ops.ones_like(clusters) if group_sizes is None else group_sizes
        rows, counts, clusters = self._drop_invalid(
            rows, ops.cast(sizes, "float32"), clusters, given
        )
        num_groups = backend.num_replicas() * clusters.shape[0]
        if num_groups > self.num_clusters and num_groups > 1:
            rows, counts, clusters = self._mean_per_cluster(rows, counts, clusters)
        elif backend.num_replicas() > 1:
            *rows, counts, clusters = backend.on_all_replicas([*rows, counts, clusters])
        weights = mixing_weights(
            counts, clusters, ops.convert_to_tensor(self._probabilities), self.alpha
        )
        corrected = [None] * len(group_gradients)
        written: list = [None, None]  # two variables at a time: copying a row takes one core
        for i, row in zip(given, rows, strict=True):
            with backend.in_order([written[-2]]):
                if num_groups == 1 and group_sizes is None:
                    corrected[i], done = self._correct_one_group(i, row[0], clusters[0])
                else:
                    corrected[i], done = self._correct_rows(i, row, clusters, weights)
            written.append(done)
        self._corrections_pending = min(self._corrections_pending + 1, backend.num_replicas())
        self._corrects_in_graphs |= backend.in_graph()
        return corrected

    def _check_groups(self, group_gradients, group_clusters, group_sizes):
        if not self.built:
            raise ValueError(
                f"`correct_gradients` needs the buffers of {type(self).__name__}, which is "
                "not built. Call `optimizer.build(model.trainable_variables)` first."
            )
        buffers = self._cluster_gradients
        if len(group_gradients) != len(buffers):
            raise ValueError(
                "`group_gradients` must hold one entry for each of the "
                f"{len(buffers)} variables that the optimizer was built with (None for a "
                f"variable without a gradient). Received {len(group_gradients)} entries. If layers "
                "were frozen or unfrozen since, compile the model again with a new optimizer: "
                "like every Keras optimizer, this one keeps to the variables it was built with."
            )
        shape = tuple(ops.shape(group_clusters))
        dtype = keras.backend.standardize_dtype(group_clusters.dtype)
        if len(shape) != 1 or not isinstance(shape[0], int) or "int" not in dtype:
            raise ValueError(
                "`group_clusters` must be integers of a static shape [C], the cluster of each "
                f"group. Received shape {shape} and dtype {dtype}."
            )
        if group_sizes is not None and tuple(ops.shape(group_sizes)) != shape:
            raise ValueError(
                f"`group_sizes` must have the shape of `group_clusters`, {shape}. Received "
                f"shape {tuple(ops.shape(group_sizes))}."
            )
        for gradient, buffer in zip(group_gradients, buffers, strict=True):
            expected = (*shape, *buffer.shape[1:])
            if gradient is not None and tuple(gradient.shape) != expected:
                raise ValueError(
                    "`group_gradients` must have the shape [C, *shape] with one mean gradient "
                    f"for each of the C={shape[0]} groups; {buffer.name} needs {expected}. "
                    f"Received shape {tuple(gradient.shape)}."
                )

    def _drop_invalid(self, rows, sizes, clusters, given):
        """Return rows without invalid groups, the weight of each row, and known clusters.

        An invalid row is replaced by the buffer's own row, so that its deviation is 0.
        """
        known = ops.logical_and(clusters >= 0, clusters < self.num_clusters)
        clusters = ops.clip(clusters, 0, self.num_clusters - 1)
        valid = ops.logical_and(known, finite_rows(rows)) if rows else known

        def replace():
            replaced = []
            for i, row in zip(given, rows, strict=True):
                old = backend.gather_rows(self._cluster_gradients[i], clusters)
                replaced.append(ops.where(as_column(valid, row), row, ops.cast(old, row.dtype)))
            return replaced

        rows = ops.cond(ops.all(valid), lambda: rows, replace) if rows else rows
        skipped = ops.logical_and(sizes > 0, ops.logical_not(valid))
        self.count_skipped(ops.sum(ops.cast(skipped, "int32")))
        return rows, ops.where(valid, sizes, 0.0), clusters

    def count_skipped(self, skipped):
        """Add to `skipped_groups` what was left out of the step on this replica.

        Args:
            skipped: A number of groups, an int32 scalar.
        """
        if backend.num_replicas() > 1:
            (skipped,) = backend.sum_over_replicas([skipped])
        self._skipped_groups.assign(self._skipped_groups + skipped)

    def _mean_per_cluster(self, rows, counts, clusters):
        """Return the mean group gradient of every cluster over all replicas, K rows."""
        members = ops.transpose(ops.one_hot(clusters, self.num_clusters)) * counts
        sums = [ops.sum(members, axis=1), *(combine_rows(members, row) for row in rows)]
        if backend.num_replicas() > 1:
            sums = backend.sum_over_replicas(sums)
        counts, *rows = sums
        rows = [ops.divide_no_nan(row, as_column(counts, row)) for row in rows]
        return rows, counts, ops.arange(self.num_clusters, dtype="int32")

    def _correct_one_group(self, index, gradient, cluster):
        """Return v_t of one variable and the operation that wrote its buffer, for C = 1.

        A tensor is overwritten in place by the last operation that reads it, so each one
        waits for the others: the row, its deviation and the new row are one piece of memory.
        """
        buffers, average = self._cluster_gradients[index], self._mean_cluster_gradients[index]
        old = ops.cast(backend.gather_rows(buffers, cluster), "float32")
        deviation = gradient - old
        corrected = deviation + average
        probability = ops.take(self._probabilities, cluster)
        with backend.in_order([corrected]):
            if self.buffer_dtype == "float32":
                done = backend.add_scaled(average, probability * self.alpha, deviation)
                with backend.in_order([done]):
                    new = gradient - (1.0 - self.alpha) * deviation
            else:  # gbar stays the average of the buffers as they are rounded
                new = ops.cast(gradient - (1.0 - self.alpha) * deviation, buffers.dtype)
                done = backend.add_scaled(average, probability, ops.cast(new, "float32") - old)
        with backend.in_order([done]):
            return corrected, backend.put_rows(buffers, cluster, new)

    def _correct_rows(self, index, rows, clusters, weights):
        """Return v_t of one variable and the operation that wrote its buffers."""
        mean_weights, row_weights, average_weights = weights
        buffers, average = self._cluster_gradients[index], self._mean_cluster_gradients[index]
        old = ops.cast(backend.gather_rows(buffers, clusters), "float32")
        deviations = rows - old
        corrected = combine_rows(mean_weights, deviations) + average
        change = combine_rows(row_weights, deviations)
        new = ops.cast(old + change, buffers.dtype)
        if self.buffer_dtype != "float32":  # gbar stays the average of the buffers as rounded
            change = ops.cast(new, "float32") - old
        with backend.in_order([corrected]):
            done = backend.add_scaled(average, 1.0, combine_rows(average_weights, change))
        with backend.in_order([done]):
            return corrected, backend.put_rows(buffers, clusters, new)

    def apply(self, grads, trainable_variables=None):
        """Take the base optimizer's step with corrected gradients.

        Args:
            grads: What `correct_gradients` returned.
            trainable_variables: The variables, if not those that the optimizer was built
                with.

        Raises:
            ValueError: If the gradients were not corrected and there is more than one
                cluster (for one cluster the base optimizer's own step is the same).
        """
        # A graph that corrects runs without this code, so a step outside it cannot know.
        unknown = self._corrects_in_graphs and not backend.in_graph()
        corrected = self._corrections_pending > 0 or unknown
        if not corrected and self.num_clusters > 1:
            raise ValueError(
                f"`apply` of {type(self).__name__} needs gradients that went through "
                "`correct_gradients(group_gradients, group_clusters)` in the same step. "
                "Received gradients that did not. Train a `tf_gradvar.ClusterModel`, which "
                "does it, or call it yourself in a custom training step."
            )
        self._corrections_pending = max(self._corrections_pending - 1, 0)
        grads = [backend.dense(gradient) for gradient in grads]
        if corrected:
            grads = self._divide_among_replicas(grads)
        super().apply(grads, trainable_variables)

    def _divide_among_replicas(self, grads):
        """Return the share of each replica in gradients that all replicas hold in full.

        The base optimizer clips, then sums over the replicas. Clipping the full gradient
        first makes its own clipping of the share do nothing.
        """
        replicas = backend.num_replicas()
        if replicas == 1:
            return grads
        base: keras.optimizers.Optimizer = getattr(self, "inner_optimizer", self)
        given = [g for g in grads if g is not None]
        if base.clipnorm or base.global_clipnorm or base.clipvalue:
            scale = base.loss_scale_factor or 1.0
            given = [g * scale for g in clip_gradients(base, [g / scale for g in given])]
        shares = iter([g / replicas for g in given])
        return [None if g is None else next(shares) for g in grads]


def find_control_variate(optimizer):
    """Return the Discover optimizer inside an optimizer and its wrappers, or None.

    Args:
        optimizer: A Keras optimizer, possibly a `keras.optimizers.LossScaleOptimizer`.
    """
    return find_optimizer(optimizer, ClusterControlVariate)
