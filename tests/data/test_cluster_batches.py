"""Every promise of `cluster_batches`, from arrays and from a dataset."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar.data import cluster_batches
from tf_gradvar.sampling.cluster_choice import choice_edges, count_choices

N, K = 53, 4
SETTINGS = {"num_clusters": K, "group_size": 3, "groups_per_batch": 4, "seed": 7}
IDS = np.random.default_rng(0).choice(K, N, p=[0.4, 0.3, 0.2, 0.1])
X = np.arange(N, dtype="float32")  # the example's own number, so that draws can be followed
SOURCES = ["arrays", "dataset"]


def data_of(source):
    if source == "arrays":
        return X, IDS
    return tf.data.Dataset.from_tensor_slices((X, IDS))


def clusters_of(source):
    return IDS if source == "arrays" else lambda x, y: y


def make(source="arrays", **changes):
    return cluster_batches(data_of(source), clusters_of(source), **{**SETTINGS, **changes})


def take(dataset, batches):
    return [
        (x["inputs"].numpy(), x["cluster_ids"].numpy(), y.numpy()) for x, y in dataset.take(batches)
    ]


@pytest.mark.parametrize("source", SOURCES)
class TestEverySource:
    def test_static_shapes_and_dtypes(self, source):
        inputs, labels = make(source).element_spec
        assert inputs["inputs"] == tf.TensorSpec([12], tf.float32)
        assert inputs["cluster_ids"] == tf.TensorSpec([12], tf.int32)
        assert labels.shape == [12]

    def test_ids_name_the_cluster_and_groups_are_contiguous(self, source):
        for _, ids, labels in take(make(source), 30):
            np.testing.assert_array_equal(ids, labels)
            groups = ids.reshape(4, 3)
            assert (groups == groups[:, :1]).all()

    def test_without_replacement_inside_a_cluster(self, source):
        batches = take(make(source), 120)
        drawn = np.concatenate([x for x, _, _ in batches])
        clusters = np.concatenate([ids for _, ids, _ in batches])
        passes = []
        for k in range(K):
            members = X[k == IDS]
            mine = drawn[clusters == k]
            whole = mine[: len(mine) // len(members) * len(members)].reshape(-1, len(members))
            assert len(whole) > 1
            np.testing.assert_array_equal(np.sort(whole, axis=1), np.tile(members, (len(whole), 1)))
            passes.append(whole)
        assert any((p[0] != p[1]).any() for p in passes), "a used-up cluster must be reshuffled"

    def test_same_seed_same_batches_other_seed_other_batches(self, source):
        first, again, other = (take(make(source, seed=s), 5) for s in (7, 7, 8))
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a[0], b[0])
        assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))

    @pytest.mark.parametrize("order", ["random", "cycle"])
    def test_resumes_exactly_and_twice(self, source, order):
        whole = make(source, order=order)
        batches = take(whole, 40)
        resumed = make(source, order=order, state=whole.sampling.state(9))
        again = make(source, order=order, state=resumed.sampling.state(20))
        for start, dataset in ((9, resumed), (29, again)):
            for a, b in zip(batches[start : start + 6], take(dataset, 6), strict=True):
                np.testing.assert_array_equal(a[0], b[0])

    def test_cycle_visits_every_cluster_in_turn(self, source):
        for _, ids, _ in take(make(source, order="cycle"), 10):
            np.testing.assert_array_equal(np.sort(ids[::3]), np.arange(K))

    def test_no_python_in_the_pipeline(self, source):
        graph = tf.raw_ops.DatasetToGraphV2(input_dataset=make(source)._variant_tensor).numpy()
        assert b"PyFunc" not in graph
        assert b"EagerPyFunc" not in graph


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("order", ["random", "cycle"])
def test_groups_in_a_row_are_of_the_cluster_that_was_drawn(source, order):
    """The clusters are those of single draws, each five times, from whatever batch on."""
    single = np.concatenate([ids[::3] for _, ids, _ in take(make(source, order=order), 12)])
    dataset = make(source, order=order, run_length=5)
    batches = take(dataset, 40)
    runs = np.concatenate([ids[::3] for _, ids, _ in batches])
    np.testing.assert_array_equal(runs, np.repeat(single, 5)[: len(runs)])
    resumed = make(source, order=order, run_length=5, state=dataset.sampling.state(23))
    for batch, other in zip(batches[23:28], take(resumed, 5), strict=True):
        np.testing.assert_array_equal(batch[0], other[0])


@pytest.mark.parametrize("probabilities", [None, [0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.5, 0.0]])
def test_clusters_are_drawn_with_their_probabilities(probabilities):
    draws = 40_000
    counts = count_choices(choice_edges(probabilities or [0.25] * 4), 3, "random", draws).numpy()
    expected = draws * np.asarray(probabilities or [0.25] * 4)
    spread = np.sqrt(expected * (1 - expected / draws))
    assert counts.sum() == draws
    assert (np.abs(counts - expected) <= 4.5 * spread).all()


def test_the_stream_is_what_was_counted():
    dataset = make(cluster_probabilities=[0.1, 0.2, 0.3, 0.4])
    ids = np.concatenate([ids[::3] for _, ids, _ in take(dataset, 300)])
    counts = count_choices(choice_edges([0.1, 0.2, 0.3, 0.4]), 7, "random", len(ids))
    np.testing.assert_array_equal(np.bincount(ids, minlength=K), counts)


def test_draws_of_groups_are_independent():
    """The pairs of clusters of one batch occur as often as the product of probabilities."""
    dataset = make(groups_per_batch=2, group_size=1)
    pairs = np.array([ids for _, ids, _ in take(dataset, 4000)])
    counts = np.bincount(pairs[:, 0] * K + pairs[:, 1], minlength=K * K)
    assert (np.abs(counts - 250) <= 4.5 * np.sqrt(250)).all()


@pytest.mark.parametrize("changes", [{}, {"read_ahead": False, "order": "cycle"}])
def test_after_is_what_skip_leaves(changes):
    dataset = make(**changes)
    expected = take(dataset.skip(7), 3)
    for batch, other in zip(take(dataset.after(7), 3), expected, strict=True):
        for array, wanted in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, wanted)
    with pytest.raises(ValueError, match="`batches_taken` must be an integer of at least 0"):
        dataset.after(-1)


def test_nested_structures_and_sample_weights():
    data = ({"a": X, "b": np.stack([X, X], 1)}, (IDS, X), X / 2)
    batches = cluster_batches(data, IDS, **SETTINGS)
    for x, (labels, numbers), weights in batches.take(3):
        np.testing.assert_array_equal(x["inputs"]["b"][:, 1], x["inputs"]["a"])
        np.testing.assert_array_equal(labels, x["cluster_ids"])
        np.testing.assert_array_equal(numbers / 2, weights)


def test_function_of_an_example_and_array_give_the_same_batches():
    by_function = cluster_batches((X, IDS), lambda x, y: y, **SETTINGS)
    for a, b in zip(take(by_function, 5), take(make(), 5), strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_array_of_ids_for_a_dataset():
    by_array = cluster_batches(data_of("dataset"), IDS, **SETTINGS)
    for a, b in zip(take(by_array, 5), take(make("dataset"), 5), strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_a_cluster_smaller_than_a_group_repeats():
    dataset = cluster_batches(
        (X[:3], np.array([0, 0, 1])), np.array([0, 0, 1]), num_clusters=2, group_size=5, seed=0
    )
    for x, _ in dataset.take(10):
        assert len(set(x["cluster_ids"].numpy())) == 1


def test_state_is_plain_json_and_sampling_describes_itself():
    sampling = make().sampling
    assert json.loads(json.dumps(sampling.state(5))) == sampling.state(5)
    assert sampling.cluster_sizes == tuple(np.bincount(IDS, minlength=K))
    assert sampling.groups_per_batch == 4


def dataset_of(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays)


BAD_CALLS = {
    "num_clusters": (lambda: make(num_clusters=0), "`num_clusters` must be an integer"),
    "num_clusters type": (lambda: make(num_clusters=2.5), "`num_clusters` must be an integer"),
    "group_size": (lambda: make(group_size=0), "`group_size` must be an integer"),
    "groups_per_batch": (lambda: make(groups_per_batch=-1), "`groups_per_batch` must be"),
    "probabilities length": (
        lambda: make(cluster_probabilities=[0.5, 0.5]),
        "one probability for each of the num_clusters=4",
    ),
    "probabilities sign": (
        lambda: make(cluster_probabilities=[1.5, -0.5, 0, 0]),
        "must not be negative",
    ),
    "probabilities sum": (lambda: make(cluster_probabilities=[0.5] * 4), "must sum to 1"),
    "order": (
        lambda: make(order="sorted"),
        r"`order` must be one of \('random', 'cycle'\)\. Received: order='sorted'",
    ),
    "cycle needs uniform": (
        lambda: make(order="cycle", cluster_probabilities=[0.1, 0.2, 0.3, 0.4]),
        "needs uniform",
    ),
    "ids out of range": (
        lambda: cluster_batches((X, IDS), IDS + 1, **SETTINGS),
        r"must lie in \[0, 4\)",
    ),
    "negative ids": (
        lambda: cluster_batches((X, IDS), IDS - 2, **SETTINGS),
        r"must lie in \[0, 4\), or be -1",
    ),
    "ids dtype": (
        lambda: cluster_batches((X, IDS), IDS.astype("float32"), **SETTINGS),
        "must be integers of shape",
    ),
    "ids shape": (
        lambda: cluster_batches((X, IDS), np.eye(K, dtype=int)[IDS], **SETTINGS),
        "np.argmax",
    ),
    "ids length": (
        lambda: cluster_batches((X, IDS), IDS[:-1], **SETTINGS),
        "must be integers of shape",
    ),
    "empty cluster": (lambda: make(num_clusters=6), "no example of clusters 4, 5 of 6"),
    "lengths of arrays": (
        lambda: cluster_batches((X, IDS[:-1]), IDS, **SETTINGS),
        "the same number of examples",
    ),
    "no targets": (lambda: cluster_batches(X, IDS, **SETTINGS), r"`data` must be \(x, y\)"),
    "foreign state": (
        lambda: make(state=make(seed=8).sampling.state(3)),
        "`state` must come from cluster batches with the same data",
    ),
    "dataset of single tensors": (
        lambda: cluster_batches(tf.data.Dataset.from_tensor_slices(X), IDS, **SETTINGS),
        "a dataset of single examples",
    ),
    "infinite dataset": (
        lambda: cluster_batches(dataset_of(X, IDS).repeat(), lambda x, y: y, **SETTINGS),
        "must be a finite dataset",
    ),
    "empty dataset": (
        lambda: cluster_batches(dataset_of(X, IDS).take(0), lambda x, y: y, **SETTINGS),
        "at least one example",
    ),
    "float ids of a function": (
        lambda: cluster_batches(dataset_of(X, IDS), lambda x, y: x, **SETTINGS),
        "must give one integer for each example",
    ),
    "ids of another dataset": (
        lambda: cluster_batches(dataset_of(X, IDS), IDS[:-1], **SETTINGS),
        r"must be integers of shape \(\d+,\), the cluster of each",
    ),
    "empty cluster in a dataset": (
        lambda: make("dataset", num_clusters=5),
        "no example of cluster 4 of 5",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_gets_a_sentence(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()
