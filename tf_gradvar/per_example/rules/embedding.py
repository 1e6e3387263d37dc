"""Rules for Embedding and ReversibleEmbedding.

Embedding looks up rows: g = sum_t e_{id_t} d_t^T, so rows that were not looked up are zero, and
nothing of the size of the table is formed for a single example.

ReversibleEmbedding also multiplies hidden states h with the transposed table E, z = E h: this call
adds sum_t z'_t h_t^T with the gradients z' of the logits. With tied weights the table has both
parts, whose products need no table either (`Lookup.inner_products`).
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import stored_kernel
from tf_gradvar.per_example.forms.form import Forms, leading
from tf_gradvar.per_example.forms.lookup import Lookup
from tf_gradvar.per_example.forms.outer import Outer, as_positions, product_or_unknown
from tf_gradvar.per_example.rules.adapters import is_plain, scaled_factors
from tf_gradvar.per_example.rules.registry import Call, rule_for


@rule_for(keras.layers.Embedding, supports=is_plain)
def embedding_rule(
    layer: keras.layers.Embedding, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> Forms:
    """Table: the rows that were looked up; with a low-rank adapter, the same for its factors."""
    ids, d, rows = _ids(layer, inputs), _flat(layer, output_gradients), layer.input_dim
    forms: Forms = [(stored_kernel(layer), Lookup(ids, d, rows))]
    if layer.lora_enabled:
        a, b = layer.lora_embeddings_a, layer.lora_embeddings_b
        A, B = scaled_factors(layer, a, b, d.dtype)
        forms.append((a, Lookup(ids, tf.einsum("bto,ro->btr", d, B), rows)))
        forms.append((b, Outer(tf.gather(A, ids)[:, tf.newaxis], d[:, tf.newaxis])))
    return forms


@rule_for(
    "keras.ReversibleEmbedding",
    "keras_hub.ReversibleEmbedding",
    supports=is_plain,
    whole_call=True,
)
def reversible_rule(
    layer: keras.layers.Embedding, inputs: tf.Tensor, output_gradients: tf.Tensor, call: Call
) -> Forms:
    """`embedding_rule` forwards; in reverse a sum of outer products over the positions."""
    if not call.arguments["reverse"]:
        return embedding_rule(layer, inputs, output_gradients)
    if layer.reverse_dtype is not None:  # what the product was formed of
        inputs = tf.cast(tf.cast(inputs, layer.reverse_dtype), inputs.dtype)
    h = as_positions(inputs, layer.output_dim)
    z = as_positions(_logit_gradients(layer, output_gradients, call), layer.input_dim)
    z = tf.cast(z, h.dtype)
    if not layer.tie_weights:
        return [(layer.reverse_embeddings, Outer(h, z))]
    forms: Forms = [(stored_kernel(layer), Outer(z, h))]
    if layer.lora_enabled:
        a, b = layer.lora_embeddings_a, layer.lora_embeddings_b
        A, B = scaled_factors(layer, a, b, h.dtype)
        forms.append((a, Outer(z, tf.einsum("bsto,ro->bstr", h, B))))
        forms.append((b, Outer(tf.einsum("bstv,vr->bstr", z, A), h)))
    return forms


def _logit_gradients(
    layer: keras.layers.Embedding, output_gradients: tf.Tensor, call: Call
) -> tf.Tensor:
    """Through `c tanh(z / c)`, whose derivative is `1 - (output / c)^2`."""
    if layer.logit_soft_cap is None:
        return output_gradients
    capped = tf.cast(call.outputs, output_gradients.dtype) / layer.logit_soft_cap
    return output_gradients * (1.0 - tf.square(capped))


def _ids(layer: keras.layers.Embedding, inputs: tf.Tensor) -> tf.Tensor:
    """`[B, T]` int32; Keras counts negative ids from the end."""
    ids = tf.reshape(
        tf.cast(inputs, tf.int32), [leading(inputs), product_or_unknown(inputs.shape[1:])]
    )
    return tf.where(ids < 0, ids + layer.input_dim, ids)


def _flat(layer: keras.layers.Embedding, gradients: tf.Tensor) -> tf.Tensor:
    """`[B, ..., O]` -> `[B, T, O]`."""
    positions = product_or_unknown(gradients.shape[1:-1])
    return tf.reshape(gradients, [leading(gradients), positions, layer.output_dim])
