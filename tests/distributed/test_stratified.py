"""Stratified batches under a strategy: every replica takes its share of the same batches."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return the weights that one and two replicas came to, each in its own process."""
    results = {}
    for replicas in (1, 2):
        path = tmp_path_factory.mktemp("stratified") / "outcome.pickle"
        command = [sys.executable, "-m", "tests.distributed.stratified", str(replicas), str(path)]
        finished = subprocess.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr[-4000:]
        results[replicas] = pickle.loads(path.read_bytes())
    return results


@pytest.mark.parametrize("case", ["two of each", "bounded", "new clusters"])
def test_two_replicas_end_where_one_does(outcomes, case):
    for one, other in zip(outcomes[1][case], outcomes[2][case], strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_new_clusters_came_to_hold(outcomes):
    old, new = outcomes[2]["two of each"], outcomes[2]["new clusters"]
    assert max(np.abs(a - b).max() for a, b in zip(old, new, strict=True)) > 1e-3
