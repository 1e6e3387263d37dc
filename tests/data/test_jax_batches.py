"""What `cluster_batches` returns on JAX, and what it refuses there."""

import keras
import numpy as np
import pytest

from tests.training.jax_cases import K, X, Y, batches, make_model
from tf_gradvar import Discover, cluster_batches, stratified_batches
from tf_gradvar.data.array_batches import ArrayClusterBatches

pytestmark = [
    pytest.mark.jax,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs the JAX backend"),
]


def test_a_function_tells_the_clusters():
    by_function = cluster_batches((X, Y), lambda x, y: y, num_clusters=K, group_size=4, seed=0)
    by_array = cluster_batches((X, Y), Y, num_clusters=K, group_size=4, seed=0)
    assert isinstance(by_function, ArrayClusterBatches)
    assert by_function.sampling == by_array.sampling


def test_a_function_must_tell_one_integer():
    with pytest.raises(ValueError, match=r"must give one integer.*Received: dtype=float32"):
        cluster_batches((X, Y), lambda x, y: x[0], num_clusters=K, group_size=4, seed=0)


def test_batches_that_are_drawn_ahead_cannot_change():
    with pytest.raises(ValueError, match="`reassign` needs cluster batches"):
        batches().reassign(Y)
    data = batches(read_ahead=False)
    data.reassign(np.roll(Y, 1))
    ids = data[0][0]["cluster_ids"]
    assert ids.dtype == np.int32


def test_an_unknown_name():
    import tf_gradvar.data

    with pytest.raises(AttributeError, match="has no attribute 'batches'"):
        tf_gradvar.data.batches  # noqa: B018


def test_pipelines_of_tf_data_train_on_jax():
    tf = pytest.importorskip("tensorflow")
    model = make_model(Discover(0.1, K))
    examples = tf.data.Dataset.from_tensor_slices((X, Y))
    data = cluster_batches(examples, lambda x, y: y, num_clusters=K, group_size=4, seed=0)
    assert isinstance(data, tf.data.Dataset)
    model.fit(data, steps_per_epoch=2, verbose=0)
    assert int(model.optimizer.iterations) == 2
    assert int(model.optimizer.skipped_groups) == 0
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(K)])
    plain.compile("sgd", "sparse_categorical_crossentropy")
    plain.fit(stratified_batches((X, Y), Y, seed=0), steps_per_epoch=2, verbose=0, shuffle=False)
