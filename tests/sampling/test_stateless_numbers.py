"""NumPy draws what TensorFlow's stateless operations draw."""

import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar.sampling import stateless_numbers

SEEDS = [(0, 0), (5, 3), (2**62 + 7, 9), (123456789, 2**40)]


@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_numbers_and_permutations_are_those_of_tensorflow(seed):
    as_tensor = tf.constant(seed, tf.int64)
    for count in (1, 2, 3, 7, 1024):
        numbers = tf.random.stateless_uniform([count], as_tensor, dtype=tf.float64)
        np.testing.assert_array_equal(stateless_numbers.uniform(seed, count), numbers)
        order = tf.random.experimental.stateless_shuffle(tf.range(count), as_tensor)
        np.testing.assert_array_equal(stateless_numbers.permutation(seed, count), order)


@pytest.mark.parametrize("size", [1, 2, 3, 17, 256, 257, 65_536, 65_537, 65_538, 300_000])
def test_permutations_with_random_access_are_those_of_tensorflow(size):
    rng = np.random.default_rng(size)
    key, indices = rng.integers(-(2**62), 2**62, 3), rng.integers(0, size, 50)
    found = stateless_numbers.index_permutation(tuple(map(int, key)), size)[indices]
    expected = tf.raw_ops.RandomIndexShuffle(index=indices, seed=key, max_index=np.int64(size - 1))
    np.testing.assert_array_equal(found, expected)
