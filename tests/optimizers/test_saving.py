"""Saved and restored optimizers go on exactly, and files of another K are refused."""

import keras
import numpy as np
import pytest

from tests.optimizers import cases
from tests.optimizers.cases import BY_NAME, CASES, CLUSTERED

SHAPES = [(3, 2), (2,)]
DRAW = cases.draws(2, shapes=SHAPES)
jax = pytest.mark.jax


def compiled_model(case, **kwargs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    model.compile(case.optimizer(**kwargs), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def take_steps(case, model, start, stop):
    for t in range(start, stop):
        cases.step(case, model.optimizer, *DRAW(t, model.get_weights()))


def everything(model):
    return cases.values([*model.weights, *model.optimizer.variables])


def assert_same(model, other):
    for a, b in zip(everything(model), everything(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture
def trained(case):
    model = compiled_model(case)
    take_steps(case, model, 0, 3)
    return model


def check_goes_on(case, model, loaded):
    assert_same(model, loaded)
    take_steps(case, model, 3, 5)
    take_steps(case, loaded, 3, 5)
    assert_same(model, loaded)


@jax
def test_keras_file(case, trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    check_goes_on(case, trained, keras.models.load_model(tmp_path / "model.keras"))


@jax
def test_weights_file(case, trained, tmp_path):
    trained.save_weights(tmp_path / "model.weights.h5")
    other = compiled_model(case)
    other.load_weights(tmp_path / "model.weights.h5")
    check_goes_on(case, trained, other)


@pytest.mark.parametrize("built_before", [True, False])
def test_tensorflow_checkpoint(case, trained, tmp_path, built_before):
    import tensorflow as tf

    path = tf.train.Checkpoint(model=trained, optimizer=trained.optimizer).save(tmp_path / "c")
    other = compiled_model(case)
    if not built_before:
        other.compile(case.optimizer(), loss="mse")
    status = tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path)
    other.optimizer.build(other.trainable_variables)
    status.assert_consumed()
    check_goes_on(case, trained, other)


@pytest.fixture(params=CLUSTERED, ids=str)
def clustered(request):
    return request.param


@jax
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_file_of_another_number_of_clusters(clustered, tmp_path, suffix):
    model, other = compiled_model(clustered), compiled_model(clustered, num_clusters=4)
    path = tmp_path / f"model{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    with pytest.raises(ValueError, match=r"`num_clusters`.*Received: num_clusters=4"):
        other.load_weights(path)


def test_a_checkpoint_of_another_number_of_clusters(clustered, tmp_path):
    import tensorflow as tf

    model, other = compiled_model(clustered), compiled_model(clustered, num_clusters=4)
    path = tf.train.Checkpoint(optimizer=model.optimizer).save(tmp_path / "c")
    with pytest.raises(ValueError, match=r"shape \(3,.*shape \(4,.*/cluster_probabilities"):
        tf.train.Checkpoint(optimizer=other.optimizer).restore(path)


@jax
def test_bfloat16_buffers_are_saved_as_such(tmp_path):
    case = BY_NAME["Discover"]
    model = compiled_model(case, buffer_dtype="bfloat16")
    take_steps(case, model, 0, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {v.dtype for v in loaded.optimizer.cluster_gradients} == {"bfloat16"}
    assert_same(model, loaded)
