"""Batches that NumPy draws are those of tf.data, from the start, resumed and after a change."""

import keras
import numpy as np
import pytest

from tf_gradvar import cluster_batches
from tf_gradvar.data.array_batches import ArrayClusterBatches
from tf_gradvar.data.cluster_ids import ids_of_arrays

K = 4
rng = np.random.default_rng(0)
X = np.arange(90, dtype="float32")[:, None]
Y = rng.integers(0, K, 90)
SKEWED = [0.4, 0.3, 0.2, 0.1]
SETTINGS = {
    "random": {},
    "skewed": {"cluster_probabilities": SKEWED},
    "cycle": {"order": "cycle"},
    "one group": {"groups_per_batch": 1, "group_size": 40},  # more than a cluster has
    "runs": {"run_length": 5, "cluster_probabilities": SKEWED},  # across the ends of batches
    "runs of a cycle": {"run_length": 4, "order": "cycle"},
    "owned": {"owned_by": 3, "cluster_probabilities": SKEWED},
}


def both(data=(X, Y), clusters=Y, **changes):
    """The dataset of tf.data, and what is made on JAX with the same arguments."""
    settings = {"num_clusters": K, "group_size": 7, "groups_per_batch": 3, "seed": 11, **changes}
    dataset = cluster_batches(data, clusters, **settings)
    ids = ids_of_arrays(data, clusters, K, dataset.sampling.data)
    return dataset, ArrayClusterBatches(data, ids, dataset.sampling)


def assert_same(batches, others):
    count = 0
    for batch, other in zip(batches, others, strict=True):
        count += 1
        pairs = zip(keras.tree.flatten(batch), keras.tree.flatten(other), strict=True)
        for one, two in pairs:
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)
    assert count


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_same_batches_from_the_start_and_resumed(settings):
    dataset, drawn = both(**settings)
    assert drawn.num_batches is None
    assert_same(dataset.take(12).as_numpy_iterator(), drawn.take(12))
    state = dataset.sampling.state(9)
    resumed, drawn_on = both(state=state, **settings)
    assert_same(resumed.take(3).as_numpy_iterator(), drawn_on.take(3))
    assert_same(resumed.take(3).as_numpy_iterator(), (drawn[9 + i] for i in range(3)))
    later = drawn.with_sampling(drawn.sampling.after(9))
    assert_same(resumed.take(3).as_numpy_iterator(), later.take(3))


def test_structures_and_weights():
    data = ({"a": X, "b": [X, X + 1]}, Y, np.linspace(0, 1, 90, dtype="float32"))
    dataset, drawn = both(data)
    assert_same(dataset.take(3).as_numpy_iterator(), drawn.take(3))


def test_blocks_of_draws_are_joined():
    """Batches across the end of a block of 1 024 draws, and far behind it."""
    dataset, drawn = both(state=None, groups_per_batch=50, group_size=1)
    expected = list(dataset.take(45).as_numpy_iterator())
    assert_same(expected[18:23], (drawn[i] for i in range(18, 23)))
    assert_same(expected[40:], (drawn[i] for i in range(40, 45)))


def test_other_clusters_hold_from_the_next_batch_on():
    dataset, drawn = both(read_ahead=False)
    iterator = iter(dataset)
    first = [keras.tree.map_structure(lambda leaf: leaf.numpy(), next(iterator)) for _ in range(4)]
    assert_same(first, drawn.take(4))
    other = np.roll(Y, 1)
    dataset.reassign(other, SKEWED)
    drawn.follow(other, SKEWED)
    then = [keras.tree.map_structure(lambda leaf: leaf.numpy(), next(iterator)) for _ in range(4)]
    assert_same(then, (drawn[i] for i in range(4, 8)))


def test_iterating_starts_again():
    _, drawn = both()
    for _ in range(2):
        batches = [batch for batch, _ in zip(drawn, range(3), strict=False)]
        assert_same(batches, drawn.take(3))
