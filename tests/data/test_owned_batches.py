"""Batches for replicas: each from its own clusters, each worker only the parts of its own."""

import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar.data import cluster_batches

Q = [0.1, 0.3, 0.2, 0.25, 0.15]
IDS = np.repeat(np.arange(5), [4, 6, 5, 7, 8])
X = np.arange(30.0)  # an example's value is its place in the data
PLACES = {"num_clusters": 5, "group_size": 2, "cluster_probabilities": Q, "seed": 3}
OWN = {0: [0, 1, 2], 1: [3, 4]}  # with two replicas


def context(worker, workers=2, replicas=2):
    return tf.distribute.InputContext(workers, worker, replicas)


def taken(batches, count):
    """Inputs and clusters of some batches, a row for each."""
    found = [(b["inputs"].numpy(), b["cluster_ids"].numpy()) for b, _ in batches.take(count)]
    return [np.stack(part) for part in zip(*found, strict=True)]


def as_dataset():
    return tf.data.Dataset.from_tensor_slices((X, IDS))


def as_records(path):
    """The same as TFRecords."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for x, y in zip(X, IDS, strict=True):
            writer.write(tf.io.serialize_tensor(tf.constant([x, y])).numpy())

    def parse(record):
        pair = tf.ensure_shape(tf.io.parse_tensor(record, tf.float64), [2])
        return pair[0], tf.cast(pair[1], tf.int64)

    return tf.data.TFRecordDataset(str(path)).map(parse)


def check_shares(ids, shares):
    """Clusters are drawn with their shares: within four standard deviations, all of them."""
    found = np.bincount(ids.ravel(), minlength=len(shares)) / ids.size
    deviation = np.sqrt(np.multiply(shares, np.subtract(1, shares)) / ids.size)
    assert (np.abs(found - shares) <= 4 * deviation + 1e-12).all(), (found, shares)


def test_each_part_is_drawn_from_its_own_clusters_with_their_probabilities():
    batches = cluster_batches((X, IDS), IDS, groups_per_batch=4, owned_by=2, **PLACES)
    _, ids = taken(batches, 800)
    groups = ids.reshape(800, 2, 2, 2)  # steps, replicas, groups, examples
    assert (groups[..., 0] == groups[..., 1]).all()
    check_shares(groups[:, 0, :, 0], [1 / 6, 1 / 2, 1 / 3, 0, 0])
    check_shares(groups[:, 1, :, 0], [0, 0, 0, 5 / 8, 3 / 8])
    # Two groups of a replica are independent: the share of equal clusters is sum_k p(k|r)^2.
    same = (groups[:, 1, 0, 0] == groups[:, 1, 1, 0]).mean()
    assert same == pytest.approx((25 + 9) / 64, abs=4 * 0.5 / np.sqrt(800))


def test_central_parts_are_drawn_independently_from_all_clusters():
    """The groups of two replicas: the right shares for each, and for every pair of clusters."""
    batches = cluster_batches((X, IDS), IDS, groups_per_batch=2, **PLACES)
    _, ids = taken(batches, 800)
    of_replicas = ids.reshape(800, 2, 2)[:, :, 0]
    for part in of_replicas.T:
        check_shares(part, Q)
    pairs = of_replicas[:, 0] * 5 + of_replicas[:, 1]
    check_shares(pairs, np.outer(Q, Q).ravel())


@pytest.mark.parametrize(("owned_by", "read_ahead"), [(None, False), (4, True)])
def test_workers_make_the_parts_of_the_same_batches(owned_by, read_ahead):
    """Two workers with two replicas each: their parts, side by side, are the whole batches."""
    whole = cluster_batches(
        (X, IDS), IDS, groups_per_batch=8, owned_by=owned_by, read_ahead=read_ahead, **PLACES
    )
    values, ids = taken(whole, 6)
    parts = [taken(whole.for_worker(context(w, 2, 4)), 12) for w in range(2)]
    for expected, found in zip(
        (values, ids), zip(*parts, strict=True), strict=True
    ):  # [steps * 2, 4] of each worker
        side_by_side = np.concatenate([part.reshape(6, 8) for part in found], axis=1)
        np.testing.assert_array_equal(side_by_side, expected)


def test_a_worker_goes_on_from_a_state():
    owned_by = 2
    start = cluster_batches((X, IDS), IDS, groups_per_batch=4, owned_by=owned_by, **PLACES)
    state = start.sampling.state(300)
    later = cluster_batches(
        (X, IDS), IDS, groups_per_batch=4, owned_by=owned_by, state=state, **PLACES
    )
    values, ids = taken(start.skip(300), 5)
    np.testing.assert_array_equal(taken(later, 5)[0], values)
    np.testing.assert_array_equal(taken(later.for_worker(context(1)), 5)[1], ids[:, 4:])
    assert {"owned_by", "shards"}.isdisjoint(state)


def test_a_strategy_takes_the_function_of_a_worker():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    once = cluster_batches((X, IDS), IDS, groups_per_batch=2, **PLACES)
    distributed = strategy.distribute_datasets_from_function(once.for_worker)
    first, _ = next(iter(distributed))
    np.testing.assert_array_equal(first["inputs"], taken(once, 1)[0][0])


@pytest.mark.parametrize("source", ["dataset", "records"])
def test_workers_read_a_dataset_without_overlap(source, tmp_path):
    data = as_dataset() if source == "dataset" else as_records(tmp_path / "examples")
    batches = cluster_batches(data, lambda x, y: y, groups_per_batch=2, **PLACES)
    seen = []
    for worker in range(2):
        values, ids = taken(batches.for_worker(context(worker)), 120)
        assert (np.int64(values) % 2 == worker).all()
        np.testing.assert_array_equal(IDS[np.int64(values)], ids)
        check_shares(ids[:, 0], Q)
        seen.append(set(values.ravel()))
    assert seen[0] | seen[1] == set(X)
    assert batches.for_worker(context(0)).sampling.fingerprint() != batches.sampling.fingerprint()


def test_workers_read_their_own_clusters_of_a_dataset():
    batches = cluster_batches(
        as_dataset(), lambda x, y: y, groups_per_batch=4, owned_by=2, **PLACES
    )
    _, whole = taken(batches, 80)
    for worker, own in OWN.items():
        values, ids = taken(batches.for_worker(context(worker)), 80)
        assert set(ids.ravel()) == set(own)
        np.testing.assert_array_equal(ids, whole[:, 4 * worker : 4 * worker + 4])
        np.testing.assert_array_equal(IDS[np.int64(values)], ids)


@pytest.mark.parametrize("source", ["arrays", "dataset"])
def test_data_that_never_leave_their_worker(source):
    """Each worker is given the examples of its own clusters alone."""
    for worker, own in OWN.items():
        here = np.isin(IDS, own)
        data, ids = (X[here], IDS[here]), IDS[here]
        if source == "dataset":
            data, ids = tf.data.Dataset.from_tensor_slices(data), lambda x, y: y
        local = {"groups_per_batch": 2, "owned_by": 2, **PLACES}
        batches = cluster_batches(data, ids, input_context=context(worker), **local)
        values, found = taken(batches, 40)
        assert set(found.ravel()) == set(own)
        np.testing.assert_array_equal(IDS[np.int64(values)], found)
        with pytest.raises(ValueError, match="Every cluster must have an example"):
            cluster_batches(data, ids, input_context=context(1 - worker), **local)


def test_what_does_not_fit_is_refused():
    def make(**changes):
        settings = {**PLACES, "groups_per_batch": 4, **changes}
        return cluster_batches((X, IDS), IDS, **settings)

    for changes, message in (
        ({"owned_by": 0}, "`owned_by`"),
        ({"owned_by": 6, "groups_per_batch": 6}, "`num_clusters` must be at least the number of"),
        ({"owned_by": 3}, r"`groups_per_batch` must be a multiple of `owned_by`.*owned_by=3"),
        (
            {"owned_by": 2, "order": "cycle", "cluster_probabilities": None},
            "`order` must be 'random' with `owned_by`",
        ),
        ({"owned_by": 2, "run_length": 3}, "`run_length` must be 1 with `owned_by`.*run_length=3"),
        ({"run_length": 0}, "`run_length` must be an integer of at least 1"),
        (
            {"owned_by": 5, "groups_per_batch": 5, "cluster_probabilities": [0.5, 0.5, 0, 0, 0]},
            "must leave every replica a cluster",
        ),
        ({"input_context": 1}, "`input_context` must be the `tf.distribute.InputContext`"),
        ({"input_context": context(0, 1, 3)}, "must be a multiple of the 3 replicas"),
        ({"input_context": context(0), "owned_by": 4}, "must be the number of replicas of the str"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**changes)
    with pytest.raises(ValueError, match=r"`reassign` needs cluster batches .* nobody owns"):
        make(owned_by=2, read_ahead=False).reassign(IDS)


def test_workers_read_a_dataset_of_tfds_without_overlap():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=40):
        data = tfds.load("mnist", split="train", as_supervised=True)
        batches = cluster_batches(
            data, lambda x, y: y % 2, num_clusters=2, group_size=4, groups_per_batch=2, seed=0
        )
        seen = []
        for worker in range(2):
            found = list(batches.for_worker(context(worker)).take(20))
            assert all((b["cluster_ids"].numpy() == y.numpy() % 2).all() for b, y in found)
            seen.append({x.numpy().tobytes() for b, _ in found for x in b["inputs"]})
        everything = {x.numpy().tobytes() for x, _ in data}
    assert len(everything) == 40
    assert seen[0].isdisjoint(seen[1])
    assert seen[0] | seen[1] == everything
