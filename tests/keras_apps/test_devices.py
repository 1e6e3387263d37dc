"""Experiments on two replicas or workers: the numbers of one device, which has begun them."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from keras_apps import train
from tests.keras_apps.begun import measured, places, train_runs, words

REPOSITORY = pathlib.Path(__file__).parents[2]
# What tf.data draws for each batch must not depend on the devices either.
CHANGES = [
    "optimizers=Momentum,Discover",
    "problem.label_noise=0.2",
    "problem.crop=pad",
    "problem.flip=true",
]
OPTIONS = [word for change in CHANGES for word in ("--set", change)]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The workdir of an experiment on one device."""
    folder = tmp_path_factory.mktemp("one")
    train_runs(folder, CHANGES)
    assert places(folder) == [("tensorflow", "one_device", 1)] * 2
    return folder


def command(folder, *options):
    return [sys.executable, "-m", "keras_apps.train", *words(folder, *OPTIONS, *options)]


def check_numbers_of_one_device(one, two, strategy):
    expected, found = measured(one), measured(two)
    assert list(found) == list(expected)
    assert len(found) == 2 * 3
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-5), key
    assert places(two) == [("tensorflow", strategy, 2)] * 2
    on_two = {"backend": "tensorflow", "strategy": strategy, "replicas": 2}
    assert json.loads((two / "devices.json").read_text()) == on_two
    sentence = f"Runs were trained on 2 replicas ({strategy}, on TensorFlow)."
    assert sentence in (two / "report.html").read_text()


@pytest.mark.slow
def test_two_replicas_go_on_where_one_device_stopped_to_the_same_losses(one, tmp_path):
    train_runs(tmp_path, CHANGES, stop_at=25)
    done = subprocess.run(
        command(tmp_path, "--devices", "2"), cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    check_numbers_of_one_device(one, tmp_path, "mirrored")


@pytest.mark.slow
def test_two_workers_go_on_there_and_the_chief_alone_writes(one, tmp_path):
    train_runs(tmp_path / "two", CHANGES, stop_at=25)
    with socket.create_server(("", 0)) as found:
        port = found.getsockname()[1]
    addresses = [f"localhost:{port}", f"localhost:{port + 1}"]
    started = []
    for index in (0, 1):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        started.append(
            subprocess.Popen(
                command(tmp_path / "two", "--strategy", "multi_worker"),
                cwd=REPOSITORY,
                env={**os.environ, "TF_CONFIG": json.dumps(task), "TMPDIR": str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        printed = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], printed
    check_numbers_of_one_device(one, tmp_path / "two", "multi_worker")
    assert "Report:" in printed[0][0]
    assert "Report:" not in printed[1][0]
    assert not list(tmp_path.rglob("worker-*/config.json"))  # the copy is thrown away


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "0"], "`--devices` must be at least 1. Received: --devices 0"),
        (["--devices", "2", "--strategy", "one_device"], "must be 1 with `--strategy one_device`"),
        (["--devices", "2"], "before TensorFlow has run anything"),
        (["--strategy", "multi_worker"], "needs the environment variable `TF_CONFIG`"),
        (["--strategy", "multi_worker", "--devices", "2"], "must be left out with several workers"),
        (["--strategy", "nccl"], "invalid choice: 'nccl'"),
    ],
)
def test_devices_that_cannot_be_used(arguments, message, capsys, tmp_path):
    tf.config.list_logical_devices()  # TensorFlow has run
    with pytest.raises(SystemExit) as exit_error:
        train.main(words(tmp_path / "run", *arguments))
    assert exit_error.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "addresses", "message"),
    [
        (["auto", "--devices", "2"], 2, "`--devices` must be left out with several workers"),
        (["multi_worker"], 1, "needs at least two workers in `TF_CONFIG`"),
    ],
)
def test_workers_that_cannot_be_used(arguments, addresses, message, monkeypatch, capsys, tmp_path):
    cluster = {"worker": [f"localhost:{i}" for i in range(1, addresses + 1)]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(SystemExit):
        train.main(words(tmp_path / "run", "--strategy", *arguments))
    assert message in " ".join(capsys.readouterr().err.split())
