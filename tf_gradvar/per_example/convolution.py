"""Rules for Conv1D, Conv2D, DepthwiseConv1D and DepthwiseConv2D.

With x the padded inputs and d the output gradients of one example, and (i, j) a place in the
kernel, the gradient is one product of matrices for each place:

    g[i, j] = sum_{u,v} x[s u + r i, s v + r j] d[u, v]^T      (stride s, dilation r).

The shifted inputs are plain slices: for a stride s the inputs are first reshaped to
[H / s, s, W / s, s], so that taking every s-th value is a slice, too. Unfolding all shifts into
one tensor of patches moves more memory than it saves, and gets the Gram form, which is used only
where the squared norms alone are wanted of a large kernel at few positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms import (
    Explicit,
    GradientForm,
    Measured,
    Wanted,
    leading,
    measure_explicit,
)
from tf_gradvar.per_example.outer import Outer
from tf_gradvar.per_example.rule import Rule, Variable

# A slice whose inputs stay in the processor's cache; small kernels make small products.
_SLICE_NUMBERS = 2**19
# A Gram matrix must save this factor in operations to pay for the patches.
_GRAM_ADVANTAGE = 4


@dataclass(frozen=True)
class Geometry:
    """Where the kernel is laid, for the two spatial axes.

    Attributes:
        kernel_size: Places in the kernel.
        strides: Steps of the outputs.
        dilation: Steps of the kernel.
        padding: "valid", "same" or "causal".
        groups: Groups of channels; 0 for a depthwise kernel.
    """

    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: str
    groups: int


@dataclass(frozen=True)
class Patches(GradientForm):
    """The kernel of a convolution.

    Attributes:
        inputs: `[B, H, W, C]`.
        output_gradients: `[B, U, V, O]`.
        geometry: How they belong together.
        shape: Shape of the variable.
    """

    inputs: tf.Tensor
    output_gradients: tf.Tensor
    geometry: Geometry
    shape: tuple[int, ...]

    def raw(self) -> tf.Tensor:
        """`[B, places, C, O]`, for a depthwise kernel `[B, places, C, multiplier]`."""
        product = {0: self._depthwise, 1: self._full}.get(self.geometry.groups, self._grouped)
        return tf.stack(product(self.shifted()), 1)

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
        channels = self.output_gradients.shape[3]
        a = tf.concat([tf.reshape(x, [examples, -1, x.shape[3]]) for x in self.shifted()], 2)
        d = tf.reshape(self.output_gradients, [examples, -1, channels])
        measured = Outer(a[:, tf.newaxis], d[:, tf.newaxis]).measure(wanted)
        if measured.total is None:
            return measured
        places = math.prod(self.geometry.kernel_size)
        return measured._replace(total=tf.reshape(measured.total, [places, -1, channels]))

    def shifted(self) -> list[tf.Tensor]:
        """The inputs that each place of the kernel sees, `[B, U, V, C]` each."""
        rows, columns = self.geometry.kernel_size
        split = self.inputs
        outputs = [_length(self.output_gradients, axis) for axis in (1, 2)]
        for axis in (1, 2):
            split = self._split_strides(split, axis, outputs[axis - 1])
        return [self._place(split, (i, j), outputs) for i in range(rows) for j in range(columns)]

    def _split_strides(self, inputs: tf.Tensor, axis: int, outputs: Any) -> tf.Tensor:
        """Pad one spatial axis and split it into (steps of the stride, offset).

        The first axis to be split is 1; by the time axis 2 is, it has moved to 3.
        """
        stride, reach, before = self._along(axis, outputs)
        place = axis if axis == 1 else 3
        steps = (reach + stride - 1) // stride
        length = _length(inputs, place)
        after = _at_least_zero(steps * stride - before - length)
        paddings: list[list[Any]] = [[0, 0] for _ in range(inputs.shape.rank)]
        paddings[place] = [before, after]
        if _may_pad(before, after):
            inputs = tf.pad(inputs, paddings)
        begin: list[slice] = [slice(None)] * place
        whole_steps = (*begin, slice(0, steps * stride))
        inputs = inputs[whole_steps]
        lengths = [leading(inputs), *(_length(inputs, a) for a in range(1, inputs.shape.rank))]
        lengths[place : place + 1] = [steps, stride]
        return tf.reshape(inputs, lengths)

    def _along(self, axis: int, outputs: Any) -> tuple[int, Any, Any]:
        """Stride, inputs that the outputs reach over, and padding before the first."""
        index = axis - 1
        stride = self.geometry.strides[index]
        extent = (self.geometry.kernel_size[index] - 1) * self.geometry.dilation[index]
        reach = (outputs - 1) * stride + extent + 1
        before = 0
        if self.geometry.padding == "causal":
            before = extent
        elif self.geometry.padding == "same":
            before = _at_least_zero(reach - _length(self.inputs, axis)) // 2
        return stride, reach, before

    def _place(self, split: tf.Tensor, place: tuple[int, int], outputs: list[Any]) -> tf.Tensor:
        """The slice of `[B, U', s, V', s, C]` under one place of the kernel."""
        offsets = [p * r for p, r in zip(place, self.geometry.dilation, strict=True)]
        (row, column), (u, v), (s, z) = offsets, outputs, self.geometry.strides
        return split[:, row // s : row // s + u, row % s, column // z : column // z + v, column % z]

    def _full(self, shifted: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        d = self.output_gradients
        shape = [leading(d), _positions(d)]
        flat = tf.reshape(d, [*shape, d.shape[3]])
        return [
            tf.matmul(tf.reshape(x, [*shape, x.shape[3]]), flat, transpose_a=True) for x in shifted
        ]

    def _grouped(self, shifted: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        d = self.output_gradients
        shape = [leading(d), _positions(d), self.geometry.groups]
        flat = tf.reshape(d, [*shape, d.shape[3] // self.geometry.groups])
        products = [
            tf.einsum("btgi,btgo->bigo", tf.reshape(x, [*shape, self.shape[-2]]), flat)
            for x in shifted
        ]
        return [tf.reshape(g, [shape[0], self.shape[-2], self.shape[-1]]) for g in products]

    def _depthwise(self, shifted: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        d = self.output_gradients
        shape = [leading(d), _length(d, 1), _length(d, 2), *self.shape[-2:]]
        flat = tf.reshape(d, shape)
        return [tf.reduce_sum(x[..., tf.newaxis] * flat, [1, 2]) for x in shifted]

    def _gram_is_cheaper(self) -> bool:
        d = self.output_gradients
        if self.geometry.groups != 1 or None in d.shape[1:]:
            return False
        rows, columns = math.prod(self.shape[:-1]), self.shape[-1]
        positions = d.shape[1] * d.shape[2]
        return _GRAM_ADVANTAGE * positions * (rows + columns) <= rows * columns


def convolution_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> list[tuple[Variable, GradientForm]]:
    """Kernel: `Patches`, or `Outer` for a 1 x 1 kernel; bias: `sum_t d_t`."""
    kernel = layer.kernel
    x = _channels_last_2d(layer, inputs)
    d = _channels_last_2d(layer, output_gradients)
    depthwise = hasattr(layer, "depth_multiplier")
    geometry = Geometry(
        _two(layer.kernel_size),
        _two(layer.strides),
        _two(layer.dilation_rate),
        layer.padding,
        groups=0 if depthwise else layer.groups,
    )
    form: GradientForm = Patches(x, d, geometry, tuple(kernel.shape))
    if geometry.kernel_size == (1, 1) and geometry.groups == 1:
        form = _one_by_one(x, d, geometry, tuple(kernel.shape))
    forms = [(kernel, form)]
    if layer.use_bias:
        forms.append((layer.bias, Explicit(tf.reduce_sum(d, [1, 2]))))
    return forms


def _one_by_one(x: tf.Tensor, d: tf.Tensor, geometry: Geometry, shape: tuple[int, ...]) -> Outer:
    rows, columns = geometry.strides
    seen = x[:, ::rows, ::columns]
    lengths = [leading(x), 1, _positions(d)]
    return Outer(
        tf.reshape(seen, [*lengths, x.shape[3]]),
        tf.reshape(d, [*lengths, d.shape[3]]),
        lambda gradients: tf.reshape(gradients, [-1, *shape]),
    )


def _channels_last_2d(layer: keras.layers.Layer, tensor: tf.Tensor) -> tf.Tensor:
    """`[B, H, W, C]`, with H = 1 for a sequence."""
    if layer.data_format == "channels_first":
        tensor = tf.transpose(tensor, [0, *range(2, tensor.shape.rank), 1])
    return tensor[:, tf.newaxis] if tensor.shape.rank == 3 else tensor


def _two(lengths: Sequence[int]) -> tuple[int, int]:
    return (1, lengths[0]) if len(lengths) == 1 else (lengths[0], lengths[1])


def _length(tensor: tf.Tensor, axis: int) -> Any:
    """The length of an axis: static where it is known."""
    static = tensor.shape[axis]
    return tf.shape(tensor)[axis] if static is None else static


def _positions(d: tf.Tensor) -> Any:
    return _length(d, 1) * _length(d, 2)


def _at_least_zero(value: Any) -> Any:
    return tf.maximum(value, 0) if tf.is_tensor(value) else max(value, 0)


def _may_pad(*amounts: Any) -> bool:
    return any(tf.is_tensor(amount) or amount > 0 for amount in amounts)


def _plain_kernel(layer: keras.layers.Layer) -> bool:
    """No low-rank adapter, and the convolution is the one that Keras defines."""
    adapted = getattr(layer, "lora_enabled", False)
    operation = getattr(type(layer), "convolution_op", None)
    known = (None, getattr(keras.layers.Conv2D, "convolution_op", None))
    return not adapted and operation in known


CONVOLUTION = Rule(convolution_rule, _plain_kernel, before_activation=True)
