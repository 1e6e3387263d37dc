"""One pass gives each example what a loop over the examples gives it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.oracles import per_example_oracle
from tests.problems import Enumerable, sequential
from tf_gradvar import per_example
from tf_gradvar.diagnosis.example_measurements import measure_examples

N, INPUTS, CLASSES = 11, 4, 4
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    model = sequential((INPUTS,), layers.Dense(5, "tanh"), layers.Dense(CLASSES))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, INPUTS)).astype("float32")
    return model, x, rng.integers(0, CLASSES, N)


def exact(model, x, y):
    """Squared norms and losses, by a loop in float64."""
    with per_example_oracle.float64():
        copy = sequential((INPUTS,), layers.Dense(5, "tanh"), layers.Dense(CLASSES))
        copy.set_weights(model.get_weights())
        rows = per_example_oracle.loop_gradients(copy, x.astype("float64"), y, SPARSE)
        logits = copy(x.astype("float64")).numpy()
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
    return per_example_oracle.squared_norms(rows), losses, logits.argmax(axis=1)


def test_a_row_for_every_example(classifier):
    model, x, y = classifier
    norms, losses, predictions = exact(model, x, y)
    found = measure_examples(model, x, y, SPARSE, chunk_size=4)
    np.testing.assert_allclose(found.squared_norms, norms, rtol=1e-5)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    np.testing.assert_array_equal(found.predictions, predictions)
    np.testing.assert_array_equal(found.labels, y)
    np.testing.assert_array_equal(found.indices, np.arange(N))
    assert len(found) == found.count == N
    assert not len(found.left_out)
    assert [a.dtype for a in (found.squared_norms, found.sketches, found.losses)] == [
        "float64", "float32", "float64"]  # fmt: skip


def test_sketches_are_those_of_per_example_and_keep_inner_products(classifier):
    model, x, y = classifier
    found = measure_examples(model, x, y, SPARSE, sketch_size=64, seed=3, chunk_size=5)
    direct = per_example.sketch(model, x, y, SPARSE, 64, seed=3).numpy()
    np.testing.assert_allclose(found.sketches, direct, rtol=1e-5, atol=1e-6)

    g = np.concatenate(
        [part.numpy().reshape(N, -1) for part in per_example.gradients(model, x, y, SPARSE)], axis=1
    )
    large = measure_examples(model, x, y, SPARSE, sketch_size=4096).sketches
    largest = np.square(g).sum(axis=1).max()
    np.testing.assert_allclose(large @ large.T, g @ g.T, atol=0.1 * largest)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (SPARSE, lambda y: y[:, np.newaxis]),
        (SPARSE, lambda y: y.astype("float32")),
        (keras.losses.CategoricalCrossentropy(from_logits=True), lambda y: np.eye(CLASSES)[y]),
        (
            keras.losses.CategoricalCrossentropy(from_logits=True),
            lambda y: 0.9 * np.eye(CLASSES, dtype="float32")[y] + 0.1 / CLASSES,
        ),
    ],
    ids=["column", "floats", "one-hot", "smoothed"],
)
def test_labels_from_every_form_of_targets(classifier, loss, targets):
    model, x, y = classifier
    np.testing.assert_array_equal(measure_examples(model, x, targets(y), loss).labels, y)


@pytest.mark.parametrize("from_logits", [True, False])
def test_a_classifier_between_no_and_yes(from_logits):
    keras.utils.set_random_seed(1)
    model = sequential((3,), layers.Dense(1, None if from_logits else "sigmoid"))
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    y = (np.arange(20) % 2).astype("float32")[:, np.newaxis]
    found = measure_examples(model, x, y, keras.losses.BinaryCrossentropy(from_logits=from_logits))
    raw = x @ model.get_weights()[0][:, 0]
    np.testing.assert_array_equal(found.predictions, raw > 0)
    np.testing.assert_array_equal(found.labels, y[:, 0])


@pytest.mark.parametrize("targets", ["values", "positions"])
def test_no_classes_no_labels(targets):
    if targets == "values":
        model, x, y, loss = Enumerable.make("float32").data
    else:
        model = sequential((5, 3), layers.Dense(4))
        x, y, loss = np.ones((2, 5, 3), "float32"), np.zeros((2, 5), "int32"), SPARSE
    found = measure_examples(model, x, y, loss)
    assert found.labels is None
    assert found.predictions is None


def test_several_outputs_have_no_labels():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(1)(inputs)])
    y = [np.zeros((4, 2), "float32"), np.zeros((4, 1), "float32")]
    found = measure_examples(model, np.ones((4, 3), "float32"), y, ["mse", "mse"])
    assert found.labels is None


def test_some_examples_keep_their_numbers(classifier):
    model, x, y = classifier
    whole = measure_examples(model, x, y, SPARSE)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(3)
    for given in ((x, y), (dataset, None)):
        some = measure_examples(model, *given, SPARSE, indices=[9, 2, 4], chunk_size=2)
        np.testing.assert_array_equal(some.indices, [2, 4, 9])
        np.testing.assert_allclose(some.losses, whole.losses[[2, 4, 9]], rtol=1e-6)
        np.testing.assert_array_equal(some.labels, y[[2, 4, 9]])
        assert some.count == N


def test_a_dataset_and_the_compiled_loss(classifier):
    model, x, y = classifier
    model.compile("sgd", SPARSE)
    weights = np.arange(N, dtype="float32")
    dataset = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(4)
    streamed = measure_examples(model, dataset)
    held = measure_examples(model, x, y, sample_weight=weights)
    np.testing.assert_allclose(streamed.losses, held.losses, rtol=1e-6)
    np.testing.assert_allclose(held.losses, weights * exact(model, x, y)[1], rtol=1e-5)


def test_examples_that_are_not_finite_are_named_and_left_out(classifier):
    model, x, y = classifier
    bad = x.copy()
    bad[2, 1], bad[7, 0] = np.nan, np.inf
    found = measure_examples(model, bad, y, SPARSE)
    kept = np.delete(np.arange(N), [2, 7])
    np.testing.assert_array_equal(found.left_out, [2, 7])
    np.testing.assert_array_equal(found.indices, kept)
    np.testing.assert_allclose(found.squared_norms, exact(model, x, y)[0][kept], rtol=1e-5)
    assert len(found.labels) == len(found.predictions) == len(found.sketches) == N - 2
    assert found.count == N


def test_no_finite_example_is_refused(classifier):
    model, x, y = classifier
    with pytest.raises(ValueError, match="`x` must hold at least one example with a finite"):
        measure_examples(model, np.full_like(x, np.nan), y, SPARSE)


@pytest.mark.parametrize("indices", [[], [0, 0], [N], [-1], [0.0], [[1]], [True]])
def test_indices_that_are_none(classifier, indices):
    with pytest.raises(ValueError, match=r"`indices` must be different integers from 0 to 10"):
        measure_examples(*classifier, SPARSE, indices=indices)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_size": 0}, "`chunk_size` must be an integer of at least 1"),
        ({"sketch_size": 0}, "`sketch_size` must be an integer of at least 1"),
        ({"seed": -1}, "`seed` must be a non-negative integer"),
    ],
)
def test_options_that_are_none(classifier, options, message):
    with pytest.raises(ValueError, match=message):
        measure_examples(*classifier, SPARSE, **options)


def test_progress_counts_examples_and_may_end_the_pass(classifier):
    seen = []
    measure_examples(*classifier, SPARSE, chunk_size=4, progress=lambda *n: seen.append(n))
    assert seen == [(4, N), (8, N), (N, N)]

    def stop(done, total):
        raise TimeoutError(done)

    with pytest.raises(TimeoutError, match="4"):
        measure_examples(*classifier, SPARSE, chunk_size=4, progress=stop)


def test_measuring_changes_no_weight(classifier):
    model, x, y = classifier
    before = [weight.copy() for weight in model.get_weights()]
    measure_examples(model, x, y, SPARSE)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
