"""The federated example: two processes, each with its own digits."""

import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_apps.federated import K, examples_of
from tf_gradvar import ClusterModel, Discover

pytestmark = pytest.mark.slow


def free_addresses(count):
    """Addresses that nobody listens on."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def test_sites_that_share_no_example_end_with_one_model(tmp_path):
    (x0, y0), (x1, y1) = (examples_of(site, 2) for site in range(2))
    assert set(y0) == {0, 1, 2, 3, 4}
    assert set(y1) == {5, 6, 7, 8, 9}
    addresses = ",".join(free_addresses(2))
    processes = []
    for worker in range(2):
        path = str(tmp_path / f"{worker}.weights.h5")
        command = f"--worker {worker} --workers {addresses} --steps 200 --save {path}".split()
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "keras_apps.federated", *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        found = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], found[0][1][-4000:]
    printed = [out.splitlines()[-2:] for out, _ in found]
    assert printed[0] == printed[1]

    restored = []
    for worker in range(2):  # on one device, which owns all clusters
        layers = [keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(K)]
        model = ClusterModel.from_model(keras.Sequential(layers))
        model.compile(Discover(0.2, num_clusters=K, buffers="owned"), "mse")
        model.optimizer.build(model.trainable_variables)
        model.load_weights(tmp_path / f"{worker}.weights.h5")
        variables = [*model.weights, *model.optimizer.variables]
        restored.append([keras.ops.convert_to_numpy(v) for v in variables])
    for one, other in zip(*restored, strict=True):
        np.testing.assert_array_equal(one, other)
    stack = keras.ops.convert_to_numpy(model.optimizer.cluster_gradients[-1])
    average = keras.ops.convert_to_numpy(model.optimizer.mean_cluster_gradients[-1])
    assert (np.abs(stack).max(axis=1) > 0).all(), "every site has moved its buffers"
    np.testing.assert_allclose(stack.mean(axis=0), average, atol=1e-6)
    correct = [np.mean(np.asarray(model(x)).argmax(1) == y) for x, y in ((x0, y0), (x1, y1))]
    assert min(correct) > 0.8
