"""Tests run on the TensorFlow backend; those marked `jax` also under KERAS_BACKEND=jax."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if os.environ.get("KERAS_BACKEND") == "jax":
    # Tiny functions: compiling them is all that costs. Four devices for `keras.distribution`.
    flags = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=4"
    os.environ.setdefault("XLA_FLAGS", flags)
    os.environ.setdefault("PJRT_NPROC", "32")  # with fewer threads the devices can wait for good

import keras
import pytest

from tests.turns import is_of_today


def pytest_collection_modifyitems(config, items):
    waiting = [item for item in items if not is_of_today(item.nodeid)]
    if waiting:
        config.hook.pytest_deselected(items=waiting)
        items[:] = [item for item in items if is_of_today(item.nodeid)]
    if keras.backend.backend() == "tensorflow":
        return
    needs_tensorflow = pytest.mark.skip(reason="needs the TensorFlow backend")
    for item in items:
        if "jax" not in item.keywords:
            item.add_marker(needs_tensorflow)
