"""Run a function over slices of a batch, one slice after the other.

Per-example gradients of a convolution are larger than its activations. Forming them for a few
examples at a time, and keeping only sums and norms, bounds the memory by one slice; a slice
that fits the processor's cache is also faster than the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# Function of slices -> (results with a leading example axis, results to be summed), both any
# structures of tensors and None.
ChunkFunction = Callable[[list[tf.Tensor]], tuple[Any, Any]]


def map_chunks(
    function: ChunkFunction, tensors: Sequence[tf.Tensor], chunk_size: int
) -> tuple[Any, Any]:
    """Apply `function` to `chunk_size` examples at a time.

    Args:
        function: Takes the list of slices, returns a structure of results `[b, ...]`, which are
            concatenated, and a structure of results that are added over the chunks.
        tensors: Tensors `[B, ...]`, all sliced alike along the first axis.
        chunk_size: Examples in a slice; the last one may be shorter.

    Returns:
        The concatenated results and the sums, in the same structures.
    """
    tensors = list(tensors)
    batch = tensors[0].shape[0]
    if batch is not None and batch <= chunk_size:
        return function(tensors)
    structures: list[tuple[Any, Any]] = []

    def flat(slices: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        each, sums = function(slices)
        if not structures:
            structures.append((each, sums))
        return _leaves(each), _leaves(sums)

    loop = _python_loop if tf.executing_eagerly() else _graph_loop
    each, sums = loop(flat, tensors, chunk_size)
    return _filled(structures[0][0], each), _filled(structures[0][1], sums)


def _leaves(structure: Any) -> list[tf.Tensor]:
    return [leaf for leaf in tf.nest.flatten(structure) if leaf is not None]


def _filled(structure: Any, leaves: list[tf.Tensor]) -> Any:
    new = iter(leaves)
    return tf.nest.map_structure(lambda old: None if old is None else next(new), structure)


_Flat = Callable[[list[tf.Tensor]], tuple[list[tf.Tensor], list[tf.Tensor]]]


def _python_loop(
    function: _Flat, tensors: list[tf.Tensor], chunk_size: int
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    pieces: list[list[tf.Tensor]] = []
    sums: list[tf.Tensor] = []
    for start in range(0, int(tensors[0].shape[0]), chunk_size):
        each, added = function([tensor[start : start + chunk_size] for tensor in tensors])
        pieces.append(each)
        sums = [old + new for old, new in zip(sums, added, strict=True)] if sums else added
    return [tf.concat(parts, 0) for parts in zip(*pieces, strict=True)], sums


def _graph_loop(
    function: _Flat, tensors: list[tf.Tensor], chunk_size: int
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The odd slice first, which also tells the shapes; then a while loop of full slices."""
    static = tensors[0].shape[0]
    batch = tf.shape(tensors[0])[0] if static is None else static
    loops = (batch - 1) // chunk_size
    head = batch - loops * chunk_size
    first_each, first_sums = function([tensor[:head] for tensor in tensors])
    # With an unknown batch size there may be no other slice: then the first joins the array,
    # which cannot be empty, and whose slices differ in length. XLA could not concatenate those.
    joins = 0 if static is not None else 1
    arrays = [tf.TensorArray(t.dtype, loops + joins, infer_shape=False) for t in first_each]
    if joins:
        arrays = [array.write(0, t) for array, t in zip(arrays, first_each, strict=True)]

    def body(step: tf.Tensor, arrays: list[Any], sums: list[tf.Tensor]) -> tuple[Any, ...]:
        slices = [_slice(tensor, head + step * chunk_size, chunk_size) for tensor in tensors]
        each, added = function(slices)
        arrays = [array.write(step + joins, t) for array, t in zip(arrays, each, strict=True)]
        return step + 1, arrays, [old + new for old, new in zip(sums, added, strict=True)]

    # One slice at a time: slices that run side by side would each need their memory.
    _, arrays, sums = tf.while_loop(
        lambda step, *_: step < loops,
        body,
        (tf.constant(0), arrays, first_sums),
        parallel_iterations=1,
        maximum_iterations=loops,
    )
    each = []
    for first, array in zip(first_each, arrays, strict=True):
        if joins:
            each.append(tf.ensure_shape(array.concat(), [None, *first.shape[1:]]))
        else:
            rest = array.stack()
            rest = tf.reshape(rest, tf.concat([[-1], tf.shape(rest)[2:]], 0))
            each.append(tf.concat([first, rest], 0))
    return each, sums


def _slice(tensor: tf.Tensor, start: tf.Tensor, size: int) -> tf.Tensor:
    """`tensor[start:start + size]`, with a leading dimension that XLA knows."""
    rest = [-1 if length is None else length for length in tensor.shape[1:]]
    return tf.slice(tensor, [start] + [0] * len(rest), [size, *rest])
