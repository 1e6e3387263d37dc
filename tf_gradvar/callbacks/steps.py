"""Steps that a model has taken, and models that no step has built yet."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.data.arrays import as_arrays
from tf_gradvar.optimizers.wrappers import innermost


def steps_taken(model: keras.Model) -> int:
    """Return the steps that the model's optimizer has taken."""
    # The innermost: up to Keras 3.8, one that scales the loss counts no steps. And not
    # int(iterations): a mirrored variable is no number.
    return int(keras.ops.convert_to_numpy(innermost(model.optimizer).iterations))


def build_from_data(model: keras.Model, x: Any) -> None:
    """Build a model that would else be built by its first batch; nothing is computed.

    Args:
        model: The model.
        x: Inputs as a callback gets them, arrays or a structure of them, or a dataset.
    """
    if model.built:
        return
    if isinstance(x, tf.data.Dataset):
        inputs = x.element_spec[0]
    else:
        inputs = keras.tree.map_structure(lambda leaf: leaf[:1], as_arrays(x, "x"))
    with model.distribute_strategy.scope():
        model(keras.tree.map_structure(_symbol, inputs))


def _symbol(leaf: Any) -> keras.KerasTensor:
    dtype = tf.as_dtype(leaf.dtype)  # text in NumPy has many dtypes, here it has one
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype.name)
