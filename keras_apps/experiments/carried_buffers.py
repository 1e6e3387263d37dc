"""Buffers of several kinds, carried along one run of SGD whose steps they never touch.

Optimizers that are compared each at its own weights cannot show whose buffers are closer to the
gradients: the one that is further on in training has other gradients. Here all buffers see the same
groups at the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tf_gradvar.arguments import check_number
from tf_gradvar.optimizers import DiscoverOver

# What is measured for each alpha; records call it by this and the alpha, see `value_name`.
BUFFER_FOR_ALL = "buffer_for_all"
BUFFER_FOR_EACH = "buffer_for_each"
LEFT = "left_in_step"
ERROR_OF_MOMENTUM = "error_of_momentum"
ERROR_OF_GAIN_1 = "error_of_gain_1"
ERROR_OF_GAIN_ALPHA = "error_of_gain_alpha"


def value_name(value: str, alpha: float) -> str:
    """Return what records call a value of the buffers that move by alpha.

    Example:
        >>> value_name(LEFT, 0.1)
        'left_in_step_0.1'
    """
    return f"{value}_{alpha:g}"


@keras.saving.register_keras_serializable("keras_apps")
class CarriedBuffers(DiscoverOver):
    """SGD, with K buffers and one buffer for all clusters beside it for each alpha.

    Its step is that of `keras.optimizers.SGD` with the mean gradient of the groups. For each alpha,
    g^k moves as in Discover, whatever the gain, and m = m + alpha (mean_c G_c - m) as in SGD with
    momentum 1 - alpha. The optimizer itself holds the K buffers of the first alpha.

    Args:
        learning_rate: Of SGD, a number or a schedule.
        num_clusters: K.
        alphas: The steps of the buffers, each in (0, 1].
        cluster_probabilities: q_k, K floats that sum to 1. Defaults to None, 1 / K each.
        momentum: Of SGD. Defaults to 0.9.
        weight_decay: Of SGD, decoupled. Defaults to None.
        name: The name of the optimizer.

    Attributes:
        alphas: The steps of the buffers.

    Raises:
        ValueError: No alpha, one outside of (0, 1], or what `DiscoverOver` says of the clusters.

    Memory: (K + 2) copies of the trainable weights for each alpha, and one for momentum.
    """

    def __init__(
        self,
        learning_rate: Any,
        num_clusters: int,
        alphas: Sequence[float] = (0.1,),
        cluster_probabilities: Sequence[float] | None = None,
        momentum: float = 0.9,
        weight_decay: float | None = None,
        name: str = "carried_buffers",
    ) -> None:
        if not alphas:
            raise ValueError("`alphas` must hold at least one number in (0, 1]. Received: none.")
        first, *others = (check_number("alphas", a, 0, 1, low_open=True) for a in alphas)
        inner = keras.optimizers.SGD(learning_rate, momentum, weight_decay=weight_decay)
        super().__init__(inner, num_clusters, first, cluster_probabilities, name=name, scale=0.0)
        self.alphas = (first, *others)
        self._of_all = [_carried(1, alpha) for alpha in self.alphas]
        self._of_each = [_carried(num_clusters, a, cluster_probabilities) for a in others]

    def one_buffer(self, alpha: float) -> list[Any]:
        """Return m of each variable, [1, *shape], for one of `alphas`."""
        return self._of_all[self.alphas.index(alpha)].cluster_gradients

    def buffers_of_clusters(self, alpha: float) -> list[Any]:
        """Return g^k of each variable, [K, *shape], for one of `alphas`."""
        return [self, *self._of_each][self.alphas.index(alpha)].cluster_gradients

    @property
    def variables(self) -> list[Any]:
        """All variables, those of the carried buffers last."""
        carried = [*self._of_all, *self._of_each] if self.built else []
        return [*super().variables, *(v for other in carried for v in other.variables)]

    def build(self, variables: list[Any]) -> None:
        """Create the variables of SGD, then all buffers."""
        if self.built:
            return
        for other in (*self._of_all, *self._of_each):
            other.build(variables)
        super().build(variables)

    def correct_gradients(
        self, group_gradients: Sequence[Any], group_clusters: Any, group_sizes: Any = None
    ) -> list[Any]:
        """Return the mean gradient of the groups, and move all buffers."""
        of_all = keras.ops.zeros_like(group_clusters)
        for other in self._of_all:
            other.correct_gradients(group_gradients, of_all, group_sizes)
        for other in self._of_each:
            other.correct_gradients(group_gradients, group_clusters, group_sizes)
        return super().correct_gradients(group_gradients, group_clusters, group_sizes)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create the optimizer, JSON-plain."""
        inner = self.inner_optimizer.get_config()
        return {
            "learning_rate": inner["learning_rate"],
            "num_clusters": self.num_clusters,
            "alphas": list(self.alphas),
            "cluster_probabilities": self.cluster_probabilities,
            "momentum": inner["momentum"],
            "weight_decay": inner["weight_decay"],
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> CarriedBuffers:
        """Re-create the optimizer from `get_config`."""
        config = dict(config)
        rate = config["learning_rate"]
        if isinstance(rate, dict):
            config["learning_rate"] = keras.saving.deserialize_keras_object(rate, custom_objects)
        return cls(**config)


def _carried(
    num_clusters: int, alpha: float, cluster_probabilities: Sequence[float] | None = None
) -> DiscoverOver:
    inner = keras.optimizers.SGD(0.0)
    return DiscoverOver(inner, num_clusters, alpha, cluster_probabilities, scale=0.0)
