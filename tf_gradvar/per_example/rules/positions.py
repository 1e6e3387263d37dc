"""Rule for learned position embeddings: a table of which every example uses the same rows.

The output is rows s to s + T of the table for each example, so its gradient is the output's in
these rows and zero elsewhere.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Explicit, Forms
from tf_gradvar.per_example.forms.lookup import Lookup
from tf_gradvar.per_example.forms.window import Window
from tf_gradvar.per_example.rules.registry import Call, rule_for


def _is_table(layer: keras.layers.Layer) -> bool:
    return [len(variable.shape) for variable in layer.variables] == [2]


@rule_for("keras_hub.PositionEmbedding", supports=_is_table, whole_call=True)
def position_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, output_gradients: tf.Tensor, call: Call
) -> Forms:
    """Table: the output gradients in the rows of the window, or of the given positions."""
    (table,) = layer.variables
    d, positions = output_gradients, call.arguments.get("positions")
    if d.shape.rank > 3:  # every entry of the axes between uses the same rows
        d = tf.reduce_sum(d, list(range(1, d.shape.rank - 2)))
    d = tf.ensure_shape(d, [None, None, table.shape[1]])
    if positions is None:
        return [(table, Window(d, call.arguments["start_index"], table.shape[0]))]
    ids = tf.broadcast_to(tf.cast(positions, tf.int32), tf.shape(d)[:2])
    return [(table, Explicit(Lookup(ids, d, table.shape[0]).raw()))]
