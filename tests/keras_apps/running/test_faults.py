"""A folder or a disk that does not allow it: one sentence, a status that is not 0, no traceback."""

import errno
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from keras_apps import cluster_picture, train
from keras_apps.experiments import classification
from keras_apps.models import mlp
from keras_apps.reporting import pictures
from keras_apps.running import configurations, faults
from keras_apps.running.workdir import Workdir
from tf_gradvar.records import RecordFile

REPOSITORY = pathlib.Path(__file__).parents[3]
TINY = str(REPOSITORY / "tests" / "keras_apps" / "configs" / "tiny.py")


def draw(workdir):
    """Run the smallest app; it needs neither data nor training."""
    return cluster_picture.main(["--config", "gc_figure_1:quick", "--workdir", str(workdir)])


def sentence_of(capsys):
    """What stands in the one line of standard error."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    (line,) = [line for line in error.splitlines() if "error:" in line]
    return line


def raising(number, filename=None):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number), filename)

    return refuse


@pytest.mark.parametrize("inside", ["", "deeper", "deeper/still"])
def test_a_workdir_that_is_a_file(tmp_path, capsys, inside):
    file = tmp_path / "file"
    file.write_text("mine")
    assert draw(file / inside) == 1
    said = sentence_of(capsys)
    assert "`--workdir` must be a folder, or a new name for one" in said
    assert f"but {file} is a file" in said if inside else "which is a file" in said
    assert file.read_text() == "mine"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_workdir_that_cannot_be_made(tmp_path, capsys, monkeypatch, number):
    workdir = tmp_path / "new"
    monkeypatch.setattr(pathlib.Path, "mkdir", raising(number, str(workdir)))
    assert draw(workdir) == 1
    said = sentence_of(capsys)
    assert "`--workdir` must be a folder that can be written to" in said
    assert os.strerror(number) in said
    assert "Choose another `--workdir`" in said


@pytest.mark.parametrize("name", ["", "records.jsonl", "checkpoints"])
def test_a_workdir_of_which_a_part_is_read_only(tmp_path, capsys, monkeypatch, name):
    Workdir(tmp_path, {}).close()
    (tmp_path / "records.jsonl").touch()
    (tmp_path / "checkpoints").mkdir()
    writable = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != tmp_path / name and writable(path, mode)
    )
    assert draw(tmp_path) == 1
    part = f"but {tmp_path / name}" if name else "which"
    assert f"{part} cannot be written" in sentence_of(capsys)


def test_a_disk_that_is_full_at_the_start(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "fsync", raising(errno.ENOSPC))
    assert draw(tmp_path) == 1
    assert f"The disk is full: {tmp_path} cannot be written" in sentence_of(capsys)


def test_a_disk_that_fills_up_in_drawing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pictures, "draw", raising(errno.ENOSPC))
    assert draw(tmp_path) == 1
    assert "The disk is full" in sentence_of(capsys)
    monkeypatch.undo()
    assert draw(tmp_path) == 0


def test_a_disk_that_fills_up_in_training(tmp_path, capsys, monkeypatch):
    append = RecordFile.append

    def until_the_disk_is_full(self, record):
        if record.get("step") == 6:
            raising(errno.ENOSPC)()
        append(self, record)

    monkeypatch.setattr(RecordFile, "append", until_the_disk_is_full)
    arguments = ["--config", TINY, "--workdir", str(tmp_path)]
    assert train.main(arguments) == 1
    assert "Make room; the same command then continues" in sentence_of(capsys)
    monkeypatch.undo()
    assert train.main(arguments) == 0
    run = tmp_path / "checkpoints" / "Discover-C1-seed0"
    (run / "step-00000004").mkdir()  # As of a process that was killed at its last step.
    assert train.main(arguments) == 0
    assert [path.name for path in run.iterdir()] == ["final.weights.h5"]
    steps = [r["step"] for r in RecordFile(tmp_path / "records.jsonl").read() if "step" in r]
    assert steps == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("content", ["", '{"title": "Ten', "[]", b"\xff\xfe"])
def test_a_damaged_configuration(tmp_path, capsys, content):
    asked = configurations.to_json(configurations.load("gc_figure_1:quick").config)
    Workdir(tmp_path, asked).close()
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit) as exit_error:
        draw(tmp_path)
    assert exit_error.value.code == 2
    said = sentence_of(capsys)
    assert f"The file {path} must hold the configuration of the experiment" in said
    assert "delete the file, and the same command continues" in said
    path.unlink()
    Workdir(tmp_path, asked).close()


@pytest.mark.parametrize("name", ["records.jsonl", "variances.jsonl"])
def test_damaged_records(tmp_path, capsys, name):
    (tmp_path / name).write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(SystemExit):
        draw(tmp_path)
    assert f"Line 2 of {tmp_path / name} must be a JSON object" in sentence_of(capsys)


def test_a_checkpoint_of_another_model(tmp_path, capsys, monkeypatch):
    def stop(self):
        self.requested = True
        return self

    arguments = ["--config", TINY, "--workdir", str(tmp_path)]
    monkeypatch.setattr("keras_apps.running.stopping.Interruption.__enter__", stop)
    monkeypatch.setattr("keras_apps.running.stopping.Interruption.__exit__", lambda *_: None)
    assert train.main(arguments) == 130
    monkeypatch.undo()
    # The configuration says the same, the code another size.
    larger = {"mlp": lambda shape, classes, hidden_units: mlp(shape, classes, [7])}
    monkeypatch.setattr(classification, "MODELS", larger)
    capsys.readouterr()
    assert train.main(arguments) == 1
    said = sentence_of(capsys)
    assert "must fit the model and the optimizer of its run" in said
    assert str(tmp_path / "checkpoints" / "Discover-C1-seed0") in said


def test_other_errors_keep_their_own_words(tmp_path):
    assert faults.sentence(ConnectionError("No network."), tmp_path) == "No network."
    other = OSError(errno.EIO, os.strerror(errno.EIO), str(tmp_path / "records.jsonl"))
    assert str(tmp_path / "records.jsonl") in faults.sentence(other, tmp_path)
    data = PermissionError(errno.EACCES, "Permission denied", "/data/mnist.npz")
    assert faults.sentence(data, tmp_path) == "/data/mnist.npz cannot be used: Permission denied."


def test_errors_of_the_program_are_not_hidden(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("a fault of the program")

    monkeypatch.setattr(pictures, "draw", fail)
    with pytest.raises(ValueError, match="a fault of the program"):
        draw(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="file locks are POSIX")
def test_a_file_system_without_locks_gets_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("fcntl.flock", raising(errno.ENOLCK))
    Workdir(tmp_path, {}).close()
    assert "cannot be locked" in caplog.text


@pytest.mark.slow
def test_the_command_line_shows_one_line(tmp_path):
    file = tmp_path / "file"
    file.touch()
    command = [sys.executable, "-m", "keras_apps.cluster_picture", "--config", "gc_figure_1:quick"]
    done = subprocess.run(
        [*command, "--workdir", str(file)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "python -m keras_apps.cluster_picture: error: `--workdir` must be a folder"
    )


@pytest.mark.parametrize("method", ["create_file_writer", "scalar"])
def test_a_disk_that_is_full_for_tensorboard(tmp_path, capsys, monkeypatch, method):
    def refuse(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.summary, method, refuse)
    assert train.main(["--config", TINY, "--workdir", str(tmp_path)]) == 1
    logs = tmp_path / "tensorboard" / "Discover-C1-seed0"
    assert f"The disk is full: {logs} cannot be written" in sentence_of(capsys)
