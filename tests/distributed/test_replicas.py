"""Replicas with some of the groups each end where one device with all of them ends."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from tests.distributed.replicas import ONLY_ON_TWO, VALIDATED
from tests.turns import is_on

pytestmark = pytest.mark.slow

MANY = (2, 4) if is_on("four replicas") else (2,)
ON_TWO_AND_FOUR = [
    "clipnorm and weight decay",
    "more groups than clusters",
    "learned scale",
    "low rank, more groups than clusters",
    "igt",
    "igt without clusters",
    "own loop with a metric",
    "plain model in a loop",
    "whole loop",
]
ON_TWO = [*ONLY_ON_TWO, "own loop", "own loop, unknown groups", "mixed_float16"]
ON_TWO += ["batch normalization"]
CASES = [(case, 2) for case in ON_TWO] + [(c, n) for c in ON_TWO_AND_FOUR for n in MANY]
# Rounding to bfloat16 turns a last-bit difference of the reduction into one of 2^-8.
TOLERANCES = {"bfloat16 buffers": 2e-3, "mixed_float16": 2e-4}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return what each number of replicas computed, every one in its own process."""
    results = {}
    for replicas in (1, *MANY):
        path = tmp_path_factory.mktemp("replicas") / "outcome.pickle"
        command = [sys.executable, "-m", "tests.distributed.replicas", str(replicas), str(path)]
        finished = subprocess.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr[-4000:]
        results[replicas] = pickle.loads(path.read_bytes())
    return results


@pytest.mark.parametrize(("case", "replicas"), CASES)
def test_weights_and_state_equal_one_device(outcomes, case, replicas):
    single, many = outcomes[1][case], outcomes[replicas][case]
    tolerance = TOLERANCES.get(case, 1e-6)
    assert many["spread"] == 0.0, "every replica must hold the same values"
    assert len(single["state"]) == len(many["state"])
    for one, other in zip(single["state"], many["state"], strict=True):
        np.testing.assert_allclose(other, one, atol=tolerance, rtol=1e-5)
    assert np.abs(single["state"][0]).max() > 0.1


@pytest.mark.parametrize("replicas", MANY)
@pytest.mark.parametrize("case", VALIDATED)
def test_losses_and_validation_equal_one_device(outcomes, case, replicas):
    single, many = outcomes[1][case], outcomes[replicas][case]
    for name in ("training", "validation", "evaluated"):
        np.testing.assert_allclose(many[name], single[name], rtol=1e-5)


@pytest.mark.parametrize("replicas", MANY)
@pytest.mark.parametrize("case", ["own loop with a metric", "plain model in a loop"])
def test_metrics_of_a_loop_equal_one_device(outcomes, case, replicas):
    single, many = outcomes[1][case]["results"], outcomes[replicas][case]["results"]
    assert [set(result) for result in many] == [{"accuracy", "loss"}] * 2
    for one, other in zip(single, many, strict=True):
        assert other == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("replicas", MANY)
def test_results_of_the_whole_loop_equal_one_device(outcomes, replicas):
    single, many = outcomes[1]["whole loop"], outcomes[replicas]["whole loop"]
    assert len(many["results"]) == 3
    for one, other in zip(single["results"], many["results"], strict=True):
        assert set(other) == {"accuracy", "loss", "val_accuracy", "val_loss"}
        assert other == pytest.approx(one, rel=1e-5)
    assert many["rate"] == single["rate"]
    assert many["rate"] == pytest.approx(0.005)  # lowered once before the checkpoint, by ten


@pytest.mark.parametrize("replicas", [1, *MANY])
@pytest.mark.parametrize("case", ["igt", "igt without clusters"])
def test_validation_sees_the_weights_that_evaluate_sees(outcomes, case, replicas):
    outcome = outcomes[replicas][case]
    np.testing.assert_allclose(outcome["validation"][-1], outcome["evaluated"], rtol=1e-6)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("accumulation", "`gradient_accumulation_steps` works on one replica only"),
        ("inner accumulation", "`gradient_accumulation_steps` works on one replica only"),
        ("ema overwriting", "`ema_overwrite_frequency` works on one replica only"),
        ("steps_per_execution", "`steps_per_execution` above 1 fails"),
        ("jit_compile, fit", "`jit_compile` fails in TensorFlow when several logical CPUs"),
        ("jit_compile, train_steps", "`jit_compile` fails in TensorFlow"),
        ("made outside, fit", "must be made inside the scope of the MirroredStrategy with 2"),
        ("made outside, train_steps", "must be made inside the scope"),
        ("optimizer made outside", "Made outside of it: the optimizer 'sgd'"),
        ("odd groups", "does not divide among 2 replicas"),
    ],
)
def test_what_replicas_lack_is_refused_in_a_sentence(outcomes, what, words):
    assert words in outcomes[2]["refusals"][what]


def test_the_corrected_gradient_is_not_summed_again(outcomes):
    """Replicas exchange their groups; the gradient that they make of them all hold in full."""
    discover, sgd = outcomes[2]["sent by Discover"], outcomes[2]["sent by SGD"]
    assert any("Gather" in operation for operation, _ in discover["sent"])
    assert reduced(discover) < min(discover["sizes"])
    assert reduced(sgd) == sum(sgd["sizes"])


def reduced(found):
    """The elements of the largest sum over replicas."""
    return max((n for operation, n in found["sent"] if "Reduce" in operation), default=0)
