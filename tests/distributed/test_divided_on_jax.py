"""Devices of JAX that own clusters, or slices of all buffers, follow the rule."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from tests.oracles.discover_oracle import ControlVariate
from tests.oracles.owned_oracle import OwnedControlVariate
from tf_gradvar.keras_internals import keeps_batches_in_order

pytestmark = pytest.mark.slow
pytest.importorskip("jax")
WEIGHTS, GROUPS = 5 * 3 + 3, 8
NUMBERS = {"Discover": (0.4, 1.0), "QHDiscover": (1.0, 0.7)}  # gain and scale


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What a process with four host devices computed."""
    path = tmp_path_factory.mktemp("divided_on_jax") / "outcome.pickle"
    command = [sys.executable, "-m", "tests.distributed.divided_on_jax", str(path)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-4000:]
    return pickle.loads(path.read_bytes())


@pytest.mark.parametrize("form", NUMBERS)
def test_four_devices_follow_the_oracle(outcome, form):
    found, (gain, scale) = outcome[form], NUMBERS[form]
    settings = found["settings"]
    follow_oracle(
        found,
        OwnedControlVariate(
            settings["shapes"], settings["q"], 4, alpha=0.1, gain=gain, scale=scale
        ),
    )
    assert found["skipped"] == 2


@pytest.mark.parametrize(
    ("form", "gain", "scale"), [("sharded", 0.4, 1.0), ("sharded, learned scale", 1.0, "auto")]
)
def test_slices_follow_the_oracle_of_full_buffers(outcome, form, gain, scale):
    found = outcome[form]
    q = found["settings"]["q"]
    variate = ControlVariate(found["settings"]["shapes"], len(q), 0.1, q, gain=gain, scale=scale)
    follow_oracle(found, variate)
    assert found["skipped"] == 1


def follow_oracle(found, variate):
    """Compare v of every step, then the buffers, their averages and the count."""
    for actual, (groups, clusters) in zip(found["corrected"], found["draws"], strict=True):
        expected = variate.correct(groups, list(clusters))
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)
    for i, held in enumerate(variate.buffers):
        np.testing.assert_allclose(found["buffers"][i], list(held.values()), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["averages"][i], variate.average(i), rtol=1e-5, atol=1e-6)
    assert found["skipped"] == variate.skipped


def test_a_device_keeps_the_buffers_of_its_block_alone(outcome):
    assert outcome["Discover"]["pieces"] == [(2, 5, 3)] * 4


def test_a_device_keeps_a_slice_of_all_buffers(outcome):
    assert outcome["sharded"]["pieces"] == [(8, 5, 2)] * 4
    assert outcome["sharded"]["pieces of the average"] == [(5, 2)] * 4


def test_slices_of_the_groups_are_sent_and_v_is_collected(outcome):
    """The last variable, of three numbers, is kept in full; a step has weights [8, 8]."""
    found = outcome["sharded"]["collectives"]
    matrix, vector, whole = 5 * 8, 4, 3
    sent = sum(n for kind, n in found if kind == "all-to-all")
    assert sent == GROUPS * (matrix + vector) // 4
    gathered = [n for kind, n in found if kind == "all-gather"]
    assert {matrix, vector} <= set(gathered)
    assert max(gathered) <= max(matrix, GROUPS**2)
    assert max(n for kind, n in found if kind == "all-reduce") <= 2 * whole


@pytest.mark.parametrize(("form", "numbers"), [("Discover", WEIGHTS), ("QHDiscover", 2 * WEIGHTS)])
def test_the_compiled_step_exchanges_one_gradient(outcome, form, numbers):
    """Sums of so many float32 numbers, and otherwise a flag for each group at most."""
    found = outcome[form]["collectives"]
    assert sum(n for kind, n in found if kind == "all-reduce" and n > 1) == numbers
    assert all(n <= GROUPS for kind, n in found if kind != "all-reduce")


@pytest.mark.skipif(not keeps_batches_in_order(), reason="needs Keras 3.10")
def test_a_model_trains_saves_and_loads(outcome):
    found = outcome["fit"]
    assert found["skipped"] == 0
    assert found["losses"][-1] < 0.5 * found["losses"][0]
    average = np.tensordot(outcome["Discover"]["settings"]["q"], found["buffers"], axes=1)
    assert np.abs(average).max() > 1e-3
    np.testing.assert_allclose(found["average"], average, atol=1e-6)
    assert found["pieces"] == [[(2, 3, 2)] * 4] * 2
    assert found["apart"] == 0.0
    assert "Pass `owned_by=4` to `cluster_batches`" in found["refusal"]


def test_what_does_not_divide_is_refused(outcome):
    refusals = outcome["refusals"]
    assert "`num_clusters` must be a multiple of the devices" in refusals["clusters"]
    assert "`group_clusters` must name as many groups for each" in refusals["groups"]
