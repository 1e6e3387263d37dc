"""Experiments on two replicas: the numbers of one device, which may have begun them."""

import json
import pathlib
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


@pytest.mark.slow
def test_two_replicas_go_on_where_one_device_stopped_to_the_same_losses(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    train_runs(one, CHANGES)
    train_runs(two, CHANGES, stop_at=25)
    done = subprocess.run(
        [sys.executable, "-m", "keras_apps.train", *words(two, *OPTIONS, "--devices", "2")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected, found = measured(one), measured(two)
    assert list(found) == list(expected)
    assert len(found) == 2 * 3
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-5), key
    assert places(one) == [("tensorflow", "one_device", 1)] * 2
    assert places(two) == [("tensorflow", "mirrored", 2)] * 2
    on_two = {"backend": "tensorflow", "strategy": "mirrored", "replicas": 2}
    assert json.loads((two / "devices.json").read_text()) == on_two
    sentence = "Runs were trained on 2 replicas (mirrored, on TensorFlow)."
    assert sentence in (two / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "0"], "`--devices` must be at least 1. Received: --devices 0"),
        (["--devices", "2", "--strategy", "one_device"], "must be 1 with `--strategy one_device`"),
        (["--devices", "2"], "before TensorFlow has run anything"),
        (["--strategy", "multi_worker"], "one of a single process, which alone writes"),
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


def test_auto_does_not_wait_for_other_workers(monkeypatch, capsys, tmp_path):
    cluster = {"worker": ["localhost:1", "localhost:2"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(SystemExit):
        train.main(words(tmp_path / "run", "--strategy", "auto"))
    assert "Received: --strategy auto, of several workers" in capsys.readouterr().err
