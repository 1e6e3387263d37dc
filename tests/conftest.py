"""Tests run on the TensorFlow backend; those marked `jax` also under KERAS_BACKEND=jax.

Of the cases of a test marked `halved` one half runs, the other half the next day; `make test-all`
(`CASES=all`) runs both, `CASES=0` and `CASES=1` the one and the other.
"""

import datetime
import os
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CASES", str(datetime.date.today().toordinal() % 2))  # for all processes
if os.environ.get("KERAS_BACKEND") == "jax":
    # Tiny functions: compiling them is all that costs. Four devices for `keras.distribution`.
    flags = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=4"
    os.environ.setdefault("XLA_FLAGS", flags)
    os.environ.setdefault("PJRT_NPROC", "32")  # with fewer threads the devices can wait for good

import keras
import pytest


def pytest_collection_modifyitems(config, items):
    kept = [item for item in items if _of_today(item)]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if not _of_today(item)])
        items[:] = kept
    if keras.backend.backend() == "tensorflow":
        return
    needs_tensorflow = pytest.mark.skip(reason="needs the TensorFlow backend")
    for item in items:
        if "jax" not in item.keywords:
            item.add_marker(needs_tensorflow)


def _of_today(item):
    if os.environ["CASES"] == "all" or "halved" not in item.keywords:
        return True
    _, bracket, case = item.name.partition("[")
    # The same half of the problems in all tests that share them.
    return not bracket or zlib.crc32(case.encode()) % 2 == int(os.environ["CASES"])
