"""Ids of a batch that a pipeline of the user's own made."""

import pytest
import tensorflow as tf

from tf_gradvar.training.cluster_batch import split_cluster_batch


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (tf.constant([0, 3, -1]), [0, 3, -1]),
        (tf.constant([[0], [3], [1]], tf.uint8), [0, 3, 1]),
        (tf.constant([0, 2**32, -(2**32)], tf.int64), [0, 2**31 - 1, -1]),
        (tf.constant([0, 2**32 + 1, 2**63], tf.uint64), [0, 2**31 - 1, 2**31 - 1]),
        (tf.constant([0, 2**32 - 1, 1], tf.uint32), [0, 2**31 - 1, 1]),
    ],
    ids=["int32", "column of uint8", "int64", "uint64", "uint32"],
)
def test_ids_never_wrap(ids, expected):
    inputs, found = split_cluster_batch({"inputs": tf.zeros([3, 2]), "cluster_ids": ids})
    assert inputs.shape == (3, 2)
    assert found.dtype == tf.int32
    assert found.numpy().tolist() == expected
