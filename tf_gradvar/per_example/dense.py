"""Rules for Dense and EinsumDense: sums of outer products over the positions.

Dense on `[B, ..., I]` has g = sum_t a_t d_t^T over all axes between the first and the last.
EinsumDense is the same after its labels are sorted by where they occur:

    group      in inputs, kernel and outputs       S
    position   in inputs and outputs only          T
    row        in inputs and kernel only           I
    column     in kernel and outputs only          O

For "abc,cde->abde" the batch is a, T = b, I = c and O = de.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms import Explicit, GradientForm, leading
from tf_gradvar.per_example.outer import Outer
from tf_gradvar.per_example.rule import Rule, Variable

# Axes of an ellipsis while only the labels matter.
_LONGEST_RANK = 8


def dense_rule(
    layer: keras.layers.Dense, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> list[tuple[Variable, GradientForm]]:
    """Kernel: `sum_t a_t d_t^T`; bias: `sum_t d_t`."""
    a = _as_positions(inputs)
    d = _as_positions(output_gradients)
    forms: list[tuple[Variable, GradientForm]] = [(layer.kernel, Outer(a, d))]
    if layer.bias is not None:
        forms.append((layer.bias, _bias_form(d)))
    return forms


def _bias_form(d: tf.Tensor) -> GradientForm:
    """`sum_t d_t`; with one position as 1 d^T, whose products are partly those of the kernel."""
    if d.shape[2] != 1:
        return Explicit(tf.reduce_sum(d, [1, 2]))
    ones = tf.ones([leading(d), 1, 1, 1], d.dtype)
    return Outer(ones, d, lambda gradients: tf.squeeze(gradients, [1, 2]))


def einsum_dense_rule(
    layer: keras.layers.EinsumDense, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> list[tuple[Variable, GradientForm]]:
    """Kernel: `sum_t a_t d_t^T` after sorting the labels; bias: `d` summed to its shape."""
    labels = sorted_labels(layer.equation, inputs.shape.rank)
    if labels is None:
        raise ValueError(
            f"The layer '{layer.path}' must have an equation that its rule knows, "
            f"received {layer.equation!r}."
        )
    a = _grouped(inputs, labels.inputs, labels, labels.rows)
    d = _grouped(output_gradients, labels.outputs, labels, labels.columns)
    lengths = dict(zip(labels.kernel, layer.kernel.shape, strict=True))
    order = labels.groups + labels.rows + labels.columns

    def arrange(gradients: tf.Tensor) -> tf.Tensor:
        split = tf.reshape(gradients, [-1, *(lengths[label] for label in order)])
        return tf.transpose(split, [0, *(1 + order.index(label) for label in labels.kernel)])

    forms: list[tuple[Variable, GradientForm]] = [(layer.kernel, Outer(a, d, arrange))]
    if layer.bias is not None:
        forms.append((layer.bias, Explicit(sum_to_shape(output_gradients, layer.bias.shape))))
    return forms


def sum_to_shape(gradients: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """Undo the broadcasting of a variable: `[B, ...]` -> `[B, *shape]`."""
    extra = gradients.shape.rank - 1 - len(shape)
    if extra > 0:
        gradients = tf.reduce_sum(gradients, list(range(1, 1 + extra)))
    repeated = [
        1 + axis
        for axis, length in enumerate(shape)
        if length == 1 and gradients.shape[1 + axis] != 1
    ]
    return tf.reduce_sum(gradients, repeated, keepdims=True) if repeated else gradients


class Labels(NamedTuple):
    """The labels of an einsum equation, sorted as the module docstring says."""

    inputs: str
    kernel: str
    outputs: str
    groups: str
    positions: str
    rows: str
    columns: str


def sorted_labels(equation: str, rank: int) -> Labels | None:
    """Sort the labels of `equation` for inputs of `rank` axes; None if no rule covers it."""
    inputs, kernel, outputs = re.split(r",|->", equation.replace(" ", ""))
    if "..." in inputs:
        free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
        filled = "".join(free[: rank - len(inputs.replace("...", ""))])
        inputs, outputs = inputs.replace("...", filled), outputs.replace("...", filled)
    batch = inputs[0]
    known = batch == outputs[0] and batch not in kernel
    unique = all(len(set(part)) == len(part) for part in (inputs, kernel, outputs))
    alone = any(
        sum(label in part for part in (inputs, kernel, outputs)) == 1
        for label in inputs + kernel + outputs
    )
    if not known or not unique or alone:
        return None

    def having(source: str, other: str, without: str) -> str:
        return "".join(c for c in source if c in other and c not in without and c != batch)

    return Labels(
        inputs,
        kernel,
        outputs,
        groups="".join(c for c in kernel if c in inputs and c in outputs),
        positions=having(inputs, outputs, kernel),
        rows=having(inputs, kernel, outputs),
        columns=having(outputs, kernel, inputs),
    )


def _grouped(tensor: tf.Tensor, names: str, labels: Labels, last: str) -> tf.Tensor:
    """Transpose and flatten `[B, ...]` with axes `names` to `[B, S, T, I or O]`."""
    order = labels.groups + labels.positions + last
    turned = tf.transpose(tensor, [0, *(names.index(label) for label in order)])
    groups = math.prod(tensor.shape[names.index(label)] for label in labels.groups)
    columns = math.prod(tensor.shape[names.index(label)] for label in last)
    positions = [tensor.shape[names.index(label)] for label in labels.positions]
    return tf.reshape(turned, [leading(tensor), groups, _product(positions), columns])


def _as_positions(tensor: tf.Tensor) -> tf.Tensor:
    """`[B, ..., C]` -> `[B, 1, T, C]`."""
    positions = _product(tensor.shape[1:-1])
    return tf.reshape(tensor, [leading(tensor), 1, positions, tensor.shape[-1]])


def _product(lengths: tf.TensorShape | list[int | None]) -> int:
    """The product, or -1 for `tf.reshape` to find out."""
    known = [length for length in lengths if length is not None]
    return math.prod(known) if len(known) == len(lengths) else -1


def _plain_kernel(layer: keras.layers.Layer) -> bool:
    """No low-rank adapter and no quantization: they put other variables into the kernel."""
    return not (getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None))


def _known_equation(layer: keras.layers.EinsumDense) -> bool:
    labels = sorted_labels(layer.equation, rank=_LONGEST_RANK)
    if labels is None or not _plain_kernel(layer):
        return False
    return layer.bias is None or len(layer.bias.shape) < len(labels.outputs)


DENSE = Rule(dense_rule, _plain_kernel, before_activation=True)
EINSUM_DENSE = Rule(einsum_dense_rule, _known_equation, before_activation=True)
