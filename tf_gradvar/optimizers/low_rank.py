"""The buffers of the control variate in factors: rank r in place of a gradient for each cluster."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from tf_gradvar.optimizers.backend import functions as backend
from tf_gradvar.optimizers.buffers import FullBuffers, part_of_step, print_once
from tf_gradvar.optimizers.low_rank_rule import (
    Factors,
    combine_products,
    mix_factors,
    update_low_rank,
)
from tf_gradvar.optimizers.update_rule import (
    ControlMoments,
    Groups,
    MixingWeights,
    Rule,
    combine_rows,
    mixing_weights,
)

AddVariable = Callable[[Sequence[int], str, str], Any]


class FactoredBuffers:
    """The K buffers g^k = m + U_k W_k^T of one variable; `buffers[k]` is g^k, [*shape].

    It has the `shape`, `dtype` and `len` of the stack [K, *shape] that it stands for, which is
    never formed.

    Args:
        add_variable: Of the optimizer that keeps them.
        variable: The model's variable, of at least two dimensions.
        num_clusters: K.
        dtype: Of the factors, "float32" or "bfloat16"; the rest is float32.
        rank: r.

    Attributes:
        left: U, a variable [K, I, r]; I is the product of all dimensions but the last.
        right: W, a variable [K, O, r]; O is the last dimension.
        shared: m, a variable [I, O].
        average: gbar, a variable [*shape].

    Example:
        >>> import contextlib, keras
        >>> from tf_gradvar.optimizers import Discover
        >>> optimizer = Discover(0.1, num_clusters=100, alpha=1.0, buffers="low_rank", rank=1)
        >>> with contextlib.redirect_stdout(None):  # it prints its memory, once a process
        ...     optimizer.build([keras.Variable([[0.0, 0.0, 0.0]] * 3)])
        >>> group_gradients = [keras.ops.ones((1, 3, 3))]
        >>> _ = optimizer.correct_gradients(group_gradients, [7])
        >>> buffers = optimizer.cluster_gradients[0]
        >>> buffers.shape, tuple(buffers.left.shape), tuple(buffers[7].shape)
        ((100, 3, 3), (100, 3, 1), (3, 3))
    """

    def __init__(
        self, add_variable: AddVariable, variable: Any, num_clusters: int, dtype: str, rank: int
    ) -> None:
        path = variable.path.replace("/", "_")
        rows, columns = as_matrix(variable.shape)
        self.name = f"{path}_cluster_gradients"
        self.dtype = dtype
        self.shape = (num_clusters, *variable.shape)
        self.left = add_variable((num_clusters, rows, rank), dtype, f"{path}_left_factors")
        self.right = add_variable((num_clusters, columns, rank), dtype, f"{path}_right_factors")
        self.shared = add_variable((rows, columns), "float32", f"{path}_shared_gradient")
        self.average = add_variable(variable.shape, "float32", f"{path}_mean_cluster_gradient")

    @property
    def variables(self) -> list[Any]:
        """The factors, m and gbar, in the order in which they are saved."""
        return [self.left, self.right, self.shared, self.average]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, k: int) -> Any:
        """Return g^k, a float32 tensor [*shape]."""
        if not -len(self) <= k < len(self):
            raise IndexError(f"There are {len(self)} clusters. Received: cluster {k}.")
        left, right = (ops.cast(factor[int(k)], "float32") for factor in (self.left, self.right))
        product = ops.matmul(left, ops.transpose(right))
        return ops.reshape(ops.convert_to_tensor(self.shared) + product, self.shape[1:])

    def correct(
        self, gradients: Any, clusters: Any, weights: MixingWeights, rule: Rule, scale: Any
    ) -> tuple[Any, ControlMoments | None]:
        """Return v [*shape] and the moments of the control variate, and move the buffers.

        Args:
            gradients: G_c, float32 [C, *shape], finite.
            clusters: k_c, int32 [C].
            weights: Of the groups and clusters.
            rule: The numbers of the update rule.
            scale: The share of the correction, a scalar; None: 1.
        """
        shape, rows = self.shape[1:], self.shared.shape
        updated = update_low_rank(
            ops.reshape(gradients, (-1, *rows)),
            Factors(*(backend.rows_of(factor, clusters) for factor in (self.left, self.right))),
            ops.convert_to_tensor(self.shared),
            ops.reshape(ops.convert_to_tensor(self.average), rows),
            weights,
            rule,
            scale,
        )
        backend.put_rows(self.left, clusters, updated.factors.left)
        backend.put_rows(self.right, clusters, updated.factors.right)
        backend.add_scaled(self.shared, 1.0, updated.shared_step)
        backend.add_scaled(self.average, 1.0, ops.reshape(updated.average_step, shape))
        return ops.reshape(updated.corrected, shape), updated.moments

    def transfer(self, shares: Any, probabilities: Any) -> None:
        """Make buffers for other clusters, as `LowRankBuffers.transfer` says."""
        old = Factors(*(ops.convert_to_tensor(factor) for factor in (self.left, self.right)))
        if shares is None:
            new = Factors(*(ops.zeros_like(factor) for factor in old))
            average = ops.convert_to_tensor(self.average)
            shared = ops.reshape(average, self.shared.shape)
        else:
            new = mix_factors(shares, old)
            # gbar = m + sum_k q_k sum_l shares[k, l] U_l W_l^T
            mixed = _weighted_product(combine_rows(probabilities, shares), old)
            average = ops.reshape(ops.convert_to_tensor(self.shared) + mixed, self.shape[1:])
            # m = gbar - sum_k q_k U_k W_k^T
            product = _weighted_product(probabilities, new)
            shared = ops.reshape(average, self.shared.shape) - product
        for variable, value in zip(self.variables, (*new, shared, average), strict=True):
            variable.assign(value)


class LowRankBuffers:
    """K buffers of rank r for each matrix, a part that they share, and their average gbar.

    A variable with at least two dimensions is a matrix [I, O], O the last of them. A cluster's
    buffer is g^k = m + U_k W_k^T with U_k [I, r] and W_k [O, r]; `low_rank_rule` says how they
    move. gbar is the average of what they hold, and moves as it does with full buffers.
    Vectors, scalars and matrices with r (I + O) >= I O have full buffers.

    Memory: K r (I + O) + 2 I O numbers for a matrix, in place of (K + 1) I O. A step takes two
    products of each group gradient with r columns, and one of m.

    Args:
        add_variable: Of the optimizer that keeps them.
        variables: The model's trainable variables.
        num_clusters: K.
        dtype: Of the factors and the full buffers, "float32" or "bfloat16"; the rest is float32.
        rank: r.

    Attributes:
        cluster_gradients: The g^k of each variable: `FactoredBuffers`, or a variable [K, *shape].
        averages: gbar of each variable, variables [*shape].

    Raises:
        ValueError: If no variable is a matrix that rank r makes smaller.
    """

    def __init__(
        self,
        add_variable: AddVariable,
        variables: Sequence[Any],
        num_clusters: int,
        dtype: str,
        rank: int,
    ) -> None:
        _check_any_reduced(variables, rank)
        self._rank = rank
        self._factored = {
            i: FactoredBuffers(add_variable, variable, num_clusters, dtype, rank)
            for i, variable in enumerate(variables)
            if is_reduced(variable.shape, rank)
        }
        self._others = [i for i in range(len(variables)) if i not in self._factored]
        others = [variables[i] for i in self._others]
        self._full = FullBuffers(add_variable, others, num_clusters, dtype)
        self.cluster_gradients: list[Any] = self._merge(
            list(self._factored.values()), self._full.cluster_gradients
        )
        self.averages: list[Any] = self._merge(
            [buffers.average for buffers in self._factored.values()], self._full.averages
        )
        self._num_clusters, self._size = num_clusters, 4 if dtype == "float32" else 2

    @property
    def variables(self) -> list[Any]:
        """The variables of all buffers, in the order in which they are saved."""
        factored = [v for buffers in self._factored.values() for v in buffers.variables]
        return factored + self._full.variables

    def announce(self, optimizer: str) -> None:
        """Print the memory of the buffers, once for each text in a process.

        Args:
            optimizer: The name of the optimizer's class.
        """
        matrices = sum(math.prod(b.average.shape) for b in self._factored.values())
        vectors = sum(math.prod(average.shape) for average in self._full.averages)
        of_clusters = sum(
            math.prod(v.shape)
            for buffers in self._factored.values()
            for v in (buffers.left, buffers.right)
        )
        size = self._size * (of_clusters + self._num_clusters * vectors)
        megabytes = (size + 4 * (2 * matrices + vectors)) / 1e6
        print_once(
            f"{optimizer} keeps {self._num_clusters} gradient buffers of rank {self._rank} and 2 "
            f"full ones of {matrices:,} weights, and {self._num_clusters} + 1 full ones of "
            f"{vectors:,} others: {megabytes:,.1f} MB."
        )

    def correct(
        self, groups: Groups, probabilities: Any, rule: Rule
    ) -> tuple[list[Any], list[ControlMoments]]:
        """Return the corrected gradient v of each variable and move the buffers.

        Arguments and result are those of `FullBuffers.correct`.
        """
        corrected: list[Any] = [None] * len(groups.gradients)
        moments: list[ControlMoments | None] = [None] * len(groups.gradients)
        for places, correct in (
            (self._others, self._full.correct),
            (list(self._factored), self._correct_factored),
        ):
            part, rule_of_part = part_of_step(groups, rule, places)
            found, learned = correct(part, probabilities, rule_of_part)
            for i, v in zip(places, found, strict=True):
                corrected[i] = v
            given = [i for i in places if corrected[i] is not None]
            for i, moment in zip(given, learned, strict=bool(learned)):
                moments[i] = moment
        return corrected, [moment for moment in moments if moment is not None]

    def _correct_factored(
        self, groups: Groups, probabilities: Any, rule: Rule
    ) -> tuple[list[Any], list[ControlMoments]]:
        """Return what `correct` does, for the groups' gradients of the factored variables alone."""
        given = [i for i, gradient in enumerate(groups.gradients) if gradient is not None]
        buffers = list(self._factored.values())
        part, rule = part_of_step(groups, rule, given)
        gradients, sizes, clusters = backend.all_groups(part, self._num_clusters)
        weights = mixing_weights(sizes, clusters, probabilities)
        corrected: list[Any] = [None] * len(groups.gradients)
        moments: list[ControlMoments] = []
        scales = rule.scales or [None] * len(given)
        for i, gradient, scale in zip(given, gradients, scales, strict=True):
            corrected[i], learned = buffers[i].correct(gradient, clusters, weights, rule, scale)
            moments += [] if learned is None else [learned]
        return _equal_on_replicas(corrected), moments

    def transfer(self, shares: Any, probabilities: Any) -> None:
        """Make buffers for other clusters: mixtures of the old ones, and their average anew.

        What the rank cuts off a mixture goes to the shared part, so that gbar is the average of
        the full mixtures.

        Args:
            shares: Of the old clusters in each new one, float [K, K]; None: gbar for all.
            probabilities: Of the new clusters, float [K].
        """
        self._full.transfer(shares, probabilities)
        for buffers in self._factored.values():
            buffers.transfer(shares, probabilities)

    def _merge(self, factored: list[Any], others: list[Any]) -> list[Any]:
        """Return what belongs to each variable, in the order of the variables."""
        places = [*self._factored, *self._others]
        found = dict(zip(places, [*factored, *others], strict=True))
        return [found[i] for i in range(len(places))]


