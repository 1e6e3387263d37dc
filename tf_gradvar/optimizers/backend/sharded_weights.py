"""Values that are divided among the devices of `keras.distribution` along one axis (on JAX)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from tf_gradvar.keras_internals import shard_variable


@dataclasses.dataclass(frozen=True)
class BatchAxis:
    """The axis of a distribution whose devices share a batch.

    Attributes:
        mesh: A `jax.sharding.Mesh` that has it.
        name: Of the axis in it.
    """

    mesh: Any
    name: str

    @property
    def count(self) -> int:
        """How many devices there are."""
        return int(self.mesh.shape[self.name])

    def dividing_axis(self, shape: Sequence[int]) -> int | None:
        """Return the first axis that divides evenly among the devices, or None.

        Args:
            shape: Of a variable of the model.
        """
        return next((i for i, size in enumerate(shape) if size and size % self.count == 0), None)

    def divide_variable(self, variable: keras.Variable, axis: int) -> None:
        """Lay a variable out so that every device holds its part along an axis."""
        shard_variable(variable, self._layout(axis))

    def divided(self, value: Any, axis: int) -> Any:
        """Return a tensor of which every device holds its part along an axis."""
        import jax

        return jax.lax.with_sharding_constraint(value, self._layout(axis))

    def whole(self, value: Any) -> Any:
        """Return a tensor that all devices hold in full."""
        import jax

        return jax.lax.with_sharding_constraint(value, self._layout(None))

    def _layout(self, axis: int | None) -> Any:
        import jax

        parts = () if axis is None else (*[None] * axis, self.name)
        return jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec(*parts))


def count_devices() -> int:
    """Return among how many devices of `keras.distribution` a batch is divided."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return int(mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)])


def batch_axis_of(variable: keras.Variable) -> BatchAxis | None:
    """Return the batch axis that a variable lies on, or None without several devices.

    Args:
        variable: One that was made under the distribution.
    """
    if count_devices() == 1:
        return None
    return BatchAxis(variable.value.sharding.mesh, keras.distribution.distribution().batch_dim_name)
