"""Sources of data: structures and lists, pandas, datasets that stream, and their order."""

from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tf_gradvar.clustering import GradientClustering
from tf_gradvar.data import cluster_batches, stratified_batches
from tf_gradvar.data.arrays import as_arrays
from tf_gradvar.data.examples import as_examples
from tf_gradvar.data.fingerprint import Fingerprint, fingerprint
from tf_gradvar.estimators import MiniBatch, Stratified, gradient_variance

N = 12
IDS = np.array([1, 0, 2, 2, 1, 2, 3, 3, 3, 3, 3, 3])
X = np.arange(N, dtype="float32")
A, B = np.zeros((2, 3)), np.ones((2, 4))


def dataset_of(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays)


class Batches(keras.utils.PyDataset):
    """Batches of 5 of some arrays."""

    def __init__(self, *arrays, **options):
        super().__init__(**options)
        self.arrays = arrays

    def __len__(self):
        return -(-len(self.arrays[0]) // 5)

    def __getitem__(self, index):
        return tuple(array[5 * index : 5 * index + 5] for array in self.arrays)


def shapes(data):
    return keras.tree.map_structure(lambda leaf: leaf.shape, as_arrays(data))


def test_lists_of_arrays_are_structures_and_lists_of_numbers_arrays():
    assert shapes([1, 2, 3]) == (3,)
    assert shapes([[1, 2, 3], [4, 5, 6]]) == (2, 3)
    assert shapes(["a", "b"]) == (2,)
    assert shapes([np.float32(1), np.float32(2)]) == (2,)
    assert shapes(((1, 2), (3, 4))) == (2, 2)
    assert shapes([A, B]) == [(2, 3), (2, 4)]
    assert shapes((A, [B, [1, 2]])) == ((2, 3), [(2, 4), (2,)])
    assert shapes({"a": [1, 2], "b": [A]}) == {"a": (2,), "b": [(2, 3)]}
    assert shapes([tf.ones([2, 3]), A]) == [(2, 3), (2, 3)]
    assert as_arrays([None, A])[0] is None
    with pytest.raises(ValueError, match=r"`y` must be arrays.*lists of numbers with the same"):
        as_arrays([[1, 2], [3]], "y")


def test_pandas_as_keras_takes_it():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=[1, 0])
    np.testing.assert_array_equal(as_arrays(frame), [[1, 3], [2, 4]])
    np.testing.assert_array_equal(as_arrays(frame["b"]), [[3], [4]])
    assert shapes([frame, A]) == [(2, 2), (2, 3)]


def model_of_two():
    inputs = [keras.Input((1,), name="a"), keras.Input((2,), name="b")]
    merged = keras.layers.Concatenate()(inputs)
    outputs = [keras.layers.Dense(1)(merged), keras.layers.Dense(2)(merged)]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mse"], run_eagerly=True)
    return model


TWO = [X[:, None], np.stack([X, X], axis=1)]


def test_several_inputs_and_outputs_as_lists():
    model = model_of_two()
    for batches in (
        stratified_batches((TWO, TWO), IDS, seed=0),
        cluster_batches((TWO, TWO), IDS, num_clusters=4, group_size=2, seed=0).map(
            lambda batch, y: (batch["inputs"], y)
        ),
    ):
        model.fit(batches, steps_per_epoch=1, verbose=0)
        x, y = next(iter(batches))[:2]
        np.testing.assert_array_equal(x[0][:, 0], x[1][:, 1])
        np.testing.assert_array_equal(y[0][:, 0], x[1][:, 0])


def test_plain_lists_are_arrays():
    expected = list(stratified_batches((X, IDS), IDS, seed=0).take(2).as_numpy_iterator())
    found = stratified_batches((X.tolist(), IDS.tolist()), IDS.tolist(), seed=0)
    for one, other in zip(found.take(2).as_numpy_iterator(), expected, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b)


