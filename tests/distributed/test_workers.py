"""Two processes on this machine end where one does, also when one of them is killed on the way."""

import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.distributed import workers

pytestmark = pytest.mark.slow


def start_two(folder):
    """Return the outcomes of two workers and their exit statuses."""
    with socket.create_server(("", 0)) as found:
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "tests.distributed.workers"]
    processes = []
    for index in (0, 1):
        with open(folder / f"log-{index}", "w") as log:
            arguments = [str(index), str(port), str(folder)]
            processes.append(subprocess.Popen([*command, *arguments], stderr=log))
    try:
        statuses = [process.wait(300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    texts = [(folder / f"log-{index}").read_text()[-3000:] for index in (0, 1)]
    outcomes = [folder / f"outcome-{index}.pickle" for index in (0, 1)]
    assert all(path.exists() for path in outcomes), texts
    return [pickle.loads(path.read_bytes()) for path in outcomes], statuses


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Return the outcomes of the first start, in which the second worker is killed, and again."""
    folder = tmp_path_factory.mktemp("workers")
    first, statuses = start_two(folder)
    assert statuses[1] == -9
    second, statuses = start_two(folder)
    assert statuses == [0, 0]
    return first, second


@pytest.fixture(scope="module")
def single():
    """Return what one process with all the groups comes to."""
    strategy = tf.distribute.get_strategy()
    return {
        "discover": workers.train(strategy, workers.discover),
        "transported": workers.train(strategy, workers.transported),
    }


def assert_close(one, other, last=None):
    for value, expected in zip(one["state"], other["state"], strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-6, rtol=1e-5)
    results = other["results"][-last:] if last else other["results"]
    assert len(one["results"]) == len(results)
    for result, expected in zip(one["results"], results, strict=True):
        assert set(result) == {"loss", "accuracy", "val_loss", "val_accuracy"}
        assert result == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("index", [0, 1])
def test_after_the_loss_of_a_worker_the_end_is_that_of_an_uninterrupted_run(started, single, index):
    assert_close(started[1][index]["discover"], single["discover"], last=2)


@pytest.mark.parametrize("index", [0, 1])
def test_all_workers_stop_where_one_is_asked_to_and_end_where_one_process_does(
    started, single, index
):
    outcome = started[0][index]
    assert outcome["preempted"].startswith("Preempted: Stopped by SIGTERM after step 8")
    assert_close(outcome["resumed"], single["transported"])


def test_a_worker_makes_the_parts_of_its_own_replicas_alone(started, single):
    for index in (0, 1):
        assert started[0][index]["resumed"]["asked for the parts of"] == [index]
    assert single["discover"]["asked for the parts of"] == []


def test_the_others_say_that_a_worker_was_lost(started):
    assert "LostWorkerError: One of the 2 workers was lost" in started[0][0]["lost"]


def test_only_the_chief_writes_files(started):
    assert started[0][0]["files"] == ["log.csv", "model.keras"]
    assert started[0][1]["files"] == []


@pytest.mark.parametrize("index", [0, 1])
def test_what_workers_lack_is_a_sentence(started, index):
    outcome = started[0][index]
    for method in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        words = f"ValueError: `{method}` of Keras 3 does not run on several workers"
        assert outcome[method].startswith(words)
    assert outcome["unshared"].startswith("ValueError: `checkpoint_dir` must be a folder that all")
    assert f"finds step {0 if index else 12}" in outcome["unshared"]


@pytest.mark.parametrize("index", [0, 1])
def test_every_worker_predicts_all_and_can_evaluate_a_model_of_its_own(started, index):
    alone = workers.compiled(tf.distribute.get_strategy(), workers.discover)
    outcome = started[0][index]
    expected = alone.predict(workers.X, verbose=0)
    np.testing.assert_allclose(outcome["predicted"], expected, atol=1e-6)
    loss, accuracy = alone.evaluate(workers.X, workers.Y, verbose=0)
    assert outcome["evaluated alone"] == pytest.approx([loss, accuracy], rel=1e-5)
