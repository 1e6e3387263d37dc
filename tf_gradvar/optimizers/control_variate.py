"""The cluster control variate before the step of any optimizer.

`ClusterControlVariate` turns the mean gradients of groups, each of one cluster, into the corrected
gradient v_t and hands it to the optimizer that it holds. Whatever that optimizer does with a
gradient (clipping, weight decay, schedules, averaging, its own moments) acts on v_t.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_gradvar.arguments import check_probabilities
from tf_gradvar.keras_internals import build_around, own_variables
from tf_gradvar.optimizers.backend import functions as backend
from tf_gradvar.optimizers.buffers import FullBuffers, check_saved, check_transfer
from tf_gradvar.optimizers.correction_scale import LearnedScale
from tf_gradvar.optimizers.groups import check_groups, judged_groups
from tf_gradvar.optimizers.low_rank import LowRankBuffers
from tf_gradvar.optimizers.owned import OwnedBuffers
from tf_gradvar.optimizers.replicas import refuse_what_replicas_lack, step_of_replica
from tf_gradvar.optimizers.settings import Settings
from tf_gradvar.optimizers.sharded import ShardedBuffers
from tf_gradvar.optimizers.update_rule import Combination, Rule
from tf_gradvar.optimizers.wrappers import OptimizerAround, find_optimizer


class ClusterControlVariate(OptimizerAround):
    """An optimizer on gradients that K buffers have corrected: the base of the Discover forms.

    Every variable has K buffers g^k, stacked as `[K, *shape]`, and their average
    gbar = sum_k q_k g^k. A step sees C groups; group c holds examples of one cluster k_c
    and has the mean gradient G_c:

        v_t    = gbar_{t-1} + gain mean_c (G_c - g^{k_c}_{t-1})
        g^k_t  = g^k_{t-1} + alpha (mean_{c: k_c = k} G_c - g^k_{t-1})    for the k present
        gbar_t = gbar_{t-1} + sum_k q_k (g^k_t - g^k_{t-1})

    (`tf_gradvar.optimizers.update_rule` has these lines as code.) The paper's text supports two
    readings of its Eq. 4, whose formula is lost:

    - `gain=1`, the control variate: v_t is an unbiased estimate of the gradient of sum_k q_k R_k
      whatever the buffers hold, provided that clusters are drawn with the probabilities q_k, and
      its between-cluster variance vanishes as the buffers approach the clusters' gradients.
    - `gain="alpha"`, the multi-momentum: v_t is the average of K momentum buffers after their
      step. With one cluster it is momentum in its moving-average form, with decay 1 - alpha.

    A gain in between averages the noise within clusters over more steps, and lags more. For all
    gains, E v_t = gbar + gain (grad R - gbar), and its variance is gain^2 times that of gain 1.

    With `scale` s the step is (1 - s) mean_c G_c + s v_t. `scale="auto"` learns s for each
    variable, as `tf_gradvar.optimizers.correction_scale` says: with gain 1 it stays unbiased, and
    buffers that are of no use leave the plain gradient.

    `alpha` acts on the mean over all groups of a cluster in the step, on all replicas, so it
    means the same on 1 and on 64 replicas.

    A group whose gradient is not finite, or whose cluster is not in [0, K), is left out of
    the step: it enters neither v_t nor a buffer, and `skipped_groups` counts it.

    With `gradient_accumulation_steps`, every accumulated step is corrected and moves the
    buffers; the inner optimizer then steps with the mean of the corrected gradients.

    With `buffers="low_rank"` and `rank` r, a buffer is approximated by r columns, and what that
    leaves out is kept in one part that all clusters share, so that gbar moves as with full
    buffers; v_t stays unbiased with gain 1 (`tf_gradvar.optimizers.low_rank_rule`).

    With `buffers="owned"`, each of R replicas draws its groups from its own clusters alone
    (`cluster_batches(..., owned_by=R)`) and keeps only their buffers. v_t is unbiased with gain 1,
    and one sum over the replicas of as many numbers as there are weights serves it and gbar, in
    place of gathering the group gradients. `alpha` is then what a group moves the buffer of the
    rarest cluster by, and the others move in proportion (`tf_gradvar.optimizers.owned_rule`). On
    one replica all clusters are its own. There is no `recluster`, `scale="auto"`, group of another
    size, or bfloat16.

    With `buffers="sharded"` (on JAX), each of R devices of `keras.distribution` keeps a slice of
    all buffers; the numbers are those of full ones (`tf_gradvar.optimizers.sharded`).

    Memory: K + 1 copies of the trainable weights beside what the inner optimizer keeps; with low
    rank, for a matrix [I, O], K r (I + O) + 2 I O numbers; with owned clusters K / R + 1 copies on
    each replica, in slices (K + 1) / R.

    Args:
        optimizer: The Keras optimizer whose step is taken with v_t, not yet built. Learning rate,
            clipping, weight decay, averaging and loss scaling are its own, and can be asked of
            and set on this one.
        settings: Those of the control variate, a `tf_gradvar.optimizers.settings.Settings`.
        learning_rate: Of a variable that nothing steps by, unless a subclass shares it. Defaults
            to 0.
        name: The name of the optimizer. Defaults to None: that of the class.

    Raises:
        ValueError: When it is built under a strategy, an option of the inner optimizer that
            replicas lack; in a step, what `correct_gradients` and `apply` refuse.

    Example:
        >>> import keras
        >>> from tf_gradvar.optimizers import ClusterControlVariate, Discover
        >>> optimizer = Discover(0.1, num_clusters=10, alpha=0.2)
        >>> isinstance(optimizer, ClusterControlVariate), optimizer.gain_value
        (True, 0.2)
        >>> isinstance(optimizer.inner_optimizer, keras.optimizers.SGD)
        True

    Source: Discover paper, Section 4, Eq. 4 and Algorithm 1.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        settings: Settings,
        *,
        learning_rate: Any = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(optimizer, learning_rate, name)
        self.num_clusters = settings.num_clusters
        self.alpha = settings.alpha
        self.gain = settings.gain
        self.scale = settings.scale
        self.buffer_dtype = settings.buffer_dtype
        self.buffers = settings.buffers
        self.rank = settings.rank
        given = settings.cluster_probabilities
        self._given_probabilities = None if given is None else list(given)
        self._learned_scale: LearnedScale | None = None
        self._corrections_pending = 0
        self._corrects_in_graphs = False

    @property
    def variables(self) -> list[Any]:
        """All variables; the cluster probabilities come last, as they do in saved files."""
        own = own_variables(self)
        last = len(own) - self.built
        return [*own[:last], *self.inner_optimizer.variables, *own[last:]]

    @property
    def cluster_probabilities(self) -> list[float] | None:
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
    def cluster_gradients(self) -> list[Any]:
        """The K buffers of each trainable variable, a list of [K, *shape] variables.

        With low rank, matrices have `tf_gradvar.optimizers.low_rank.FactoredBuffers` in the list:
        `cluster_gradients[i][k]`, the buffer [*shape] of cluster k, is the same for both.
        """
        return self._buffers.cluster_gradients

    @property
    def mean_cluster_gradients(self) -> list[Any]:
        """The average gbar of the buffers, a list of float32 variables [*shape]."""
        return self._buffers.averages

    @property
    def num_owners(self) -> int | None:
        """The replicas that own the clusters, with `buffers="owned"`; else None."""
        if self.buffers != "owned":
            return None
        return backend.num_owners(self)

    @property
    def gain_value(self) -> float:
        """The gain as a number."""
        return self.alpha if self.gain == "alpha" else float(self.gain)

    @property
    def correction_scale(self) -> Any:
        """How much of the step is v_t, which is `scale` or was learned for each variable.

        The latter is a float32 variable [V] in the order of the variables that the optimizer was
        built with.
        """
        return self.scale if self._learned_scale is None else self._learned_scale.values

    @property
    def combination(self) -> Combination:
        """The factors of the group gradients and of their buffers in the next v_t.

        With the scale s of a variable, a = 1 - s + s gain and b = s gain.
        """
        scale = ops.convert_to_numpy(self.correction_scale)
        scales = [float(s) for s in np.broadcast_to(scale, (len(self.cluster_gradients),))]
        of_gradients = (
            1.0 if self.scale == "auto" else 1.0 - float(self.scale) * (1 - self.gain_value)
        )
        return Combination(of_gradients, [s * self.gain_value for s in scales])

    @property
    def skipped_groups(self) -> Any:
        """How many groups were left out so far, an int32 variable."""
        return self._skipped_groups

    def build(self, variables: list[Any]) -> None:
        """Create the inner optimizer's variables, then the buffers.

        Args:
            variables: The model's trainable variables; this order is the order of
                `group_gradients` and `cluster_gradients`.
        """
        if self.built:
            return
        refuse_what_replicas_lack(self.inner_optimizer)
        self._build_inner(variables)
        self._buffers = self._make_buffers(variables)
        if self.scale == "auto":
            self._learned_scale = LearnedScale(
                self.add_shared_variable, len(variables), forgetting=self.alpha
            )
        self._skipped_groups = self.add_shared_variable((), "int32", "skipped_groups")
        self._probabilities = self.add_shared_variable(
            (self.num_clusters,), "float32", "cluster_probabilities", self._start_probabilities
        )
        build_around(self, self.inner_optimizer, variables)
        self._buffers.announce(type(self).__name__)

    def _build_inner(self, variables: list[Any]) -> None:
        self.inner_optimizer.build(variables)

    def _make_buffers(self, variables: list[Any]) -> FullBuffers | LowRankBuffers:
        if self.buffers == "owned":
            q = self._start_probabilities((self.num_clusters,), "float64")
            return OwnedBuffers(self, variables, q.tolist())
        arguments = self.add_shared_variable, variables, self.num_clusters, self.buffer_dtype
        if self.buffers == "sharded":
            return ShardedBuffers(*arguments)
        return (
            FullBuffers(*arguments) if self.rank is None else LowRankBuffers(*arguments, self.rank)
        )

    def _start_probabilities(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        """Return the probabilities that were given, as Keras calls an initializer."""
        uniform = 1.0 / self.num_clusters
        return np.broadcast_to(self._given_probabilities or uniform, shape).astype(dtype)

    def correct_gradients(
        self, group_gradients: Sequence[Any], group_clusters: Any, group_sizes: Any = None
    ) -> list[Any]:
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
        if not self.built:
            raise ValueError(
                f"`correct_gradients` needs the buffers of {type(self).__name__}, which is "
                "not built. Call `optimizer.build(model.trainable_variables)` first."
            )
        group_clusters = ops.convert_to_tensor(group_clusters)
        if group_sizes is not None:
            group_sizes = ops.convert_to_tensor(group_sizes, "float32")
        check_groups(group_gradients, group_clusters, group_sizes, self.cluster_gradients)
        if isinstance(self._buffers, OwnedBuffers):
            self._buffers.check_step(group_clusters.shape[0], group_sizes)
        groups, skipped = judged_groups(
            group_gradients, group_clusters, group_sizes, self.num_clusters
        )
        if isinstance(self._buffers, OwnedBuffers):
            groups, skipped = self._buffers.without_foreign(groups, skipped)
        self.count_skipped(skipped)
        probabilities = ops.convert_to_tensor(self._probabilities)
        learns = self._learned_scale is not None
        rule = Rule(self.alpha, self.gain_value, self._scales(), learns)
        corrected, moments = self._buffers.correct(groups, probabilities, rule)
        if self._learned_scale is not None:
            given = [i for i, gradient in enumerate(corrected) if gradient is not None]
            self._learned_scale.learn(moments, given)
        self._corrections_pending = min(self._corrections_pending + 1, backend.num_replicas())
        self._corrects_in_graphs |= backend.in_graph()
        return corrected

    def _scales(self) -> list[Any] | None:
        """Return the share of the correction in the step for each variable; None: 1."""
        if self._learned_scale is not None:
            return self._learned_scale.of_variables()
        scale = float(self.scale)
        return None if scale == 1.0 else [scale] * len(self.cluster_gradients)

    def count_skipped(self, skipped: Any) -> None:
        """Add to `skipped_groups` what was left out of the step on this replica.

        Args:
            skipped: A number of groups, an int32 scalar.
        """
        if backend.num_replicas() > 1:
            (skipped,) = backend.sum_over_replicas([skipped])
        self._skipped_groups.assign(self._skipped_groups + skipped)

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Take the inner optimizer's step with corrected gradients.

        Args:
            grads: What `correct_gradients` returned.
            trainable_variables: The variables, if not those that the optimizer was built
                with.

        Raises:
            ValueError: If the gradients were not corrected and there is more than one cluster
                or a gain below 1 (else the inner optimizer's own step is the same).
        """
        # A graph that corrects runs without this code, so a step outside it cannot know.
        unknown = self._corrects_in_graphs and not backend.in_graph()
        corrected = self._corrections_pending > 0 or unknown
        if not corrected and (self.num_clusters > 1 or self.gain_value != 1.0):
            raise ValueError(
                f"`apply` of {type(self).__name__} needs gradients that went through "
                "`correct_gradients(group_gradients, group_clusters)` in the same step. "
                "Received gradients that did not. Train a `tf_gradvar.ClusterModel`, which "
                "does it, or call it yourself in a custom training step."
            )
        self._corrections_pending = max(self._corrections_pending - 1, 0)
        if not self.built and trainable_variables is not None:
            self.build(list(trainable_variables))
        grads = [backend.dense(gradient) for gradient in grads]
        in_full = step_of_replica(self.inner_optimizer) if corrected else contextlib.nullcontext()
        with in_full:
            self.inner_optimizer.apply(grads, trainable_variables)

    def recluster(
        self, transfer: Any = None, cluster_probabilities: Sequence[float] | None = None
    ) -> None:
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

        With low rank, a mixture is compressed to the rank again, and what that leaves out goes to
        the part that the clusters share.

        Cost: one sweep over the buffers; with `transfer` K^2 products for each weight, and a
        copy of one variable's buffers at a time. With low rank about 16 K^2 r^2 (I + O).
        """
        if not self.built:
            raise ValueError(
                f"`recluster` needs the buffers of {type(self).__name__}, which is not built. "
                "Before training, pass the clusters' probabilities to the constructor."
            )
        shares = None if transfer is None else check_transfer(transfer, self.num_clusters)
        given = check_probabilities(cluster_probabilities, self.num_clusters)
        uniform = [1.0 / self.num_clusters] * self.num_clusters
        q = ops.convert_to_tensor(given or uniform, dtype="float32")
        self._buffers.transfer(shares, q)
        self._probabilities.assign(q)

    def load_own_variables(self, store: Any) -> None:
        """Load the optimizer's state from a saved model or weights file.

        A file from before the cluster probabilities were saved leaves them as they are.

        Args:
            store: The saved arrays by index.

        Raises:
            ValueError: If the file was written with another number of clusters, or other buffers.
        """
        if self.built:
            keys = set(store.keys())  # what Keras passes is no dictionary, and lacks `in`
            of_buffers = self._buffers.variables
            first = [id(v) for v in self.variables].index(id(of_buffers[0]))
            places = [str(first + i) for i in range(len(of_buffers))]
            found = [tuple(store[place].shape) for place in places if place in keys]
            check_saved(found, of_buffers, self)
            last = len(self.variables) - 1
            if keys == {str(i) for i in range(last)}:
                store = {key: store[key] for key in keys}
                store[str(last)] = ops.convert_to_numpy(self._probabilities)
        super().load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the control variate alone, JSON-plain."""
        return {
            "num_clusters": self.num_clusters,
            "alpha": self.alpha,
            "cluster_probabilities": self.cluster_probabilities,
            "buffer_dtype": self.buffer_dtype,
            "gain": self.gain,
            "scale": self.scale,
            "buffers": self.buffers,
            "rank": self.rank,
        }


def find_control_variate(
    optimizer: keras.optimizers.Optimizer | None,
) -> ClusterControlVariate | None:
    """Return the Discover optimizer inside an optimizer and its wrappers, or None.

    Args:
        optimizer: A Keras optimizer, possibly a `keras.optimizers.LossScaleOptimizer`.
    """
    return find_optimizer(optimizer, ClusterControlVariate)
