"""Form of convolution kernels, for any number of spatial axes.

With x the padded inputs and d the output gradients of one example, and (i, j) a place in the
kernel, the gradient is one product of matrices for each place:

    g[i, j] = sum_{u,v} x[s u + r i, s v + r j] d[u, v]^T      (stride s, dilation r).

The shifted inputs are plain slices: for a stride s the inputs are first reshaped to
[H / s, s, W / s, s], so that taking every s-th value is a slice, too. Unfolding all shifts into
one tensor of patches moves more memory than it saves, and gets the Gram form, which is used only
where the squared norms alone are wanted of a large kernel at few positions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_gradvar.per_example.forms.form import (
    GradientForm,
    Measured,
    Wanted,
    leading,
    length_of,
    measure_explicit,
)
from tf_gradvar.per_example.forms.outer import Outer

# A slice whose inputs stay in the processor's cache; small kernels make small products.
_SLICE_NUMBERS = 2**19
# A Gram matrix must save this factor in operations to pay for the patches.
_GRAM_ADVANTAGE = 4


@dataclass(frozen=True)
class Geometry:
    """Where the kernel is laid, with one number for each spatial axis.

    Attributes:
        kernel_size: Places in the kernel.
        strides: Steps of the outputs.
        dilation: Steps of the kernel.
        padding: "valid", "same" or "causal".
        groups: Groups of channels; 0 for a depthwise kernel.
    """

    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    groups: int = 1


@dataclass(frozen=True)
class Patches(GradientForm):
    """The kernel of a convolution.

    Attributes:
        inputs: `[B, *lengths, C]`.
        output_gradients: `[B, *output lengths, O]`.
        geometry: How they belong together.
        shape: Shape of the variable.
    """

    inputs: tf.Tensor
    output_gradients: tf.Tensor
    geometry: Geometry
    shape: tuple[int, ...]

    def raw(self) -> tf.Tensor:
        """`[B, places, C, O]`, for a depthwise kernel `[B, places, C, multiplier]`."""
        product = {0: self._depthwise, 1: self._full}.get(self.geometry.groups, self._grouped)()
        products: list[tf.Tensor] = []
        shifted = self.shifted()
        for _ in range(math.prod(self.geometry.kernel_size)):
            # A graph would slice for all places before it forms the first product.
            with tf.control_dependencies(products[-1:]):
                products.append(product(next(shifted)))
        return tf.stack(products, 1)

    def arrange(self, raw: tf.Tensor) -> tf.Tensor:
        """`[B, places, C, O]` -> `[B, *shape]`."""
        return tf.reshape(raw, [-1, *self.shape])

    def numbers_per_example(self) -> int:
        """The gradient, the inputs and the output gradients."""
        sizes = [t.shape[1:].num_elements() or 0 for t in self.tensors()]
        return math.prod(self.shape) + sum(sizes)

    def chunk_size(self) -> int:
        """Examples in a slice: a power of two, so that it divides most batch sizes."""
        return 2 ** max(0, int(math.log2(max(1, _SLICE_NUMBERS // self.numbers_per_example()))))

    def measure_slice(self, wanted: Wanted) -> Measured:
        """By the Gram form of the patches where that is cheaper."""
        if wanted.squares or wanted.gradients or not self._gram_is_cheaper():
            return measure_explicit(self.raw(), wanted)
        examples = leading(self.inputs)
        channels = self.output_gradients.shape[-1]
        a = tf.concat([tf.reshape(x, [examples, -1, x.shape[-1]]) for x in self.shifted()], 2)
        d = tf.reshape(self.output_gradients, [examples, -1, channels])
        measured = Outer(a[:, tf.newaxis], d[:, tf.newaxis]).measure(wanted)
        if measured.total is None:
            return measured
        places = math.prod(self.geometry.kernel_size)
        return measured._replace(total=tf.reshape(measured.total, [places, -1, channels]))

    def shifted(self) -> Iterator[tf.Tensor]:
        """The inputs that each place of the kernel sees, `[B, *output lengths, C]` each."""
        outputs = lengths_of(self.output_gradients)
        split = self.inputs
        for axis in reversed(range(len(outputs))):  # the last first: the others stay in place
            split = self._split_strides(split, axis, outputs[axis])
        places = itertools.product(*(range(size) for size in self.geometry.kernel_size))
        for place in places:
            yield self._place(split, place, outputs)

    def convolved(self, kernel: tf.Tensor) -> tf.Tensor:
        """The inputs convolved with a kernel `[*kernel_size, C, O]`, `[B, *output lengths, O]`."""
        places = tf.unstack(tf.reshape(kernel, [-1, *kernel.shape[-2:]]))
        products = zip(self.shifted(), places, strict=True)
        return tf.add_n([tf.tensordot(x, k, 1) for x, k in products])

    def _split_strides(self, inputs: tf.Tensor, axis: int, outputs: Any) -> tf.Tensor:
        """Pad one spatial axis and split it into (steps of the stride, offset)."""
        stride, reach, before = self._along(axis, outputs)
        place = 1 + axis
        steps = (reach + stride - 1) // stride
        after = _at_least_zero(steps * stride - before - length_of(inputs, place))
        paddings: list[list[Any]] = [[0, 0] for _ in range(inputs.shape.rank)]
        paddings[place] = [before, after]
        if _may_pad(before, after):
            inputs = tf.pad(inputs, paddings)
        if stride == 1:
            return inputs
        taken = (*[slice(None)] * place, slice(0, steps * stride))
        inputs = inputs[taken]
        lengths = [leading(inputs), *(length_of(inputs, a) for a in range(1, inputs.shape.rank))]
        lengths[place : place + 1] = [steps, stride]
        return tf.reshape(inputs, lengths)

    def _along(self, axis: int, outputs: Any) -> tuple[int, Any, Any]:
        """Stride, inputs that the outputs reach over, and padding before the first."""
        stride = self.geometry.strides[axis]
        extent = (self.geometry.kernel_size[axis] - 1) * self.geometry.dilation[axis]
        reach = (outputs - 1) * stride + extent + 1
        before = 0
        if self.geometry.padding == "causal":
            before = extent
        elif self.geometry.padding == "same":
            before = _at_least_zero(reach - length_of(self.inputs, 1 + axis)) // 2
        return stride, reach, before

    def _place(self, split: tf.Tensor, place: tuple[int, ...], outputs: list[Any]) -> tf.Tensor:
        """The slice of the padded and split inputs under one place of the kernel."""
        index: list[slice | int] = [slice(None)]
        geometry = zip(place, self.geometry.dilation, self.geometry.strides, outputs, strict=True)
        for step, dilation, stride, count in geometry:
            first, offset = divmod(step * dilation, stride)
            index.append(slice(first, first + count))
            if stride > 1:
                index.append(offset)
        return split[tuple(index)]

    def _full(self) -> Callable[[tf.Tensor], tf.Tensor]:
        d = as_sequences(self.output_gradients)
        return lambda x: tf.matmul(as_sequences(x), d, transpose_a=True)

    def _grouped(self) -> Callable[[tf.Tensor], tf.Tensor]:
        d = as_sequences(self.output_gradients)
        groups, rows, columns = self.geometry.groups, *self.shape[-2:]
        shape = [leading(d), length_of(d, 1), groups]
        flat = tf.reshape(d, [*shape, columns // groups])

        def product(x: tf.Tensor) -> tf.Tensor:
            g = tf.einsum("btgi,btgo->bigo", tf.reshape(x, [*shape, rows]), flat)
            return tf.reshape(g, [shape[0], rows, columns])

        return product

    def _depthwise(self) -> Callable[[tf.Tensor], tf.Tensor]:
        d = self.output_gradients
        lengths = lengths_of(d)
        flat = tf.reshape(d, [leading(d), *lengths, *self.shape[-2:]])
        axes = list(range(1, 1 + len(lengths)))
        return lambda x: tf.reduce_sum(x[..., tf.newaxis] * flat, axes)

    def _gram_is_cheaper(self) -> bool:
        d = self.output_gradients
        if self.geometry.groups != 1 or None in d.shape[1:]:
            return False
        rows, columns = math.prod(self.shape[:-1]), self.shape[-1]
        positions = math.prod(d.shape[1:-1])
        return _GRAM_ADVANTAGE * positions * (rows + columns) <= rows * columns


def lengths_of(tensor: tf.Tensor) -> list[Any]:
    """The spatial lengths of `[B, *lengths, C]`, static where they are known."""
    return [length_of(tensor, axis) for axis in range(1, tensor.shape.rank - 1)]


def as_sequences(tensor: tf.Tensor) -> tf.Tensor:
    """`[B, *lengths, C]` -> `[B, positions, C]`."""
    return tf.reshape(tensor, [leading(tensor), math.prod(lengths_of(tensor)), tensor.shape[-1]])


def _at_least_zero(value: Any) -> Any:
    return tf.maximum(value, 0) if tf.is_tensor(value) else max(value, 0)


def _may_pad(*amounts: Any) -> bool:
    return any(tf.is_tensor(amount) or amount > 0 for amount in amounts)
