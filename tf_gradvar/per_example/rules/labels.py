"""Equations of EinsumDense, with the labels sorted by where they occur.

    group      in inputs, kernel and outputs       S
    position   in inputs and outputs only          T
    row        in inputs and kernel only           I
    column     in kernel and outputs only          O

For "abc,cde->abde" the batch is a, T = b, I = c and O = de, and the kernel's gradient is the sum of
outer products over T of inputs [B, S, T, I] and output gradients [B, S, T, O], with S = 1.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_gradvar.per_example.forms.form import leading
from tf_gradvar.per_example.forms.outer import Outer, product_or_unknown


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
        free = [c for c in string.ascii_uppercase if c not in equation]
        filled = "".join(free[: rank - len(inputs.replace("...", ""))])
        inputs, outputs = inputs.replace("...", filled), outputs.replace("...", filled)
    return sort_labels(inputs, kernel, outputs) if _is_known(inputs, kernel, outputs) else None


def _is_known(inputs: str, kernel: str, outputs: str) -> bool:
    batch = inputs[0]
    known = batch == outputs[0] and batch not in kernel
    unique = all(len(set(part)) == len(part) for part in (inputs, kernel, outputs))
    alone = any(
        sum(label in part for part in (inputs, kernel, outputs)) == 1
        for label in inputs + kernel + outputs
    )
    return known and unique and not alone


def sort_labels(inputs: str, kernel: str, outputs: str) -> Labels:
    """Sort the labels of the three tensors, the first of which is the batch."""
    batch = inputs[0]

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


def outer_form(
    inputs: tf.Tensor, output_gradients: tf.Tensor, labels: Labels, shape: Sequence[int]
) -> Outer:
    """The gradient of a kernel of the given shape."""
    lengths = dict(zip(labels.kernel, shape, strict=True))
    a = _grouped(inputs, labels.inputs, labels, labels.rows, lengths)
    d = _grouped(output_gradients, labels.outputs, labels, labels.columns, lengths)
    order = labels.groups + labels.rows + labels.columns

    def arrange(gradients: tf.Tensor) -> tf.Tensor:
        split = tf.reshape(gradients, [-1, *(lengths[label] for label in order)])
        return tf.transpose(split, [0, *(1 + order.index(label) for label in labels.kernel)])

    return Outer(a, d, arrange)


def _grouped(
    tensor: tf.Tensor, names: str, labels: Labels, last: str, lengths: dict[str, int]
) -> tf.Tensor:
    """Transpose and flatten `[B, ...]` with axes `names` to `[B, S, T, I or O]`."""
    order = labels.groups + labels.positions + last
    turned = tf.transpose(tensor, [0, *(names.index(label) for label in order)])
    groups = math.prod(lengths[label] for label in labels.groups)
    columns = math.prod(lengths[label] for label in last)
    positions = [tensor.shape[names.index(label)] for label in labels.positions]
    return tf.reshape(turned, [leading(tensor), groups, product_or_unknown(positions), columns])
