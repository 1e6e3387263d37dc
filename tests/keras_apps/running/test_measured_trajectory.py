"""A trajectory: how it is trained, what is recorded along it, and that it continues."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import ESTIMATORS, Trajectory
from keras_apps.running import measured_trajectory
from keras_apps.running.workdir import Workdir
from tests.keras_apps.displays import Request, Shown
from tf_gradvar.estimators import SVRG, MiniBatch, Stratified, gradient_variance

PLAIN = Trajectory(learning_rate=0.05, batch_size=64, steps=12, measure_every=2, refresh_every=4)
NAMES = ["SG-64", "SG-128", "SVRG-64", "strata-64", "GC-64"]
# All that can be different from step to step.
FULL = Trajectory(
    learning_rate=0.1,
    momentum=0.9,
    batch_size=16,
    steps=12,
    measure_every=2,
    refresh_every=4,
    drops=(5, 9),
    weight_decay=0.01,
    first_snapshot=1,
    estimators=ESTIMATORS,
    method="subset",
    subset_size=200,
    num_draws=3,
    published_every=4,
)
SECONDS = ("seconds", "training_seconds", "measuring_seconds")
STILL = Classification("digits", model_arguments={"hidden_units": [8]}, training_examples=400)
MOVING = dataclasses.replace(STILL, crop="pad", flip=True, label_noise=0.1)


@pytest.fixture(scope="module")
def problem():
    return STILL.build()


def spied(problem):
    """The problem, and the weights at each measurement."""
    weights = {}

    def evaluate(model):
        weights[int(model.optimizer.iterations)] = model.get_weights()
        return problem.evaluate(model)

    return dataclasses.replace(problem, evaluate=evaluate), weights


def measure(folder, problem, trajectory=PLAIN, stop_at=None):
    """Whether it ended, the steps that were shown and the records without their seconds."""
    workdir = Workdir(folder, {})
    request = Request(stop_at)
    display = Shown(request)
    try:
        finished = measured_trajectory.measure(trajectory, problem, workdir, display, request)
        assert measured_trajectory.is_finished(trajectory, workdir) == finished
    finally:
        workdir.close()
    found = [
        {key: value for key, value in record.items() if key not in SECONDS}
        for record in workdir.variances.read()
    ]
    return finished, display.steps, found


def assert_same_weights(found, expected):
    assert list(found) == list(expected)
    for step in expected:
        for ours, theirs in zip(found[step], expected[step], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def moving():
    return MOVING.build()


@pytest.fixture(scope="module")
def whole(moving, tmp_path_factory):
    """The records of an uninterrupted trajectory, and its weights at each of them."""
    watched, weights = spied(moving)
    finished, steps, records = measure(tmp_path_factory.mktemp("whole"), watched, FULL)
    assert finished
    assert steps == list(range(1, 13))
    assert [record["step"] for record in records] == [2, 4, 6, 8, 10, 12]
    return records, weights


def test_a_stopped_trajectory_continues_to_the_same_bits(moving, whole, tmp_path):
    expected, expected_weights = whole
    watched, weights = spied(moving)
    finished, steps, found = measure(tmp_path, watched, FULL, stop_at=7)
    assert not finished
    assert steps == list(range(1, 8))
    assert found == expected[:3]
    finished, steps, found = measure(tmp_path, watched, FULL)
    assert finished
    assert steps == list(range(8, 13))
    assert found == expected
    assert_same_weights(weights, expected_weights)
    assert not list((tmp_path / "checkpoints").glob("*/*"))


def test_a_process_that_dies(moving, whole, tmp_path):
    """It goes on from the last measurement, with the snapshot and clusters of before."""
    code = (
        "import os, sys, dataclasses\n"
        "from tests.keras_apps.running import test_measured_trajectory as here\n"
        "problem = here.MOVING.build()\n"
        "def evaluate(model):\n"
        "    if int(model.optimizer.iterations) == 8:\n"
        "        os._exit(9)\n"
        "    return problem.evaluate(model)\n"
        "dying = dataclasses.replace(problem, evaluate=evaluate)\n"
        "here.measure(sys.argv[1], dying, here.FULL)\n"
    )
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
    assert died.returncode == 9, died.stderr
    expected, expected_weights = whole
    watched, weights = spied(moving)
    finished, steps, found = measure(tmp_path, watched, FULL)
    assert (finished, steps[0]) == (True, 7)
    assert found == expected
    assert_same_weights(weights, {step: expected_weights[step] for step in (8, 10, 12)})


def test_subsets_come_with_standard_errors(whole):
    for record in whole[0]:
        assert record["method"] == "subset"
        for name in ("SG-16", "SVRG-16", "strata-16", "GC-16"):
            values = record["estimators"][name]
            assert 0 < values["standard_error"] < values["average_variance"]


def test_what_is_recorded_by_direct_computation(problem, tmp_path):
    trajectory = dataclasses.replace(PLAIN, first_snapshot=1, estimators=("SG", "SVRG", "strata"))
    seen, models = {}, {}

    def evaluate(model):
        step = int(model.optimizer.iterations)
        models[step] = model.get_weights()
        shares = np.diff(np.rint(64 * np.cumsum(problem.probabilities)), prepend=0).astype(int)
        strata = Stratified(problem.clusters, samples_per_cluster=shares, name="strata-64")
        estimators = [MiniBatch(64), strata]
        if step > 4:  # the refresh at step 4 took these weights
            estimators.append(SVRG(64, snapshot=models[4]))
        if step in (2, 6):
            seen[step] = gradient_variance(model, problem.x, problem.y, problem.loss, estimators)
        return problem.evaluate(model)

    watched = dataclasses.replace(problem, evaluate=evaluate)
    _, _, records = measure(tmp_path, watched, trajectory)
    by_step = {record["step"]: record for record in records}
    for step, direct in seen.items():
        for name, result in direct.items():
            found = by_step[step]["estimators"][name]
            assert found["average_variance"] == pytest.approx(result.average_variance, rel=1e-6)
            assert found["normalized_variance"] == pytest.approx(result.normalized_variance)
    for step, weights in models.items():
        w, b, v, c = (array.astype("float64") for array in weights)
        logits = np.maximum(problem.x.reshape(len(problem.x), -1) @ w + b, 0) @ v + c
        shifted = logits - logits.max(axis=1, keepdims=True)
        chosen = shifted[np.arange(len(shifted)), problem.y]
        losses = np.log(np.exp(shifted).sum(axis=1)) - chosen
        record = by_step[step]
        assert record["training_loss"] == pytest.approx(losses.mean(), rel=1e-5)
        hits = logits.argmax(axis=1) == problem.y
        assert record["training_accuracy"] == pytest.approx(hits.mean())
        assert 0 <= record["test_accuracy"] <= 1
        assert record["test_loss"] > 0
        assert record["learning_rate"] == pytest.approx(0.05)
        assert record["seed"] == 0


def test_measuring_never_changes_training(moving, whole, tmp_path):
    rarely = dataclasses.replace(
        FULL,
        measure_every=12,
        refresh_every=12,
        estimators=("SG",),
        published_every=0,
        first_snapshot=0,
    )
    watched, found = spied(moving)
    measure(tmp_path, watched, rarely)
    assert_same_weights(found, {12: whole[1][12]})


def test_weights_by_a_plain_loop(tmp_path):
    """Momentum, coupled decay of weights and biases, drops, every example once an epoch."""
    problem = Classification("digits", model_arguments={"hidden_units": []}).build()
    trajectory = dataclasses.replace(
        FULL, batch_size=480, weight_decay=0.3, estimators=("SG",), published_every=0
    )
    watched, weights = spied(problem)
    trajectory = dataclasses.replace(trajectory, subset_size=960)
    measure(tmp_path, watched, trajectory)
    keras.utils.set_random_seed(0)
    w, b = (array.astype("float64") for array in problem.build_model().get_weights())
    speeds = [np.zeros_like(w), np.zeros_like(b)]
    x, y = problem.x.reshape(len(problem.x), -1).astype("float64"), np.eye(10)[problem.y]
    rate = 0.1
    for step in range(12):
        rate *= 0.1 if step in (5, 9) else 1.0
        epoch, place = divmod(step, 2)  # 1438 examples: two batches of 480, the rest is dropped
        order = np.random.default_rng([0, epoch]).permutation(1438)
        rows = order[480 * place : 480 * (place + 1)]
        scores = np.exp(x[rows] @ w + b)
        errors = (scores / scores.sum(axis=1, keepdims=True) - y[rows]) / 480
        gradients = [x[rows].T @ errors + 0.3 * w, errors.sum(axis=0) + 0.3 * b]
        speeds = [0.9 * s - rate * g for s, g in zip(speeds, gradients, strict=True)]
        w, b = w + speeds[0], b + speeds[1]
    np.testing.assert_allclose(weights[12][0], w, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(weights[12][1], b, rtol=1e-3, atol=1e-5)


def test_what_is_measured(problem, tmp_path):
    _, _, records = measure(tmp_path, problem)
    found = {record["step"]: record["estimators"] for record in records}
    for values in found.values():
        assert list(values) == NAMES
        variances = {name: values[name]["average_variance"] for name in NAMES}
        assert variances["SG-128"] == pytest.approx(variances["SG-64"] / 2)
        assert 0 < variances["strata-64"] < variances["SG-64"]
        assert 0 < variances["GC-64"] < 0.6 * variances["SG-64"]
    # The snapshot of a refresh is still in use at the next one, two steps later it is not.
    aged = [found[step]["SVRG-64"]["average_variance"] for step in (2, 4, 6)]
    assert aged[0] < aged[1] > aged[2] > 0


def test_several_seeds_and_the_published_statistic(problem, tmp_path):
    trajectory = dataclasses.replace(
        FULL,
        repeats=2,
        seed=5,
        steps=4,
        drops=(2,),
        method="exact",
        num_draws=4,
        estimators=("SG", "SVRG"),
    )
    finished, steps, records = measure(tmp_path, problem, trajectory)
    assert finished
    assert steps == [1, 2, 3, 4, 1, 2, 3, 4]
    assert [(r["seed"], r["step"]) for r in records] == [(5, 2), (5, 4), (6, 2), (6, 4)]
    assert records[0]["estimators"] != records[2]["estimators"]
    for record in records:
        assert record["method"] == "exact"
        assert ("published" in record) == (record["step"] == 4)
        if record["step"] != 4:
            assert record["learning_rate"] == pytest.approx(0.01)
            continue
        published = record["published"]
        assert list(published) == list(record["estimators"])
        assert {values["method"] for values in published.values()} == {"paper_2020"}
        for name, values in published.items():
            # Five deviations of four estimates around the mean of four others.
            exact = record["estimators"][name]["average_variance"] * 1.25
            assert abs(values["average_variance"] - exact) < 5 * values["standard_error"] + exact


def test_records_from_before_there_were_seeds(problem, tmp_path):
    trajectory = dataclasses.replace(PLAIN, steps=4, estimators=("SG",))
    _, _, expected = measure(tmp_path, problem, trajectory)
    lines = (tmp_path / "variances.jsonl").read_text().replace('"seed": 0, ', "")
    (tmp_path / "variances.jsonl").write_text(lines)
    finished, steps, found = measure(tmp_path, problem, trajectory)
    assert (finished, steps, len(found)) == (True, [], len(expected))
    (tmp_path / "variances.jsonl").write_text(lines.splitlines()[0] + "\n")
    finished, steps, found = measure(tmp_path, problem, trajectory)
    assert (finished, steps) == (True, [1, 2, 3, 4])  # there is no checkpoint
    assert found == expected
