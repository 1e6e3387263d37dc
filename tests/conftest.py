"""Tests run on the TensorFlow backend; those marked `jax` also under KERAS_BACKEND=jax."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if os.environ.get("KERAS_BACKEND") == "jax":  # tiny functions: compiling them is all that costs
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import pytest


def pytest_collection_modifyitems(items):
    if keras.backend.backend() == "tensorflow":
        return
    needs_tensorflow = pytest.mark.skip(reason="needs the TensorFlow backend")
    for item in items:
        if "jax" not in item.keywords:
            item.add_marker(needs_tensorflow)
