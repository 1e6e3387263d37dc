"""The seed alone decides the batches; what else decides them is refused or part of the state."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar.data import cluster_batches

N, K = 53, 4
SETTINGS = {"num_clusters": K, "group_size": 3, "groups_per_batch": 4, "seed": 7}
IDS = np.random.default_rng(0).choice(K, N, p=[0.4, 0.3, 0.2, 0.1])
X = np.arange(N, dtype="float32")


def dataset_of(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays)


def make(source="arrays", **changes):
    data = (X, IDS) if source == "arrays" else dataset_of(X, IDS)
    return cluster_batches(data, IDS, **{**SETTINGS, **changes})


def numbers(batches, count=4):
    return np.concatenate([x["inputs"].numpy() for x, _ in batches.take(count)])


SOURCES = pytest.mark.parametrize("source", ["arrays", "dataset"])


@SOURCES
def test_reading_again_starts_again_whatever_the_global_seed(source):
    expected = numbers(make(source))
    for seed in (0, 9):
        keras.utils.set_random_seed(seed)
        drawn = tf.random.uniform([])
        keras.utils.set_random_seed(seed)
        batches = make(source)
        for _ in range(2):
            np.testing.assert_array_equal(numbers(batches), expected)
        assert drawn == tf.random.uniform([]), "making batches must not touch the global stream"


@pytest.mark.parametrize(("source", "count"), [("arrays", 8), ("dataset", 3)])
def test_other_seeds_give_other_batches(source, count):
    seeds = [0, 1, -(2**63), 2**63 - 1, 2**40, -1, 2**31 - 2, np.int64(5)][:count]
    drawn = [numbers(make(source, seed=seed)) for seed in seeds]
    for i, one in enumerate(drawn):
        assert not any(np.array_equal(one, other) for other in drawn[:i])


def test_a_small_shuffle_buffer_keeps_to_passes():
    ids = np.zeros(10, int)
    batches = cluster_batches(
        dataset_of(X[:10], ids), ids, num_clusters=1, group_size=5, seed=0, shuffle_buffer=3
    )
    passes = numbers(batches, 8).reshape(4, 10)
    np.testing.assert_array_equal(np.sort(passes, axis=1), np.tile(X[:10], (4, 1)))
    assert (passes[:, 0] <= 2).all(), "the first of a pass comes from the first buffer"
    assert len({tuple(one) for one in passes}) == 4


def test_ids_of_a_dataset_of_unknown_length():
    unknown = dataset_of(X, IDS).filter(lambda x, y: True)
    np.testing.assert_array_equal(
        numbers(cluster_batches(unknown, IDS, **SETTINGS)), numbers(make("dataset"))
    )
    for ids in (IDS[:-1], np.append(IDS, 0)):
        with pytest.raises(ValueError, match=r"`clusters` must be integers of shape \(53,\)"):
            cluster_batches(unknown, ids, **SETTINGS)


def test_state_belongs_to_its_settings():
    state = make("dataset").sampling.state(3)
    others = [{"shuffle_buffer": 5}, {"group_size": 2}, {"order": "cycle"}, {"seed": 8}]
    others.append({"cluster_probabilities": [0.1, 0.2, 0.3, 0.4]})
    for source, changes in [("arrays", {}), *(("dataset", other) for other in others)]:
        with pytest.raises(ValueError, match="`state` must come from cluster batches with the"):
            make(source, state=state, **changes)
    with pytest.raises(ValueError, match="the same data, clusters and settings"):
        cluster_batches(dataset_of(X, IDS), IDS[::-1], state=state, **SETTINGS)


FINGERPRINT = {"fingerprint": make().sampling.fingerprint()}


@pytest.mark.parametrize("state", ["abc", 3, {}, FINGERPRINT, {"batches_taken": 3}], ids=repr)
def test_what_is_not_a_state(state):
    with pytest.raises(ValueError, match="`state` must come from cluster batches"):
        make(state=state)


@pytest.mark.parametrize("taken", [-1, 1.5, None, True])
def test_batches_taken(taken):
    with pytest.raises(ValueError, match="`batches_taken` must be an integer of at least 0"):
        make().sampling.state(taken)


@pytest.mark.parametrize("seed", [0.5, "7", None, 2**63, True], ids=repr)
def test_seed(seed):
    with pytest.raises(ValueError, match="`seed` must be an integer of at most 63 bits"):
        make(seed=seed)


@pytest.mark.parametrize("size", [0, 2.5])
def test_shuffle_buffer(size):
    with pytest.raises(ValueError, match="`shuffle_buffer` must be an integer of at least 1"):
        make("dataset", shuffle_buffer=size)


NOT_ARRAYS = {
    "number": (X, 3),
    "nested": ({"a": 1.0}, IDS),
    "nothing": (X, None),
}


@pytest.mark.parametrize("data", NOT_ARRAYS.values(), ids=list(NOT_ARRAYS))
def test_numbers_in_place_of_arrays(data):
    with pytest.raises(ValueError, match=r"`data` must hold arrays.* a number or None"):
        cluster_batches(data, IDS, **SETTINGS)