NAMES = np.array(["cat", "ant", "dog", "eel"])[IDS]  # in the order of the numbers but for one pair
ORDER = np.array([1, 0, 2, 3])
LABELS = {
    "column": IDS[:, None].astype(np.uint8),
    "strings": NAMES,
    "categorical": pd.Categorical(NAMES, categories=["cat", "ant", "dog", "eel"]),
    "series": pd.Series(IDS),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_every_kind(name):
    ids = ORDER[IDS] if name == "strings" else IDS
    found = cluster_batches((X, IDS), LABELS[name], num_clusters=4, group_size=2, seed=0)
    for batch, _ in found.take(3):
        rows = batch["inputs"].numpy().astype(int)
        np.testing.assert_array_equal(batch["cluster_ids"], ids[rows])
    sampling = stratified_batches((X, IDS), LABELS[name], seed=0).sampling
    np.testing.assert_array_equal(sampling.design.sizes, np.bincount(ids))
    np.testing.assert_array_equal(Stratified(LABELS[name]).assignments, ids)


def test_one_cluster_that_is_drawn_when_it_is_asked_for():
    ids = np.zeros(N, int)
    settings = {"num_clusters": 1, "group_size": 3, "groups_per_batch": 2, "seed": 4}
    ahead, at_once = (
        [x["inputs"] for x, _ in cluster_batches((X, IDS), ids, read_ahead=r, **settings).take(4)]
        for r in (True, False)
    )
    np.testing.assert_array_equal(ahead, at_once)
    np.testing.assert_array_equal(np.sort(np.concatenate(ahead[:2])), X)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_large_ids_of_a_dataset_do_not_wrap(dtype):
    ids = np.where(IDS == 0, 2**32, IDS).astype(dtype)
    for clusters in (lambda x, y: y, ids):
        with pytest.raises(ValueError, match=r"`clusters` must lie in \[0, 4\).* to 4294967296"):
            cluster_batches(dataset_of(X, ids), clusters, num_clusters=4, group_size=1, seed=0)


def test_a_function_gives_columns_and_leaves_examples_out():
    ids = np.where(X == 6, -1, IDS)[:, None]
    batches = cluster_batches(
        dataset_of(X, ids), lambda x, y: y, num_clusters=4, group_size=1, groups_per_batch=4, seed=0
    )
    drawn = np.concatenate([batch["inputs"] for batch, _ in batches.take(30)])
    assert set(drawn) == set(X) - {6}


def test_cycles_are_counted_in_closed_form():
    """A resumed dataset draws what the uninterrupted one does, after a part of a cycle, too."""
    settings = {"num_clusters": 4, "group_size": 1, "groups_per_batch": 3, "seed": 5}
    whole = cluster_batches((X, IDS), IDS, order="cycle", **settings)
    expected = [batch["inputs"] for batch, _ in whole.take(40)]
    for taken in (4, 33):
        state = whole.sampling.state(taken)
        resumed = cluster_batches((X, IDS), IDS, order="cycle", state=state, **settings)
        found = [batch["inputs"] for batch, _ in resumed.take(5)]
        np.testing.assert_array_equal(found, expected[taken : taken + 5])


@pytest.mark.parametrize("seed", [0, 1])
def test_small_seeds_shuffle_as_well(seed):
    """The key (0, 0, 0) alone would leave the examples in their order."""
    x, ids = np.arange(64.0), np.zeros(64, int)
    batches = stratified_batches((x, ids), ids, batch_size=64, seed=seed)
    (batch,) = batches.take(1)
    assert np.mean(batch[0].numpy() == x) < 0.2


def test_a_dataset_is_read_into_arrays():
    weights = (1 + X).astype("float32")
    expected = stratified_batches((X, IDS, weights), IDS, seed=0)
    found = stratified_batches(dataset_of(X, IDS, weights), IDS, seed=0)
    for one, other in zip(found.take(3), expected.take(3), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert found.sampling.fingerprint() == expected.sampling.fingerprint()
    result = SimpleNamespace(assignments=IDS, fingerprint=fingerprint(X, IDS))
    for sample in (
        stratified_batches(dataset_of(X, IDS), result, seed=0),
        cluster_batches(dataset_of(X, IDS), result, num_clusters=4, group_size=1, seed=0),
    ):
        next(iter(sample))
    result.fingerprint = fingerprint(X[::-1], IDS)
    with pytest.raises(ValueError, match="`clusters` must be of the same data"):
        cluster_batches(dataset_of(X, IDS), result, num_clusters=4, group_size=1, seed=0)


def test_a_state_goes_on_with_the_same_data_only():
    settings = {"num_clusters": 4, "group_size": 1, "seed": 0}
    for source in (lambda *arrays: arrays, dataset_of):
        state = cluster_batches(source(X, IDS), IDS, **settings).sampling.state(3)
        cluster_batches(source(X, IDS), IDS, state=state, **settings)
        with pytest.raises(
            ValueError, match="`state` must come from cluster batches with the same"
        ):
            cluster_batches(source(X + 1, IDS), IDS, state=state, **settings)


def test_datasets_that_cannot_be_held():
    ragged = tf.data.Dataset.from_generator(
        lambda: ((np.zeros(n), n) for n in range(3)),
        output_signature=(tf.TensorSpec([None]), tf.TensorSpec([], tf.int32)),
    )
    for dataset, message in [
        (ragged, "single examples of one shape.*unbatch"),
        (dataset_of(X, IDS).batch(4), "single examples of one shape.*unbatch"),
        (dataset_of(X, IDS).repeat(), "must be a finite dataset"),
        (dataset_of(X), "dataset of single examples"),
        (dataset_of(X, IDS).take(0), "at least one example"),
    ]:
        with pytest.raises(ValueError, match=message):
            stratified_batches(dataset, IDS, seed=0)


def linear_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    return model


INPUTS = np.random.default_rng(0).normal(size=(N, 2)).astype("float32")
TARGETS = np.square(INPUTS).sum(axis=1, keepdims=True)


def shuffled(reshuffle, batch=4):
    dataset = dataset_of(INPUTS, TARGETS)
    dataset = dataset.shuffle(N, seed=1, reshuffle_each_iteration=reshuffle)
    return dataset.batch(batch) if batch else dataset


def variance(data, estimators, **options):
    y = TARGETS if isinstance(data, np.ndarray) else None
    found = gradient_variance(linear_model(), data, y, "mse", estimators, **options)
    return {name: value.average_variance for name, value in found.items()}


ANOTHER_ORDER = "must yield the same examples in the same order at every reading"


@pytest.mark.parametrize("method", ["exact", "subset", "monte_carlo"])
def test_a_dataset_that_is_shuffled_again_has_no_strata(method):
    with pytest.raises(ValueError, match=f"`x` {ANOTHER_ORDER}.*reshuffle_each_iteration=False"):
        variance(shuffled(True), [Stratified(IDS)], method=method, subset_size=8, num_draws=4)


def test_a_dataset_that_is_shuffled_once_or_has_no_strata_is_taken():
    assert variance(shuffled(False), [Stratified(IDS)])["stratified-4"] > 0
    assert variance(shuffled(True), [MiniBatch(2)])["SG-2"] > 0


def test_samplers_and_clusterings_refuse_another_order():
    clustering = GradientClustering(2, verbose=False)
    for call in (
        lambda: stratified_batches(shuffled(True, 0), IDS, seed=0),
        lambda: cluster_batches(shuffled(True, 0), IDS, num_clusters=4, group_size=1, seed=0),
        lambda: clustering.fit(linear_model(), shuffled(True), loss="mse"),
    ):
        with pytest.raises(ValueError, match=ANOTHER_ORDER):
            call()
    result = clustering.fit(linear_model(), shuffled(False), loss="mse")
    assert len(result.assignments) == N


def test_a_clustering_of_other_data_is_not_measured():
    result = SimpleNamespace(assignments=IDS, fingerprint=fingerprint(INPUTS, TARGETS))
    expected = variance(INPUTS, [Stratified(result)])["GC-4"]
    batches = dataset_of(INPUTS, TARGETS).batch(5)
    assert variance(batches, [Stratified(result)])["GC-4"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="`assignments` must be of the same data"):
        variance(shuffled(False), [Stratified(result)])


def test_py_datasets_are_read_in_order():
    estimators = [MiniBatch(3), Stratified(IDS)]
    found = variance(Batches(INPUTS, TARGETS), estimators)
    assert found == pytest.approx(variance(dataset_of(INPUTS, TARGETS).batch(5), estimators))
    weights = 1 + X
    weighted = variance(Batches(INPUTS, TARGETS, weights), estimators)
    expected = variance(INPUTS, estimators, sample_weight=weights)
    assert weighted == pytest.approx(expected)
    clustering = GradientClustering(3, verbose=False)
    streamed = clustering.fit(linear_model(), Batches(INPUTS, TARGETS), loss="mse")
    assert streamed.fingerprint == fingerprint(INPUTS, TARGETS)


class Endless(Batches):
    @property
    def num_batches(self):
        return None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((batch for batch in [(INPUTS, TARGETS)]), "Received: a generator, which is used up after"),
        (iter(dataset_of(INPUTS, TARGETS)), "`x` must be data that can be read more than once"),
        (Batches(INPUTS), r"PyDataset of batches \(x, y\).*Received: tuple for batch 0"),
        (Endless(INPUTS, TARGETS), "finite `PyDataset`"),
    ],
    ids=["generator", "iterator", "no labels", "endless"],
)
def test_what_cannot_be_read(data, message):
    with pytest.raises(ValueError, match=message):
        _ = as_examples(data, None, None).count


def test_every_byte_and_the_order_decide_the_fingerprint():
    x = np.random.default_rng(0).normal(size=(200, 5)).astype("float32")
    known = fingerprint(x, X)
    for row in range(200):
        other = x.copy()
        other[row, 3] += 1
        assert fingerprint(other, X) != known
    swapped = x.copy()
    swapped[[100, 101]] = x[[101, 100]]
    assert fingerprint(swapped, X) != known
    assert fingerprint(x.reshape(200, 5, 1), X) != known
    assert fingerprint(np.asfortranarray(x), X) == known


def test_fingerprints_of_texts():
    texts = np.array(["a", "bc", "é"])
    as_of_tf_data = np.array([text.encode() for text in texts], object)
    assert fingerprint(texts, X) == fingerprint(as_of_tf_data, X)
    assert fingerprint(np.array(["ab", "c", "é"]), X) != fingerprint(texts, X)
    pieces = Fingerprint()
    for row in range(3):
        pieces.add(texts[row : row + 1])
    whole = Fingerprint()
    whole.add(as_of_tf_data)
    assert pieces.digest() == whole.digest()
