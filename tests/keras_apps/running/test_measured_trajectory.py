"""One trajectory: what is measured along it, and that it continues."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.running import measured_trajectory
from keras_apps.running.workdir import Workdir
from tests.keras_apps.displays import Request, Shown
from tf_gradvar.estimators import MiniBatch

TRAJECTORY = Trajectory(
    learning_rate=0.05, batch_size=64, steps=12, measure_every=2, refresh_every=4
)
NAMES = ["SG-64", "SG-128", "SVRG-64", "strata-64", "GC-64"]


@pytest.fixture(scope="module")
def problem():
    return Classification("digits", model_arguments={"hidden_units": [8]}).build()


def measure(folder, problem, stop_at=None):
    """Whether it ended, the steps that were shown and the variances that were recorded."""
    workdir = Workdir(folder, {})
    request = Request(stop_at)
    display = Shown(request)
    finished = measured_trajectory.measure(TRAJECTORY, problem, workdir, display, request)
    assert measured_trajectory.is_finished(TRAJECTORY, workdir) == finished
    workdir.close()
    records = workdir.variances.read()
    return finished, display.steps, {r["step"]: r["estimators"] for r in records}


def test_a_stopped_trajectory_continues_to_the_same_numbers(problem, tmp_path):
    finished, steps, expected = measure(tmp_path / "alone", problem)
    assert finished
    assert steps == list(range(1, 13))
    assert list(expected) == [2, 4, 6, 8, 10, 12]
    assert list(expected[2]) == NAMES

    finished, steps, found = measure(tmp_path / "stopped", problem, stop_at=7)
    assert not finished
    assert steps == list(range(1, 8))
    assert list(found) == [2, 4, 6]
    finished, steps, found = measure(tmp_path / "stopped", problem)
    assert finished
    assert steps == list(range(5, 13))  # from the beginning of its stage
    assert found == expected
    assert not list((tmp_path / "stopped" / "checkpoints").glob("*/*"))


def test_what_is_measured(problem, tmp_path):
    _, _, found = measure(tmp_path, problem)
    for values in found.values():
        variances = {name: values[name]["average_variance"] for name in NAMES}
        assert variances["SG-128"] == pytest.approx(variances["SG-64"] / 2)
        assert 0 < variances["strata-64"] < variances["SG-64"]
        assert 0 < variances["GC-64"] < 0.6 * variances["SG-64"]
    # The snapshot of a stage is still in use at its end, the next one two steps later.
    aged = [found[step]["SVRG-64"]["average_variance"] for step in (2, 4, 6)]
    assert aged[0] < aged[1] > aged[2] > 0


def test_strata_share_the_batch(problem):
    (strata,) = [
        estimator
        for estimator, _ in measured_trajectory.estimators_of(TRAJECTORY, problem)
        if estimator.name == "strata-64"
    ]
    shares = strata.samples_per_cluster
    assert shares.sum() == TRAJECTORY.batch_size
    assert np.abs(shares - TRAJECTORY.batch_size * problem.probabilities).max() < 1


def test_the_weights_are_those_of_plain_training(problem, tmp_path, monkeypatch):
    """The batches cover the data once an epoch, and nothing but SGD happens to the weights."""
    trained = []
    compared = [measured_trajectory.Compared(MiniBatch(64), trained.append)]
    monkeypatch.setattr(measured_trajectory, "estimators_of", lambda *arguments: compared)
    batches = []
    make = measured_trajectory._batches
    monkeypatch.setattr(
        measured_trajectory,
        "_batches",
        lambda *arguments: batches.append(make(*arguments)) or batches[-1],
    )
    measure(tmp_path, problem)
    keras.utils.set_random_seed(TRAJECTORY.seed)
    plain = problem.build_model()
    plain.compile(keras.optimizers.SGD(0.05, 0.5), problem.loss)
    seen = [batch for stage in batches for batch in stage]
    for batch in seen:
        plain.train_on_batch(*batch)
    for ours, theirs in zip(trained[-1].get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    rows = np.concatenate([batch[0] for batch in seen]).reshape(12 * 64, -1)
    assert len(np.unique(rows, axis=0)) > 0.98 * len(rows)  # a few digits are drawn alike


def test_a_batch_larger_than_the_data(problem):
    trajectory = dataclasses.replace(TRAJECTORY, batch_size=5000)
    with pytest.raises(ValueError, match=r"`batch_size` must be at most .*, 1438\."):
        measured_trajectory.estimators_of(trajectory, problem)
