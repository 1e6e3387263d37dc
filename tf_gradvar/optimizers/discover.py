"""The Discover optimizers of the papers: the cluster control variate before SGD, QHM or IGT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tf_gradvar.arguments import check_number
from tf_gradvar.optimizers.as_one import AsOne
from tf_gradvar.optimizers.backend import functions as backend
from tf_gradvar.optimizers.igt import IGT
from tf_gradvar.optimizers.qhm import QHM
from tf_gradvar.optimizers.settings import Settings
from tf_gradvar.optimizers.wrappers import OfInner


class _SGD(keras.optimizers.SGD):
    """Keras' SGD, without momentum in one sweep over memory."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable.

        Args:
            gradient: The gradient, [*shape].
            variable: The variable, [*shape].
            learning_rate: The learning rate of the step.
        """
        if self.momentum:
            super().update_step(gradient, variable, learning_rate)
        else:
            backend.add_scaled(variable, -ops.cast(learning_rate, variable.dtype), gradient)


@keras.saving.register_keras_serializable(package="tf_gradvar")
class Discover(AsOne):
    """SGD on gradients whose between-cluster variance is removed.

        v     = gbar + gain * mean_c (G_c - g^{k_c})
        theta = theta - learning_rate * v

    and the buffers move as in `ClusterControlVariate`, whose page has the whole method.

    Train a `tf_gradvar.ClusterModel` on `tf_gradvar.data.cluster_batches`; in a loop of
    your own, apply what `correct_gradients` returns.

    Args:
        learning_rate: A float, a `keras.optimizers.schedules.LearningRateSchedule` or a
            callable of no arguments.
        num_clusters: The number of clusters K, at least 1.
        alpha: The step of the buffers, in (0, 1]. Defaults to 0.1.
        cluster_probabilities: The probability of each cluster, `[K]` floats that sum to 1.
            Defaults to None, which is uniform.
        buffer_dtype: `"float32"` (default) or `"bfloat16"`.
        name: The name of the optimizer. Defaults to "discover".
        gain: Of the correction, a number in (0, 1] or `"alpha"` (default), with which v is the
            average of K momentum buffers; with 1 it is unbiased (see `ClusterControlVariate`). The
            default is what trained best: in `keras_apps/configs/mnist5k_family.py`, with one group
            in a step, the best tuning run with the gain 1 ended at a loss of 0.048, with gain and
            alpha 0.1 at 0.018; with eight groups at 0.0046, and with both 0.03 at 0.00007.
        scale: The share of v in the step, beside that of the mean gradient: a number in [0, 1]
            (default 1), or `"auto"`, which learns it for each variable (with gain 1 only).
        buffers: `"full"` (default); `"low_rank"`, which keeps `rank` columns of each buffer of a
            matrix; `"owned"`, with which replicas keep the buffers of their own clusters; or
            `"sharded"`, with which devices keep slices of all buffers (see
            `ClusterControlVariate`).
        rank: r, at least 1, with low rank only. Defaults to None.
        **kwargs: Arguments of `keras.optimizers.SGD` (`weight_decay`, `clipnorm`, ...).

    Raises:
        ValueError: If an argument breaks its rule.

    Memory: K + 1 copies of the weights, announced once when the optimizer is built; with low rank
    K r (I + O) + 2 I O numbers for a matrix [I, O].

    Example:
        >>> import contextlib, keras
        >>> from tf_gradvar.optimizers import Discover
        >>> weight = keras.Variable([0.0])
        >>> optimizer = Discover(learning_rate=1.0, num_clusters=2, alpha=0.5)
        >>> with contextlib.redirect_stdout(None):  # it prints its memory, once a process
        ...     optimizer.build([weight])
        >>> for cluster in (0, 1, 0):
        ...     group_gradient = keras.ops.convert_to_tensor([[1.0 if cluster else -1.0]])
        ...     v = optimizer.correct_gradients([group_gradient], [cluster])
        ...     optimizer.apply(v)
        ...     print(f"{float(v[0][0]):+.3f}")
        -0.500
        +0.250
        -0.250

    Source: Discover paper, Section 4, Eq. 4.
    """

    def __init__(
        self,
        learning_rate: Any,
        num_clusters: int,
        alpha: float = 0.1,
        cluster_probabilities: Sequence[float] | None = None,
        buffer_dtype: str = "float32",
        name: str = "discover",
        *,
        gain: Any = "alpha",
        scale: Any = 1.0,
        buffers: str = "full",
        rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        inner = _SGD(learning_rate, name=name, **kwargs)
        settings = Settings(
            num_clusters, alpha, cluster_probabilities, buffer_dtype, gain, scale, buffers, rank
        )
        super().__init__(inner, learning_rate, settings)

    momentum = OfInner()
    nesterov = OfInner()

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Discover:
        """Re-create the optimizer from `get_config`; one of version 0.1 had the gain 1.

        Args:
            config: What `get_config` returned.
            custom_objects: Classes by name that Keras does not know.
        """
        return super().from_config({"gain": 1.0, **config}, custom_objects=custom_objects)


@keras.saving.register_keras_serializable(package="tf_gradvar")
class DiscoverQHM(AsOne):
    """QHM on gradients whose between-cluster variance is removed.

        v     = gbar + gain * mean_c (G_c - g^{k_c})
        m     = momentum * m + (1 - momentum) * v
        theta = theta - learning_rate * ((1 - nu) * v + nu * m)

    `nu = 0` is `Discover`; one cluster is `QHM`.

    Args:
        learning_rate: As in `Discover`.
        num_clusters: As in `Discover`.
        momentum: The decay of the moving average, in [0, 1). Defaults to 0.999.
        nu: The share of the moving average in the step, in [0, 1]. Defaults to 0.7.
        alpha: As in `Discover`.
        cluster_probabilities: As in `Discover`.
        buffer_dtype: As in `Discover`.
        name: The name of the optimizer. Defaults to "discover_qhm".
        gain: As in `Discover`, but 1 by default: the inner optimizer has a memory of its own.
        scale: As in `Discover`.
        buffers: As in `Discover`.
        rank: As in `Discover`.
        **kwargs: Arguments of every Keras optimizer.

    Raises:
        ValueError: If an argument breaks its rule.

    Memory: K + 2 copies of the weights.

    Example:
        >>> import contextlib, keras
        >>> from tf_gradvar.optimizers import DiscoverQHM
        >>> weight = keras.Variable([0.0])
        >>> optimizer = DiscoverQHM(1.0, num_clusters=2, momentum=0.5, nu=0.5, alpha=1.0)
        >>> with contextlib.redirect_stdout(None):  # it prints its memory, once a process
        ...     optimizer.build([weight])
        >>> for cluster in (0, 1, 0):
        ...     group_gradient = keras.ops.convert_to_tensor([[1.0 if cluster else -1.0]])
        ...     optimizer.apply(optimizer.correct_gradients([group_gradient], [cluster]))
        ...     print(f"{float(weight[0]):+.3f}")
        +0.750
        +0.500
        +0.500

    Source: Discover paper, Section 4 (DiscoverQHM).
    """

    def __init__(
        self,
        learning_rate: Any,
        num_clusters: int,
        momentum: float = 0.999,
        nu: float = 0.7,
        alpha: float = 0.1,
        cluster_probabilities: Sequence[float] | None = None,
        buffer_dtype: str = "float32",
        name: str = "discover_qhm",
        *,
        gain: Any = 1.0,
        scale: Any = 1.0,
        buffers: str = "full",
        rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        inner = QHM(learning_rate, momentum, nu, name, **kwargs)
        settings = Settings(
            num_clusters, alpha, cluster_probabilities, buffer_dtype, gain, scale, buffers, rank
        )
        super().__init__(inner, learning_rate, settings)

    momentum = OfInner()
    nu = OfInner()


@keras.saving.register_keras_serializable(package="tf_gradvar")
class QHDiscover(AsOne):
    """Quasi-hyperbolic Discover: SGD with a share of v in the place of a share of momentum.

        v     = gbar + gain * mean_c (G_c - g^{k_c})
        theta = theta - learning_rate * ((1 - nu) * mean_c G_c + nu * v)

    This is the reading of the paper's DiscoverQHM in which v itself is the momentum; `DiscoverQHM`
    is the one that takes QHM's step with v. With `gain="alpha"`, one cluster is `QHM` with
    momentum 1 - alpha, `nu=1` is `Discover`, and both at once are momentum in its moving-average
    form.

    Args:
        learning_rate: As in `Discover`.
        num_clusters: As in `Discover`.
        nu: The share of v in the step, in [0, 1]. Defaults to 0.7.
        alpha: As in `Discover`.
        cluster_probabilities: As in `Discover`.
        buffer_dtype: As in `Discover`.
        name: The name of the optimizer. Defaults to "qh_discover".
        gain: As in `Discover`.
        buffers: As in `Discover`.
        rank: As in `Discover`.
        **kwargs: Arguments of `keras.optimizers.SGD`.

    Raises:
        ValueError: If an argument breaks its rule.

    Memory: K + 1 copies of the weights.

    Example:
        >>> import contextlib, keras
        >>> from tf_gradvar.optimizers import QHDiscover
        >>> weight = keras.Variable([0.0])
        >>> optimizer = QHDiscover(1.0, num_clusters=1, nu=0.5, alpha=0.5)  # QHM, momentum 0.5
        >>> with contextlib.redirect_stdout(None):  # it prints its memory, once a process
        ...     optimizer.build([weight])
        >>> for _ in range(3):
        ...     v = optimizer.correct_gradients([keras.ops.ones((1, 1))], [0])
        ...     optimizer.apply(v)
        ...     print(f"{float(v[0][0]):.4f}")
        0.7500
        0.8750
        0.9375

    Source: Discover paper, Section 4 (DiscoverQHM).
    """

    def __init__(
        self,
        learning_rate: Any,
        num_clusters: int,
        nu: float = 0.7,
        alpha: float = 0.1,
        cluster_probabilities: Sequence[float] | None = None,
        buffer_dtype: str = "float32",
        name: str = "qh_discover",
        *,
        gain: Any = "alpha",
        buffers: str = "full",
        rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        inner = _SGD(learning_rate, name=name, **kwargs)
        settings = Settings(
            num_clusters,
            alpha,
            cluster_probabilities,
            buffer_dtype,
            gain=gain,
            scale=check_number("nu", nu, 0, 1),
            buffers=buffers,
            rank=rank,
        )
        super().__init__(inner, learning_rate, settings)

    momentum = OfInner()
    nesterov = OfInner()

    @property
    def nu(self) -> float:
        """The share of v in the step."""
        return float(self.scale)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create the optimizer, JSON-plain."""
        config = super().get_config()
        config["nu"] = config.pop("scale")
        return config


