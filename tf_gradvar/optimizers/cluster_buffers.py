"""The buffers of the control variate: one gradient for each cluster of the data."""

import functools
import math

import keras
import numpy as np
from keras import ops

from tf_gradvar.arguments import (
    check_choice,
    check_num_clusters,
    check_number,
    check_probabilities,
)
from tf_gradvar.optimizers.rows import combine_rows

BUFFER_DTYPES = ("float32", "bfloat16")


@functools.cache
def _print_once(message: str) -> None:
    print(message)


class ClusterBuffers(keras.optimizers.Optimizer):
    """Mix-in that keeps K buffers g^k for each variable and gbar = sum_k q_k g^k.

    The constructor's arguments, and what the buffers are for, are on the page of
    `tf_gradvar.optimizers.ClusterControlVariate`.
    """

    def __init__(
        self,
        *args,
        num_clusters,
        alpha=0.1,
        cluster_probabilities=None,
        buffer_dtype="float32",
        **kwargs,
    ):
        num_clusters = check_num_clusters(num_clusters)
        alpha = check_number("alpha", alpha, 0, 1, low_open=True)
        probabilities = check_probabilities(cluster_probabilities, num_clusters)
        buffer_dtype = check_choice("buffer_dtype", buffer_dtype, BUFFER_DTYPES)
        super().__init__(*args, **kwargs)
        self.num_clusters = num_clusters
        self.alpha = alpha
        self._given_probabilities = probabilities
        self.buffer_dtype = buffer_dtype
        self._corrections_pending = 0
        self._corrects_in_graphs = False

    @property
    def variables(self):
        """All variables, with the cluster probabilities last."""
        if not self.built:
            return super().variables
        own = self._probabilities
        return [*(v for v in super().variables if v is not own), own]

    @property
    def cluster_probabilities(self):
        """The probability q_k of each cluster, K floats; None for 1 / K each.

        `recluster` changes it, and loading a saved state restores it.
        """
        if not self.built:
            return self._given_probabilities
        held = ops.convert_to_numpy(self._probabilities)
        if np.array_equal(held, self._start_probabilities((self.num_clusters,), "float32")):
            return self._given_probabilities  # with all the digits that were given
        return [float(q) for q in held]

    @property
    def cluster_gradients(self):
        """The K buffers of each trainable variable, a list of [K, *shape] variables."""
        return self._cluster_gradients

    @property
    def mean_cluster_gradients(self):
        """The average gbar of the buffers, a list of float32 variables [*shape]."""
        return self._mean_cluster_gradients

    @property
    def skipped_groups(self):
        """How many groups were left out so far, an int32 variable."""
        return self._skipped_groups

    def build(self, variables):
        """Create the buffers, after the base optimizer's own variables.

        Args:
            variables: The model's trainable variables; this order is the order of
                `group_gradients` and `cluster_gradients`.
        """
        if self.built:
            return
        super().build(variables)
        self._cluster_gradients = []
        self._mean_cluster_gradients = []
        for variable in variables:
            name = variable.path.replace("/", "_")
            stacked = (self.num_clusters, *variable.shape)
            self._cluster_gradients.append(
                self._add_buffer(stacked, self.buffer_dtype, f"{name}_cluster_gradients")
            )
            self._mean_cluster_gradients.append(
                self._add_buffer(variable.shape, "float32", f"{name}_mean_cluster_gradient")
            )
        self._skipped_groups = self._add_buffer((), "int32", "skipped_groups")
        self._probabilities = self._add_buffer(
            (self.num_clusters,), "float32", "cluster_probabilities", self._start_probabilities
        )
        self._announce_memory()

    def _add_buffer(self, shape, dtype, name, initializer="zeros"):
        return self.add_variable(
            shape=shape,
            dtype=dtype,
            initializer=initializer,
            name=name,
            aggregation="only_first_replica",
        )

    def _start_probabilities(self, shape, dtype=None):
        """The probabilities that were given, as Keras calls an initializer."""
        uniform = 1.0 / self.num_clusters
        return np.broadcast_to(self._given_probabilities or uniform, shape).astype(dtype)

    def _announce_memory(self):
        weights = sum(math.prod(v.shape) for v in self._mean_cluster_gradients)
        size = 4 if self.buffer_dtype == "float32" else 2
        megabytes = (self.num_clusters * size + 4) * weights / 1e6
        _print_once(
            f"{type(self).__name__} keeps {self.num_clusters} + 1 gradient buffers of "
            f"{weights:,} weights: {megabytes:,.1f} MB."
        )

    def recluster(self, transfer=None, cluster_probabilities=None):
        """Go on with other clusters: new buffers from the old ones, their average anew.

            g^k   <- sum_l transfer[k, l] g^l      or gbar for every k, without `transfer`
            q     <- cluster_probabilities
            gbar  <- sum_k q_k g^k

        Draw the groups from the new clusters, with the new probabilities, from the next step
        on: v_t is then unbiased whatever the buffers hold. A buffer for each cluster is matched
        to the examples that it now stands for; gbar for all forgets what told the clusters
        apart and keeps what they have in common, so that clusters that are not seen for a while
        do not disturb (buffers of 0 would: they miss the mean gradient until they are seen).

        Call it between steps, from outside `strategy.run`. Nothing is compiled again.

        Args:
            transfer: The shares [K, K] of the old clusters in each new one, rows that sum to
                1, as `tf_gradvar.optimizers.cluster_transfer` counts them. Defaults to None,
                which starts all buffers at their average.
            cluster_probabilities: q_k, K floats that sum to 1. Defaults to None, which is
                1 / K each; pass the sizes of the clusters divided by N to go on with the
                average over the data.

        Raises:
            ValueError: If the optimizer is not built, or an argument breaks its rule.

        Example:
            >>> import contextlib, keras
            >>> from tf_gradvar.optimizers import Discover, cluster_transfer
            >>> optimizer = Discover(0.1, num_clusters=2, alpha=1.0)
            >>> with contextlib.redirect_stdout(None):  # it prints its memory, once a process
            ...     optimizer.build([keras.Variable(0.0)])
            >>> group_gradients = [keras.ops.convert_to_tensor([1.0, 4.0])]
            >>> _ = optimizer.correct_gradients(group_gradients, [0, 1])
            >>> before, after = [0, 0, 1, 1], [1, 1, 1, 0]  # the clusters of four examples
            >>> optimizer.recluster(cluster_transfer(before, after, 2), [0.25, 0.75])
            >>> keras.ops.convert_to_numpy(optimizer.cluster_gradients[0]).tolist()
            [4.0, 2.0]
            >>> float(optimizer.mean_cluster_gradients[0])
            2.5

        Cost: one sweep over the buffers; with `transfer` K^2 products for each weight, and a
        copy of one variable's buffers at a time.
        """
        if not self.built:
            raise ValueError(
                f"`recluster` needs the buffers of {type(self).__name__}, which is not built. "
                "Before training, pass the clusters' probabilities to the constructor."
            )
        shares = None if transfer is None else _check_transfer(transfer, self.num_clusters)
        given = check_probabilities(cluster_probabilities, self.num_clusters)
        uniform = [1.0 / self.num_clusters] * self.num_clusters
        q = ops.convert_to_tensor(given or uniform, dtype="float32")
        for buffers, average in zip(
            self._cluster_gradients, self._mean_cluster_gradients, strict=True
        ):
            if shares is None:
                new = ops.broadcast_to(ops.convert_to_tensor(average), buffers.shape)
            else:
                new = combine_rows(shares, ops.cast(buffers, "float32"))
            buffers.assign(ops.cast(new, buffers.dtype))
            average.assign(combine_rows(q, ops.cast(buffers, "float32")))
        self._probabilities.assign(q)

    def load_own_variables(self, store):
        """Load the optimizer's state from a saved model or weights file.

        A file from before the cluster probabilities were saved leaves them as they are.

        Args:
            store: The saved arrays by index.

        Raises:
            ValueError: If the file was written with another number of clusters.
        """
        if self.built:
            position = next(
                i for i, v in enumerate(self.variables) if v is self._cluster_gradients[0]
            )
            keys = set(store.keys())  # what Keras passes is no dictionary, and lacks `in`
            saved = store[str(position)].shape if str(position) in keys else None
            if saved is not None and saved != tuple(self._cluster_gradients[0].shape):
                raise ValueError(
                    f"The saved state of {type(self).__name__} holds cluster buffers of shape "
                    f"{tuple(saved)}, this optimizer needs "
                    f"{tuple(self._cluster_gradients[0].shape)}: the first number is "
                    "`num_clusters`, which must be that of the run that saved the file. "
                    f"Received: num_clusters={self.num_clusters}."
                )
            last = len(self.variables) - 1
            if keys == {str(i) for i in range(last)}:
                store = {key: store[key] for key in keys}
                store[str(last)] = ops.convert_to_numpy(self._probabilities)
        super().load_own_variables(store)

    def get_config(self):
        """Return the arguments that re-create the optimizer, JSON-plain."""
        return {
            **super().get_config(),
            "num_clusters": self.num_clusters,
            "alpha": self.alpha,
            "cluster_probabilities": self.cluster_probabilities,
            "buffer_dtype": self.buffer_dtype,
        }


def _check_transfer(transfer, num_clusters):
    shares = np.asarray(transfer, np.float64)
    valid = shares.shape == (num_clusters, num_clusters) and bool((shares >= 0).all())
    if not valid or np.abs(shares.sum(axis=1) - 1.0).max() > 1e-6:
        raise ValueError(
            f"`transfer` must hold the shares of the {num_clusters} old clusters in each of the "
            f"{num_clusters} new ones: rows of numbers >= 0 that sum to 1. Received an array of "
            f"shape {shares.shape}{f' with rows that sum to {_shown(shares)}' if valid else ''}. "
            "`tf_gradvar.optimizers.cluster_transfer` counts them."
        )
    return ops.convert_to_tensor(shares, dtype="float32")


def _shown(shares):
    sums = shares.sum(axis=1)
    return f"{sums.min():g} to {sums.max():g}"
