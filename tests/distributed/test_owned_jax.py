"""Devices of JAX that own clusters follow the rule and exchange one gradient."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from tests.oracles.owned_oracle import OwnedControlVariate

pytestmark = pytest.mark.slow
pytest.importorskip("jax")
WEIGHTS, GROUPS = 5 * 3 + 3, 8
NUMBERS = {"Discover": (0.4, 1.0), "QHDiscover": (1.0, 0.7)}  # gain and scale


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What a process with four host devices computed."""
    path = tmp_path_factory.mktemp("owned_jax") / "outcome.pickle"
    command = [sys.executable, "-m", "tests.distributed.owned_jax", str(path)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-4000:]
    return pickle.loads(path.read_bytes())


@pytest.mark.parametrize("form", NUMBERS)
def test_four_devices_follow_the_oracle(outcome, form):
    found, (gain, scale) = outcome[form], NUMBERS[form]
    settings = found["settings"]
    variate = OwnedControlVariate(
        settings["shapes"], settings["q"], 4, alpha=0.1, gain=gain, scale=scale
    )
    for actual, (groups, clusters) in zip(found["corrected"], found["draws"], strict=True):
        expected = variate.correct(groups, list(clusters))
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)
    for i, held in enumerate(variate.buffers):
        np.testing.assert_allclose(found["buffers"][i], list(held.values()), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["averages"][i], variate.average(i), rtol=1e-5, atol=1e-6)
    assert found["skipped"] == variate.skipped == 2


def test_a_device_keeps_the_buffers_of_its_block_alone(outcome):
    assert outcome["Discover"]["pieces"] == [(2, 5, 3)] * 4


@pytest.mark.parametrize(("form", "numbers"), [("Discover", WEIGHTS), ("QHDiscover", 2 * WEIGHTS)])
def test_the_compiled_step_exchanges_one_gradient(outcome, form, numbers):
    """Sums of so many float32 numbers, and otherwise a flag for each group at most."""
    found = outcome[form]["collectives"]
    assert sum(n for kind, n in found if kind == "all-reduce" and n > 1) == numbers
    assert all(n <= GROUPS for kind, n in found if kind != "all-reduce")


def test_what_does_not_divide_is_refused(outcome):
    refusals = outcome["refusals"]
    assert "`num_clusters` must be a multiple of the devices" in refusals["clusters"]
    assert "`group_clusters` must name as many groups for each" in refusals["groups"]
