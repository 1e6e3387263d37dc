"""Checkpoints: whole or not there, checked before they are loaded, the one before as a reserve."""

import contextlib
import errno
import hashlib
import json
import shutil
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_apps.running import checkpoint_files, checkpointing
from keras_apps.running import configurations as configs
from keras_apps.running.checkpoint_files import HDF5_OVERHEAD
from keras_apps.running.checkpointing import CheckpointFolder, discard
from keras_apps.running.training_run import TrainingRun
from keras_apps.running.workdir import Workdir, WorkdirError
from tests.keras_apps.displays import Request, Shown
from tests.keras_apps.test_train import evaluations, final_weights

TINY = "tests/keras_apps/configs/tiny.py"
X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def compiled_model(units=1):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


def values(model):
    return [np.array(v) for v in (*model.weights, *model.optimizer.variables)]


def trained(folder, steps=3):
    """A run with a checkpoint after each step, and its values after each step."""
    model = compiled_model()
    checkpoint = CheckpointFolder(folder, model)
    after = {}
    for step in range(1, steps + 1):
        model.train_on_batch(X, Y)
        checkpoint.save(step, {"position": 10 * step})
        after[step] = values(model)
    return after


def assert_same(model, expected):
    for own, other in zip(values(model), expected, strict=True):
        np.testing.assert_array_equal(own, other)


def steps_in(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in folder.iterdir())


def test_the_last_two_are_kept_and_the_last_is_loaded(tmp_path):
    after = trained(tmp_path)
    assert steps_in(tmp_path) == [2, 3]
    model = compiled_model()
    assert CheckpointFolder(tmp_path, model).restore() == (3, {"position": 30})
    assert_same(model, after[3])


def test_the_files_of_jax_hold_the_same_and_are_refused_by_another_model(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpointing, "files_for", checkpoint_files._Hdf5)
    after = trained(tmp_path)
    (tmp_path / "step-00000003" / "progress.json").write_text("{")
    model = compiled_model()
    assert CheckpointFolder(tmp_path, model).restore() == (2, {"position": 20})
    assert_same(model, after[2])
    with pytest.raises(WorkdirError, match="must fit the model and the optimizer of its run"):
        CheckpointFolder(tmp_path, compiled_model(units=2)).restore()
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: types.SimpleNamespace(free=HDF5_OVERHEAD + 4)
    )
    with pytest.raises(OSError, match="No space left on device"):
        CheckpointFolder(tmp_path, model).save(4, {})
    assert steps_in(tmp_path) == [2]


def cut_data(folder):
    path = next(folder.glob("state.data*"))
    path.write_bytes(path.read_bytes()[:-7])


