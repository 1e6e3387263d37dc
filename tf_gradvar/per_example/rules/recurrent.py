"""Rules for LSTM, GRU and SimpleRNN, and for `keras.layers.RNN` around their cells.

The rule runs the recurrence once more as a function of the projected inputs a_t = x_t W + b and
takes d_t = d <outputs, output gradients> / d a_t, the gradient before the gates. Then

    g_W = sum_t x_t d_t^T,     g_R = sum_t h_{t-1} d_t^T,     g_b = sum_t d_t.

A GRU resets the state on its way into the candidate: with q_t = (1, 1, r_t) for its three gates,

    reset after     g_R = sum_t h_{t-1} (q_t d_t)^T,  and sum_t q_t d_t for its second bias;
    reset before    g_R = sum_t h_{t-1} (d_z, d_r, 0)^T + (r_t h_{t-1}) (0, 0, d_h)^T.

Masked steps keep state and output, and their d_t is zero. All sequences are in the order of the
steps, `[T, B, ...]`. Cost: one forward and one backward pass of the layer beside the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Explicit, Forms, leading
from tf_gradvar.per_example.forms.outer import Outer
from tf_gradvar.per_example.rules.registry import Call, rule_for

States = list[tf.Tensor]


class Run(NamedTuple):
    """What a recurrence has produced.

    Attributes:
        outputs: `[T, B, H]`.
        last: The outputs of the last step, `[B, H]`.
        states: The states after it, `[B, H]` each.
        previous: First state before each step, `[T, B, H]`.
        resets: Reset gates of a GRU, `[T, B, H]`; empty for other cells.
    """

    outputs: tf.Tensor
    last: tf.Tensor
    states: States
    previous: tf.Tensor
    resets: Sequence[tf.Tensor]


def _known_recurrence(layer: keras.layers.RNN) -> bool:
    """The loop and the cell are those of Keras, and every batch starts anew."""
    cell_classes = (
        keras.layers.LSTMCell,
        keras.layers.GRUCell,
        keras.layers.SimpleRNNCell,
    )
    loops = {c.inner_loop for c in (keras.layers.RNN, keras.layers.LSTM, keras.layers.GRU)}
    return (
        type(layer.cell) in cell_classes
        and not layer.stateful
        and "call" not in layer.cell.__dict__
        and type(layer).inner_loop in loops
        and type(layer).get_initial_state is keras.layers.RNN.get_initial_state
    )


@rule_for(
    keras.layers.LSTM,
    keras.layers.GRU,
    keras.layers.SimpleRNN,
    keras.layers.RNN,
    supports=_known_recurrence,
    whole_call=True,
)
def recurrent_rule(
    layer: keras.layers.RNN, inputs: tf.Tensor, output_gradients: tf.Tensor | None, call: Call
) -> Forms:
    """Kernels: `Outer` of what enters them; biases: the gradients before the gates, summed.

    Raises:
        ValueError: For a layer that drops inputs or states in training mode.
    """
    arguments = call.arguments
    _refuse_dropout(layer, arguments["training"])
    precision = tf.float64 if inputs.dtype == tf.float64 else tf.float32
    x = _in_order(layer, tf.cast(inputs, precision))
    projected = _projected(layer.cell, x)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(projected)
        run = _run(layer, projected, arguments["initial_state"], arguments["mask"])
        outputs = [run.outputs if layer.return_sequences else run.last, *run.states]
    watched, gradients = [], []
    for output, gradient in zip(outputs, call.output_gradients, strict=False):
        if gradient is not None:
            watched.append(output)
            gradients.append(_swapped(gradient) if output.shape.rank == 3 else gradient)
    return _forms(layer.cell, x, run, tape.gradient(watched, projected, gradients))


def _run(layer: keras.layers.RNN, projected: tf.Tensor, given: Any, mask: Any) -> Run:
    """Run the cell over `projected`, `[T, B, G]`."""
    steps, size = leading(projected), layer.cell.units
    step = _step_of(layer.cell, projected.dtype)
    first = _initial_states(layer, given, projected)
    sequence = _unstacked(projected)
    masks = None if mask is None else _unstacked(_mask_in_order(layer, mask))
    num_emitted = 3 if isinstance(layer.cell, keras.layers.GRUCell) else 2
    emitted = [
        tf.TensorArray(projected.dtype, steps, element_shape=(projected.shape[1], size))
        for _ in range(num_emitted)
    ]

    def body(
        time: tf.Tensor, emitted: list[tf.TensorArray], output: tf.Tensor, states: States
    ) -> tuple[Any, ...]:
        new, resets = step(sequence.read(time), states)
        new_output = new[0]
        if masks is not None:
            keep = masks.read(time)
            other = tf.zeros_like(output) if layer.zero_output_for_mask else output
            new_output = tf.where(keep, new_output, other)
            new = [tf.where(keep, n, s) for n, s in zip(new, states, strict=True)]
        values = [new_output, states[0], *resets]
        emitted = [array.write(time, v) for array, v in zip(emitted, values, strict=True)]
        return time + 1, emitted, new_output, new

    _, emitted, last, states = tf.while_loop(
        lambda time, *_: time < steps,
        body,
        (tf.constant(0), emitted, tf.zeros_like(first[0]), first),
        maximum_iterations=steps,
    )
    outputs, previous, *resets = (array.stack() for array in emitted)
    return Run(outputs, last, states, previous, resets)


def _forms(cell: keras.layers.Layer, x: tf.Tensor, run: Run, d: tf.Tensor) -> Forms:
    """The forms of the weights from the gradients `[T, B, G]` before the gates."""
    entering, leaving, biases = [run.previous], [d], [tf.reduce_sum(d, 0)]
    if run.resets:
        (reset,), (z, r, h) = run.resets, tf.split(d, 3, -1)
        if cell.reset_after:
            leaving = [tf.concat([z, r, reset * h], -1)]
            biases.append(tf.reduce_sum(leaving[0], 0))
        else:
            entering.append(reset * run.previous)
            none = tf.zeros_like(h)
            leaving = [tf.concat([z, r, none], -1), tf.concat([none, none, h], -1)]
    forms: Forms = [
        (cell.kernel, _outer([x], [d])),
        (cell.recurrent_kernel, _outer(entering, leaving)),
    ]
    if cell.bias is not None:
        bias = biases[0] if len(biases) == 1 else tf.stack(biases, 1)
        forms.append((cell.bias, Explicit(bias)))
    return forms


def _outer(inputs: list[tf.Tensor], gradients: list[tf.Tensor]) -> Outer:
    a, d = (_swapped(tf.concat(parts, 0))[:, tf.newaxis] for parts in (inputs, gradients))
    return Outer(a, d)


# Cells --------------------------------------------------------------------------------------


def _step_of(
    cell: keras.layers.Layer, dtype: tf.DType
) -> Callable[[tf.Tensor, States], tuple[States, list[tf.Tensor]]]:
    """(projected inputs of a step, states) -> the new states, and the reset gate of a GRU."""
    recurrent = tf.cast(cell.recurrent_kernel.value, dtype)
    _, bias = _biases(cell, dtype)

    def simple(a: tf.Tensor, states: States) -> tuple[States, list[tf.Tensor]]:
        total = a + tf.matmul(states[0], tf.stop_gradient(recurrent))
        return [total if cell.activation is None else cell.activation(total)], []

    def lstm(a: tf.Tensor, states: States) -> tuple[States, list[tf.Tensor]]:
        h, carry = states
        gates = tf.split(a + tf.matmul(h, tf.stop_gradient(recurrent)), 4, -1)
        enter, forget, leave = (cell.recurrent_activation(gates[place]) for place in (0, 1, 3))
        carry = forget * carry + enter * cell.activation(gates[2])
        return [leave * cell.activation(carry), carry], []

    def gru(a: tf.Tensor, states: States) -> tuple[States, list[tf.Tensor]]:
        (h,) = states
        kernel = tf.stop_gradient(recurrent)
        a_gates, a_new = tf.split(a, [2 * cell.units, cell.units], -1)
        if cell.reset_after:
            entered = tf.matmul(h, kernel)
            if bias is not None:
                entered += tf.stop_gradient(bias)
            gates, new = tf.split(entered, [2 * cell.units, cell.units], -1)
            keep, reset = tf.split(cell.recurrent_activation(a_gates + gates), 2, -1)
            new = reset * new
        else:
            gates = tf.matmul(h, kernel[:, : 2 * cell.units])
            keep, reset = tf.split(cell.recurrent_activation(a_gates + gates), 2, -1)
            new = tf.matmul(reset * h, kernel[:, 2 * cell.units :])
        return [keep * h + (1 - keep) * cell.activation(a_new + new)], [reset]

    steps = {
        keras.layers.SimpleRNNCell: simple,
        keras.layers.LSTMCell: lstm,
        keras.layers.GRUCell: gru,
    }
    return steps[type(cell)]


def _biases(cell: keras.layers.Layer, dtype: tf.DType) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """Of the inputs and of the state, `[G]` each; None where there is none."""
    if cell.bias is None:
        return None, None
    bias = tf.cast(cell.bias.value, dtype)
    if bias.shape.rank == 2:
        return bias[0], bias[1]
    return bias, None


def _projected(cell: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    projected = tf.tensordot(x, tf.cast(cell.kernel.value, x.dtype), 1)
    bias, _ = _biases(cell, x.dtype)
    return projected if bias is None else projected + bias


# Sequences ----------------------------------------------------------------------------------


def _initial_states(layer: keras.layers.RNN, given: Any, projected: tf.Tensor) -> States:
    if given is None:
        shape = [tf.shape(projected)[1] if projected.shape[1] is None else projected.shape[1]]
        count = 2 if isinstance(layer.cell, keras.layers.LSTMCell) else 1
        return [tf.zeros([*shape, layer.cell.units], projected.dtype) for _ in range(count)]
    return [tf.cast(state, projected.dtype) for state in keras.tree.flatten(given)]


def _in_order(layer: keras.layers.RNN, sequences: tf.Tensor) -> tf.Tensor:
    """`[B, T, ...]` -> `[T, B, ...]`, in the order of the steps."""
    swapped = _swapped(sequences)
    return tf.reverse(swapped, [0]) if layer.go_backwards else swapped


def _mask_in_order(layer: keras.layers.RNN, mask: Any) -> tf.Tensor:
    """`[B, T]` or `[B, T, 1]` -> `[T, B, 1]` bool."""
    mask = tf.cast(keras.tree.flatten(mask)[0], tf.bool)
    return _in_order(layer, mask if mask.shape.rank == 3 else mask[..., tf.newaxis])


def _swapped(tensor: tf.Tensor) -> tf.Tensor:
    return tf.transpose(tensor, [1, 0, *range(2, tensor.shape.rank)])


def _unstacked(tensor: tf.Tensor) -> tf.TensorArray:
    array = tf.TensorArray(tensor.dtype, leading(tensor), clear_after_read=False)
    return array.unstack(tensor)


def _refuse_dropout(layer: keras.layers.RNN, training: Any) -> None:
    rates = (layer.cell.dropout, layer.cell.recurrent_dropout)
    if training and any(rates):
        raise ValueError(
            "`training` must be False for a recurrent layer with dropout, but "
            f"'{layer.path or layer.name}' was called with training={training}: its rule runs "
            "the layer again, which would draw other masks. Use training=False, or measure the "
            "variance with method='monte_carlo'."
        )
