"""What the datasets of batches refuse, whichever way they sample."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.arguments import check_batches_taken
from tf_gradvar.data.arrays import as_arrays


def check_arrays(data: Any, alternative: str = "") -> tuple:
    """Return (x, y) or (x, y, sample_weight) with NumPy arrays for arrays, or raise.

    Args:
        data: What the user gave.
        alternative: What else would do, for the message.

    Raises:
        ValueError: If it is something else, or holds numbers or arrays of different lengths.
    """
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ValueError(
            f"`data` must be (x, y) or (x, y, sample_weight){alternative}. Received: "
            f"{type(data).__name__}"
            f"{f' of length {len(data)}' if isinstance(data, tuple | list) else ''}."
        )
    arrays = tuple(as_arrays(part) for part in data)
    shapes = [np.shape(leaf) for leaf in keras.tree.flatten(arrays)]
    if () in shapes:
        raise ValueError(
            "`data` must hold arrays with the examples along axis 0. Received a number or None in "
            "place of an array."
        )
    lengths = {shape[0] for shape in shapes}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "`data` must have the same number of examples, at least 1, in every array. "
            f"Received lengths {sorted(lengths)}."
        )
    return arrays


def as_tensors(data: tuple) -> tuple:
    """Return arrays as the tensors that a pipeline reads; lists of them become tuples, as in Keras.

    (A list that leaves a function of `tf.data` would be stacked.)
    """
    tensors = keras.tree.map_structure(tf.convert_to_tensor, data)
    return keras.tree.lists_to_tuples(tensors)


def check_state(state: Any, fingerprint: str, kind: str) -> int:
    """Return how many batches were taken before, or raise if the state is of others.

    Args:
        state: What `sampling.state(...)` returned, or None for a start from the beginning.
        fingerprint: Of the dataset that is to go on.
        kind: What it makes, for the message.

    Raises:
        ValueError: If the state is of other data, clusters or settings.
    """
    if state is None:
        return 0
    given = state if isinstance(state, dict) else {}
    if given.get("fingerprint") != fingerprint or "batches_taken" not in given:
        raise ValueError(
            f"`state` must come from {kind} with the same data, clusters and settings "
            f"(fingerprint {fingerprint}). Received: state={state!r}. Start "
            "without `state`, or with the settings of the run that it came from."
        )
    return check_batches_taken(given["batches_taken"])
