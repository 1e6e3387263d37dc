"""JAX on one device and on four ends where TensorFlow ends, and says the same on the way."""

import functools
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.training import jax_cases

pytestmark = [
    pytest.mark.jax,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs the JAX backend"),
]
# Columns of the factors, which are small, follow from those of the step before by a division.
TOLERANCES = {"low rank": 1e-5}
ON_FOUR = [
    name for name in jax_cases.CASES if name not in ("learned scale", "igt without clusters")
]


@pytest.fixture(scope="module")
def on_tensorflow(tmp_path_factory):
    """What a process with TensorFlow computed."""
    path = tmp_path_factory.mktemp("tensorflow") / "outcome.pickle"
    finished = subprocess.run(
        [sys.executable, "-m", "tests.training.jax_cases", str(path)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return pickle.loads(path.read_bytes())


on_one_device = functools.cache(jax_cases.run_case)


def on_four_devices(name, **of_optimizer):
    devices = keras.distribution.list_devices()
    assert len(devices) == 4
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    try:
        return jax_cases.run_case(name, **of_optimizer)
    finally:
        keras.distribution.set_distribution(None)


def assert_same(name, actual, expected):
    tolerance = TOLERANCES.get(name, 1e-6)
    assert len(actual["state"]) == len(expected["state"])
    for one, other in zip(actual["state"], expected["state"], strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=1e-5)
    np.testing.assert_allclose(actual["losses"], expected["losses"], rtol=1e-5)
    moved = np.abs(np.subtract(actual["losses"][0], actual["losses"][1]))
    assert moved > 1e-3, "the case does not train"


@pytest.mark.parametrize("name", jax_cases.CASES)
def test_one_device_equals_tensorflow(name, on_tensorflow):
    assert_same(name, on_one_device(name), on_tensorflow[name])


@pytest.mark.parametrize("name", ON_FOUR)
def test_four_devices_equal_one(name):
    assert_same(name, on_four_devices(name), on_one_device(name))


def test_slices_of_buffers_on_four_devices_equal_full_ones_on_one():
    name = next(iter(jax_cases.CASES))
    assert_same(name, on_four_devices(name, buffers="sharded"), on_one_device(name))


def test_validation_sees_the_true_weights():
    """The last validation loss is the one that `evaluate` finds, after steps at other weights."""
    losses = on_one_device("igt")["losses"]
    np.testing.assert_allclose(losses[3], losses[4], rtol=1e-6)
