"""Parts of an experiment from other workdirs: the runs that belong to it, each once."""

import dataclasses

import pytest

from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.running.configurations import to_json
from keras_apps.running.parts import take_over
from keras_apps.running.workdir import Workdir, WorkdirError
from tests.keras_apps.synthetic import EXPERIMENT, OPTIMIZERS, records


def part(folder, found, **changes):
    """The workdir of a part of the experiment, with these records."""
    workdir = Workdir(folder, to_json(dataclasses.replace(EXPERIMENT, **changes)))
    for record in found:
        workdir.records.append(record)
    workdir.close()
    return folder


@pytest.fixture
def whole(tmp_path):
    workdir = Workdir(tmp_path / "whole", to_json(EXPERIMENT))
    yield workdir
    workdir.close()


def names(workdir):
    return sorted(workdir.finished())


def test_two_parts_make_a_whole(whole, tmp_path):
    found = records()
    for groups in (1, 8):
        own = [record for record in found if record["groups"] == groups]
        one = part(tmp_path / str(groups), own, groups_per_batch=(groups,), title="A part")
        assert take_over(whole, EXPERIMENT, one) == 10
        assert take_over(whole, EXPERIMENT, one) == 0
    assert sorted(map(str, whole.records.read())) == sorted(map(str, found))


def test_only_finished_runs_of_the_experiment_are_taken(whole, tmp_path):
    found = records(seeds=(0, 1, 2))
    last = next(r for r in found if r["kind"] == "finished" and r["run"] == "SGD-C1-seed1")
    found.remove(last)
    end = {**last, "run": "tuning-SGD-C1-seed1000-lr0.1", "seed": 1000, "tunes": True}
    found.append(end)
    more = (*OPTIMIZERS, OptimizerChoice("IGT", learning_rates={"1": 0.1, "8": 0.1}))
    found.append({**last, "run": "IGT-C1-seed0", "optimizer": "IGT"})
    one = part(tmp_path / "part", found, seeds=(0, 1, 2), optimizers=more)
    experiment = dataclasses.replace(EXPERIMENT, groups_per_batch=(1,))
    assert take_over(whole, experiment, one) == 10
    taken = names(whole)
    assert end["run"] in taken
    assert "SGD-C1-seed0" in taken
    for absent in ("SGD-C1-seed1", "SGD-C1-seed2", "SGD-C8-seed0", "IGT-C1-seed0"):
        assert absent not in taken


def test_what_is_finished_here_stays_and_what_was_begun_is_replaced(whole, tmp_path):
    theirs = [r for r in records() if r["run"] in ("SGD-C1-seed0", "SGD-C1-seed1")]
    mine = [{**r, "training_loss": 7.0} for r in theirs if r["run"] == "SGD-C1-seed0"]
    for record in mine:
        whole.records.append(record)
    begun = {**theirs[-2], "training_loss": 9.0, "step": 100}
    whole.records.append(begun)
    assert take_over(whole, EXPERIMENT, part(tmp_path / "part", theirs)) == 1
    found = whole.records.read()
    assert [r for r in found if r["run"] == "SGD-C1-seed0"] == mine
    assert [r for r in found if r["run"] == "SGD-C1-seed1"] == theirs[len(mine) :]


def test_runs_on_other_data_are_not_taken(tmp_path):
    whole = Workdir(tmp_path / "whole", to_json(EXPERIMENT), "aa")
    for name, fingerprint in (("same", "aa"), ("unknown", None)):
        Workdir(tmp_path / name, to_json(EXPERIMENT), fingerprint).close()
        assert take_over(whole, EXPERIMENT, tmp_path / name) == 0
    Workdir(tmp_path / "other", to_json(EXPERIMENT), "bb").close()
    with pytest.raises(WorkdirError, match=r"fingerprint is aa. Received: .*fingerprint bb"):
        take_over(whole, EXPERIMENT, tmp_path / "other")
    whole.close()


@pytest.mark.parametrize(
    ("changes", "different"),
    [
        ({"steps": 1200}, "steps"),
        (
            {"optimizers": (dataclasses.replace(OPTIMIZERS[0], candidates=(0.3,)),)},
            "optimizers.SGD.candidates",
        ),
    ],
)
def test_another_experiment_is_refused_by_what_differs(changes, different, whole, tmp_path):
    other = part(tmp_path / "other", [], **changes)
    with pytest.raises(WorkdirError, match=rf"in which these differ: {different}\."):
        take_over(whole, EXPERIMENT, other)


def test_a_folder_that_is_no_workdir_is_refused(whole, tmp_path):
    with pytest.raises(WorkdirError, match=r"which has no config\.json"):
        take_over(whole, EXPERIMENT, tmp_path)