def flip_bit(folder):
    path = next(folder.glob("state.data*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def lose_index(folder):
    (folder / "state.index").unlink()


def cut_checksums(folder):
    path = folder / "checksums.json"
    path.write_text(path.read_text()[:20])


def empty_checksums(folder):
    (folder / "checksums.json").write_text("{}")


def lose_everything(folder):
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES = [cut_data, flip_bit, lose_index, cut_checksums, empty_checksums, lose_everything]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage, caplog):
    after = trained(tmp_path)
    damage(tmp_path / "step-00000003")
    model = compiled_model()
    checkpoint = CheckpointFolder(tmp_path, model)
    assert checkpoint.restore() == (2, {"position": 20})
    assert_same(model, after[2])
    assert "step-00000003 is damaged" in caplog.text
    assert "continues from step-00000002" in caplog.text
    model.train_on_batch(X, Y)
    assert_same(model, after[3])
    checkpoint.save(3, {"position": 30})
    assert CheckpointFolder(tmp_path, model).restore() == (3, {"position": 30})


def test_with_no_whole_checkpoint_the_run_starts_again_with_its_own_weights(tmp_path, caplog):
    trained(tmp_path)
    for folder in tmp_path.iterdir():
        cut_data(folder)
    model = compiled_model()
    before = values(model)
    assert CheckpointFolder(tmp_path, model).restore() == (0, None)
    assert_same(model, before)
    assert "has no other checkpoint and starts again" in caplog.text
    assert steps_in(tmp_path) == []


def test_what_a_killed_process_left_behind_is_no_obstacle(tmp_path):
    trained(tmp_path, steps=1)
    for name in ("new", "ckpt-5_temp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("half")
    model = compiled_model()
    checkpoint = CheckpointFolder(tmp_path, model)
    assert checkpoint.restore()[0] == 1
    checkpoint.save(2, {})
    checkpoint.write_final_weights(model)
    discard(tmp_path, keep_weights=True)
    assert [path.name for path in tmp_path.iterdir()] == ["final.weights.h5"]
    discard(tmp_path, keep_weights=False)
    assert not tmp_path.exists()
    for keep_weights in (True, False):
        discard(tmp_path, keep_weights=keep_weights)


def test_a_checkpoint_of_another_model_gets_a_sentence(tmp_path):
    trained(tmp_path)
    with pytest.raises(WorkdirError, match=r"must fit the model.*Delete the folder"):
        CheckpointFolder(tmp_path, compiled_model(units=2)).restore()


def test_files_that_may_not_be_read_are_not_taken_for_damaged(tmp_path, monkeypatch):
    trained(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    with pytest.raises(PermissionError):
        CheckpointFolder(tmp_path, compiled_model()).restore()
    assert steps_in(tmp_path) == [2, 3]


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (tf.errors.ResourceExhaustedError, errno.ENOSPC),
        (tf.errors.PermissionDeniedError, errno.EACCES),
        (tf.errors.DataLossError, errno.EIO),
    ],
)
def test_a_checkpoint_that_cannot_be_written_leaves_the_others(
    tmp_path, monkeypatch, error, number
):
    after = trained(tmp_path)

    def refuse(*_):
        raise error(None, None, "No")

    model = compiled_model()
    checkpoint = CheckpointFolder(tmp_path, model)
    monkeypatch.setattr(tf.train.Checkpoint, "write", refuse)
    with pytest.raises(OSError) as raised:  # noqa: PT011 (its number is looked at)
        checkpoint.save(4, {})
    assert raised.value.errno == number
    assert steps_in(tmp_path) == [2, 3]
    assert checkpoint.restore()[0] == 3
    assert_same(model, after[3])


def train(folder, experiment, problem, stop_at=None):
    workdir = Workdir(folder, configs.to_json(experiment))
    request = Request(stop_at)
    run = next(experiment.runs({}))
    finished = TrainingRun(run, experiment, problem, workdir, Shown(request), request).train()
    workdir.close()
    return finished


def test_a_run_with_a_damaged_checkpoint_ends_like_one_left_alone(tmp_path, caplog):
    experiment = configs.load(TINY).config
    problem = experiment.problem.build()
    alone, damaged = tmp_path / "alone", tmp_path / "damaged"
    assert train(alone, experiment, problem)
    assert not train(damaged, experiment, problem, stop_at=6)
    run = damaged / "checkpoints" / "Discover-C1-seed0"
    assert steps_in(run) == [4, 6]
    flip_bit(run / "step-00000006")
    assert train(damaged, experiment, problem)
    assert "Discover-C1-seed0 continues from step-00000004" in caplog.text
    assert evaluations(damaged) == evaluations(alone)
    assert len(evaluations(alone)) == 5
    weights, expected = final_weights(damaged), final_weights(alone)
    assert list(weights) == list(expected)
    assert len(weights) == 4
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)
    assert [path.name for path in run.iterdir()] == ["final.weights.h5"]


def test_checksums_are_those_of_the_files(tmp_path):
    trained(tmp_path)
    folder = tmp_path / "step-00000003"
    sums = json.loads((folder / "checksums.json").read_text())
    assert set(sums) == {path.name for path in folder.iterdir()} - {"checksums.json"}
    for name, known in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == known


def test_final_weights_are_not_begun_without_room(tmp_path, monkeypatch):
    model = compiled_model()
    needed = sum(values.nbytes for values in model.get_weights()) + HDF5_OVERHEAD
    for free, holds in ((needed - 1, False), (needed, True)):
        usage = types.SimpleNamespace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        checkpoint = CheckpointFolder(tmp_path, model)
        with contextlib.nullcontext() if holds else pytest.raises(OSError, match="No space left"):
            checkpoint.write_final_weights(keras.models.clone_model(model))
        assert [path.name for path in tmp_path.iterdir()] == ["final.weights.h5"] * holds
