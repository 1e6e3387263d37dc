"""Replicas that own clusters follow the rule, exchange one gradient, and restore anywhere."""

import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.distributed import owned as cases
from tests.oracles.owned_oracle import OwnedControlVariate

pytestmark = pytest.mark.slow
# How each form makes its gradient: gain and scale.
NUMBERS = {
    "Discover": ("alpha", 1.0),
    "QHDiscover": (1.0, 0.7),
    "DiscoverQHM": (0.4, 1.0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that two replicas save; three replicas restore them in a process of their own."""
    path = tmp_path_factory.mktemp("owned")
    for replicas in (2, 3):
        command = [sys.executable, "-m", "tests.distributed.owned", str(replicas), str(path)]
        finished = subprocess.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr[-4000:]
    return path


def outcome(folder, replicas):
    return pickle.loads((folder / f"{replicas}.pickle").read_bytes())


@pytest.mark.parametrize("form", NUMBERS)
def test_two_replicas_follow_the_oracle(folder, form):
    found = outcome(folder, 2)[form]
    gain, scale = NUMBERS[form]
    variate = OwnedControlVariate(cases.SHAPES, cases.Q, 2, alpha=0.1, gain=gain, scale=scale)
    for actual, (groups, clusters) in zip(found["corrected"], cases.draws(), strict=True):
        expected = variate.correct(groups, list(clusters))
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)
    for i in range(len(cases.SHAPES)):
        held = [variate.buffers[i][k] for k in range(cases.K)]
        np.testing.assert_allclose(found["buffers"][i], held, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["averages"][i], variate.average(i), rtol=1e-5, atol=1e-6)
    assert found["skipped"] == variate.skipped == 2
    for one, other in found["copies of weights"]:
        np.testing.assert_array_equal(one, other)


def test_a_replica_keeps_the_buffers_of_its_block_alone(folder):
    assert outcome(folder, 2)["Discover"]["pieces"] == [(3, 5, 2), (3, 5, 2)]


def test_one_sum_of_as_many_numbers_as_weights(folder):
    """In the graph of a step of fit, for each replica; two of them with a plain share."""
    sums = outcome(folder, 2)["sums"]
    weights = 3 * 2 + 2
    assert [n for _, n in sums["Discover"]] == [weights] * 2
    assert [n for _, n in sums["QHDiscover"]] == [2 * weights] * 2


@pytest.mark.parametrize("way", ["keras", "weights", "checkpoint", "loop"])
def test_three_replicas_restore_what_two_saved(folder, way):
    trained, restored = outcome(folder, 2)["trained"], outcome(folder, 3)["restored"][way]
    assert max(np.abs(array).max() for array in trained if array.shape == (5, 3, 2)) > 0.01
    for one, other in zip(trained, restored, strict=True):
        np.testing.assert_array_equal(one, other)


def test_restored_replicas_go_on(folder):
    found = outcome(folder, 3)
    for off in found["off the average"]:
        np.testing.assert_allclose(off, 0.0, atol=1e-7)
    pairs = zip(found["after"], found["restored"]["weights"], strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs if a.shape == (5, 3, 2)) > 1e-3


def test_one_device_restores_what_two_replicas_saved(folder):
    trained = outcome(folder, 2)["trained"]
    model = keras.models.load_model(folder / "model.keras")
    variables = [*model.weights, *model.optimizer.variables]
    for one, other in zip(trained, variables, strict=True):
        np.testing.assert_array_equal(one, keras.ops.convert_to_numpy(other))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("batches of all clusters", "with buffers='owned'. Pass `owned_by=2` to `cluster_batches`"),
        ("full buffers", "owned_by=2 with buffers='full'. Pass `owned_by=None`"),
        ("outside of the replicas", "must be called on the replicas that own them"),
        ("an estimate", "`optimizer` must draw all groups from all clusters"),
        ("groups of unknown number", "`group_sizes` must be None with `buffers='owned'`"),
        ("too few clusters", "`num_clusters` must be at least the number of replicas"),
    ],
)
def test_what_does_not_fit_is_refused(folder, what, words):
    assert words in outcome(folder, 2)["refusals"][what]
