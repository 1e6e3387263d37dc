"""Form of kernels that are standardized before they are used.

A layer uses u = (w - m) / s for its kernel w, with the mean m and the deviation s of the n weights
that lead to an output. With h the gradient with respect to u, of one output,

    g = (h - mean(h) - u mean(h u)) / s,

a linear map that is the same for all examples: it costs about as much as reading h, and h costs
what the layer's own pass costs. Squared norms are those of g itself, formed for a few examples at a
time. (They follow without g from |h|^2, mean(h) and mean(h u), but as a difference that cancels.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from tf_gradvar.per_example.forms.form import GradientForm


@dataclass(frozen=True)
class Standardized(GradientForm):
    """The gradient of a kernel from that of its standardized values.

    Attributes:
        used: The form of the gradient with respect to the standardized kernel.
        kernel: The standardized kernel, as a matrix `[rows, columns]` with a column an output.
        deviations: s, `[columns]`.
        shape: Shape of the variable.
    """

    used: GradientForm
    kernel: tf.Tensor
    deviations: tf.Tensor
    shape: tuple[int, ...]

    def raw(self) -> tf.Tensor:
        """`[B, rows, columns]`."""
        h = tf.reshape(self.used.raw(), [-1, *self.kernel.shape])
        mean = tf.reduce_mean(h, 1, keepdims=True)
        along = tf.reduce_mean(h * self.kernel, 1, keepdims=True)
        return (h - mean - self.kernel * along) / self.deviations

    def arrange(self, raw: tf.Tensor) -> tf.Tensor:
        """`[B, rows, columns]` -> `[B, *shape]`."""
        return tf.reshape(raw, [-1, *self.shape])

    def numbers_per_example(self) -> int:
        """What h needs, and two more of its size."""
        return 3 * self.used.numbers_per_example()

    def chunk_size(self) -> int:
        """As for h."""
        return self.used.chunk_size()

    def tensors(self) -> list[tf.Tensor]:
        """Those of h: the kernel has no example axis."""
        return self.used.tensors()

    def with_tensors(self, tensors: Sequence[tf.Tensor]) -> Standardized:
        """The same map of another h."""
        return replace(self, used=self.used.with_tensors(tensors))