@keras.saving.register_keras_serializable(package="tf_gradvar")
class DiscoverIGT(AsOne):
    """IGT on gradients whose between-cluster variance is removed.

    The group gradients are those at the shifted weights; `IGT` says where the true ones
    are.

        v = gbar + gain * mean_c (G_c - g^{k_c}),    then the step of `IGT` with v for g

    Args:
        learning_rate: As in `Discover`.
        num_clusters: As in `Discover`.
        momentum: The heavy-ball coefficient, in [0, 1). Defaults to 0.9.
        tail_fraction: As in `IGT`, at least 1. Defaults to 2.
        alpha: As in `Discover`.
        cluster_probabilities: As in `Discover`.
        buffer_dtype: As in `Discover`.
        name: The name of the optimizer. Defaults to "discover_igt".
        gain: As in `Discover`, but 1 by default: the inner optimizer has a memory of its own.
        scale: As in `Discover`.
        buffers: As in `Discover`.
        rank: As in `Discover`.
        **kwargs: Arguments of every Keras optimizer, except `use_ema`.

    Raises:
        ValueError: If an argument breaks its rule.

    Memory: K + 4 copies of the weights.

    Example:
        >>> import contextlib, keras
        >>> from tf_gradvar.optimizers import DiscoverIGT
        >>> weight = keras.Variable([0.0])
        >>> optimizer = DiscoverIGT(0.1, num_clusters=2, momentum=0.0)
        >>> with contextlib.redirect_stdout(None):  # it prints its memory, once a process
        ...     optimizer.build([weight])
        >>> for cluster in (0, 1):
        ...     v = optimizer.correct_gradients([keras.ops.ones((1, 1))], [cluster])
        ...     optimizer.apply(v)
        >>> bool(weight[0] < -0.2)  # the shifted weight is ahead of the true one
        True

    Source: Discover paper, Section 4 (DiscoverIGT).
    """

    def __init__(
        self,
        learning_rate: Any,
        num_clusters: int,
        momentum: float = 0.9,
        tail_fraction: float = 2.0,
        alpha: float = 0.1,
        cluster_probabilities: Sequence[float] | None = None,
        buffer_dtype: str = "float32",
        name: str = "discover_igt",
        *,
        gain: Any = 1.0,
        scale: Any = 1.0,
        buffers: str = "full",
        rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        inner = IGT(learning_rate, momentum, tail_fraction, name, **kwargs)
        settings = Settings(
            num_clusters, alpha, cluster_probabilities, buffer_dtype, gain, scale, buffers, rank
        )
        super().__init__(inner, learning_rate, settings)

    momentum = OfInner()
    tail_fraction = OfInner()
    use_true_weights = OfInner()
    use_shifted_weights = OfInner()
