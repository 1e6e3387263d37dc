"""Each pass over a cluster is a permutation of its examples, on TensorFlow and in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar.sampling.cluster_draws import KEY_MIX, order_of_pass
from tf_gradvar.sampling.shuffle import shuffled_places

SEED, CLUSTER, NUMBER = 7, 2, 3
SMALLEST_FAULTY = 4**8 + 1


def places_of_pass(size, seed=SEED):
    position = np.arange(size) + NUMBER * size
    sizes, clusters = np.full(size, size), np.full(size, CLUSTER)
    return shuffled_places(tf.constant(position), tf.constant(sizes), clusters, seed).numpy()


def places_of_the_operation(size):
    key = [part ^ bits for part, bits in zip((SEED, CLUSTER, NUMBER), KEY_MIX, strict=True)]
    return tf.raw_ops.RandomIndexShuffle(
        index=np.arange(size), seed=np.array(key), max_index=np.int64(size - 1)
    ).numpy()


@pytest.mark.parametrize("size", [1, 2, 5, 17, 257, *(4**j + 1 for j in (8, 9))])
def test_a_pass_is_the_same_permutation_on_both_paths(size):
    places = places_of_pass(size)
    np.testing.assert_array_equal(np.sort(places), np.arange(size))
    np.testing.assert_array_equal(order_of_pass(SEED, CLUSTER, NUMBER, size), places)


def test_the_last_example_comes_at_a_random_place():
    last = {int(np.argmax(places_of_pass(SMALLEST_FAULTY, s))) for s in range(4)}
    assert len(last) == 4


@pytest.mark.parametrize("size", [17, 256, 257, 4**8 - 1, 4**8, 4**8 + 2, 2**17 + 1, 4**9 + 2])
def test_other_sizes_keep_the_draws_of_the_operation(size):
    expected = places_of_the_operation(size)
    np.testing.assert_array_equal(places_of_pass(size), expected)
    np.testing.assert_array_equal(order_of_pass(SEED, CLUSTER, NUMBER, size), expected)


def test_a_faulty_cluster_among_others_leaves_them_as_they_are():
    sizes, clusters = np.array([5, SMALLEST_FAULTY] * 30), np.array([0, 1] * 30)
    position = np.repeat(np.arange(30), 2) * 2184
    places = shuffled_places(tf.constant(position), tf.constant(sizes), clusters, SEED).numpy()
    small = [order_of_pass(SEED, 0, p // 5, 5)[p % 5] for p in position[::2]]
    np.testing.assert_array_equal(places[::2], small)
    large = order_of_pass(SEED, 1, 0, SMALLEST_FAULTY)[position[1::2]]
    np.testing.assert_array_equal(places[1::2], large)