def _equal_on_replicas(corrected: list[Any]) -> list[Any]:
    """Return the mean over the replicas of what they all worked out, up to rounding.

    Thin products have been seen to differ in the last bit, and nothing else brings weights that
    have drifted apart together again.
    """
    replicas = backend.num_replicas()
    if replicas == 1:
        return corrected
    given = [v / replicas for v in corrected if v is not None]
    sums = iter(backend.sum_over_replicas(given))
    return [None if v is None else next(sums) for v in corrected]


def as_matrix(shape: Sequence[int]) -> tuple[int, int]:
    """Return the shape [I, O] of a variable as a matrix."""
    return math.prod(shape[:-1]), shape[-1]


def is_reduced(shape: Sequence[int], rank: int) -> bool:
    """Return whether factors of rank r take less memory than the variable itself."""
    if len(shape) < 2:
        return False
    rows, columns = as_matrix(shape)
    return rank * (rows + columns) < rows * columns


def _check_any_reduced(variables: Sequence[Any], rank: int) -> None:
    if not any(is_reduced(variable.shape, rank) for variable in variables):
        shapes = [tuple(variable.shape) for variable in variables]
        raise ValueError(
            "`buffers='low_rank'` needs a variable that it makes smaller: a matrix [I, O] with "
            "rank * (I + O) < I * O (vectors keep full buffers). "
            f"Received: rank={rank} and variables of the shapes {shapes}. Take "
            "`buffers='full'`, or a smaller rank."
        )


def _weighted_product(weights: Any, factors: Factors) -> Any:
    in_float32 = Factors(*(ops.cast(factor, "float32") for factor in factors))
    return combine_products(weights, in_float32)
