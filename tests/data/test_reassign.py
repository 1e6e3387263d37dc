"""Other clusters for a dataset of cluster batches that is being read."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar.data import cluster_batches
from tf_gradvar.data.fingerprint import fingerprint

N, K = 53, 4
SETTINGS = {"num_clusters": K, "group_size": 3, "groups_per_batch": 4, "seed": 7}
X = np.arange(N, dtype="float32")  # the example's own number, so that draws can be followed
Y = np.zeros(N, "int32")
OLD = np.random.default_rng(0).choice(K, N, p=[0.4, 0.3, 0.2, 0.1])
NEW = np.random.default_rng(1).choice(K, N, p=[0.1, 0.2, 0.2, 0.5])
SHARES = (np.bincount(NEW) / N).tolist()


@dataclasses.dataclass(frozen=True)
class Result:
    assignments: np.ndarray
    fingerprint: str


def make(clusters=OLD, **changes):
    return cluster_batches((X, Y), clusters, **{**SETTINGS, "read_ahead": False, **changes})


def numbers(batch):
    return batch[0]["inputs"].numpy(), batch[0]["cluster_ids"].numpy()


def take(iterator, count):
    return [numbers(next(iterator)) for _ in range(count)]


def assert_same(batches, others):
    assert len(batches) == len(others) > 0
    for (x, ids), (other, other_ids) in zip(batches, others, strict=True):
        np.testing.assert_array_equal(x, other)
        np.testing.assert_array_equal(ids, other_ids)


def test_reading_ahead_changes_no_batch():
    assert_same(take(iter(make()), 30), take(iter(make(read_ahead=True)), 30))


@pytest.mark.parametrize("probabilities", [None, [0.1, 0.2, 0.3, 0.4]])
def test_the_next_batch_is_that_of_a_new_dataset(probabilities):
    dataset = make()
    batches = iter(dataset)
    before = take(batches, 9)
    dataset.reassign(NEW, probabilities)
    after = take(batches, 260)  # beyond the first 1 024 draws
    assert_same(before, take(iter(make()), 9))
    whole = take(iter(make(NEW, cluster_probabilities=probabilities or SHARES)), 269)
    assert_same(after, whole[9:])
    np.testing.assert_array_equal(np.concatenate([x for x, _ in after]).astype(int) >= 0, True)
    for x, ids in after:
        np.testing.assert_array_equal(ids, NEW[x.astype(int)])
    assert dataset.sampling.cluster_sizes == tuple(np.bincount(NEW))
    assert dataset.sampling.cluster_probabilities == pytest.approx(probabilities or SHARES)


def test_every_example_is_drawn_with_its_share_of_the_data():
    """With q_k = N_k/N, pass after pass, so that the batches' mean is that of the data."""
    dataset = make()
    dataset.reassign(NEW)
    drawn = np.concatenate([x for x, _ in take(iter(dataset), 750)]).astype(int)
    counts = np.bincount(drawn, minlength=N)
    # The number of groups of a cluster is binomial; a cluster's examples share its draws.
    groups = 3_000
    for k, share in enumerate(SHARES):
        mine = counts[k == NEW]
        spread = 3 * np.sqrt(groups * share * (1 - share)) / len(mine)
        assert np.abs(mine - 3 * groups / N).max() < 4.5 * spread + 1


def test_back_and_forth_and_a_second_iterator():
    dataset = make()
    batches = iter(dataset)
    take(batches, 3)
    dataset.reassign(NEW)
    take(batches, 2)
    dataset.reassign(OLD, [0.25] * 4)
    whole = take(iter(make()), 8)
    assert_same(take(batches, 3), whole[5:])
    assert_same(take(iter(dataset), 2), whole[:2])  # iterating again starts again


def test_resuming_after_a_change():
    dataset = make()
    batches = iter(dataset)
    take(batches, 5)
    dataset.reassign(NEW)
    take(batches, 6)
    state = dataset.sampling.state(11)
    resumed = make(NEW, cluster_probabilities=SHARES, state=state)
    assert_same(take(batches, 5), take(iter(resumed), 5))
    with pytest.raises(ValueError, match="`state` must come from"):
        make(state=state)


def test_results_of_clustering():
    assignments = NEW.copy()
    assignments[:7] = -1
    result = Result(assignments, fingerprint(X, Y))
    dataset = make()
    dataset.reassign(result)
    drawn = np.concatenate([x for x, _ in take(iter(dataset), 100)])
    assert set(drawn.astype(int)) == set(range(7, N))
    again = make(result, cluster_probabilities=dataset.sampling.cluster_probabilities)
    assert_same(take(iter(dataset), 5), take(iter(again), 5))
    assert dataset.sampling.cluster_sizes == tuple(np.bincount(NEW[7:]))


def test_a_cluster_that_is_never_drawn_may_be_empty():
    dataset = make()
    dataset.reassign(NEW % 3)
    assert dataset.sampling.cluster_sizes[3] == 0
    assert max(ids.max() for _, ids in take(iter(dataset), 200)) == 2


def test_cycling_goes_on():
    dataset = make(order="cycle")
    batches = iter(dataset)
    take(batches, 2)
    dataset.reassign(NEW, [0.25] * K)
    assert_same(take(batches, 3), take(iter(make(NEW, order="cycle")), 5)[2:])


def test_nothing_is_traced_again():
    dataset = make()
    batches = iter(dataset)
    graph = tf.raw_ops.DatasetToGraphV2(
        input_dataset=dataset._variant_tensor, external_state_policy=1
    ).numpy()
    assert b"PyFunc" not in graph
    first = take(batches, 1)
    dataset.reassign(OLD, [0.25] * K)
    assert first[0][0].shape == take(batches, 1)[0][0].shape


def from_dataset():
    return cluster_batches(
        tf.data.Dataset.from_tensor_slices((X, OLD)), lambda x, y: y, **SETTINGS, read_ahead=False
    )


BAD_CALLS = {
    "read ahead": (lambda: make(read_ahead=True).reassign(NEW), "`reassign` needs .*read_ahead"),
    "no arrays": (lambda: from_dataset().reassign(NEW), "`reassign` needs .*read_ahead"),
    "length": (lambda: make().reassign(NEW[1:]), r"`clusters` must be integers of shape \(53,\)"),
    "too many": (lambda: make().reassign(NEW + 1), r"`clusters` must lie in \[0, 4\)"),
    "left out": (lambda: make().reassign(NEW - 2), r"`clusters` must lie in \[0, 4\)"),
    "probabilities": (lambda: make().reassign(NEW, [0.5] * 4), "must sum to 1"),
    "empty": (lambda: make().reassign(NEW % 3, [0.25] * 4), "no example of cluster 3 of 4"),
    "cycle": (lambda: make(order="cycle").reassign(NEW), "needs uniform"),
    "other data": (
        lambda: make().reassign(Result(NEW, fingerprint(X + 1, Y))),
        "`clusters` must be of the same data",
    ),
    "other data at first": (
        lambda: make(Result(NEW, fingerprint(X[::-1], Y))),
        "`clusters` must be of the same data",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_gets_a_sentence(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()
