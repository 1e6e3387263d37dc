"""Sweeps: every combination once, stopped and continued, refused; their processes and reports."""

import csv
import pathlib
import signal
import subprocess
import sys
import threading
import time

import optuna
import pytest

from keras_apps import sweep, train
from keras_apps.command_line import FAILED, INTERRUPTED
from keras_apps.running import sweep_trials
from keras_apps.running.stopping import Interruption
from tf_gradvar.records import RecordFile

TINY = pathlib.Path(__file__).parent / "configs" / "tiny.py"
RATE = "optimizers.Discover.learning_rates.1"


def run(workdir, *words):
    arguments = ["--config", str(TINY), "--workdir", str(workdir), *words]
    return sweep.main(["--set", "steps=4", *arguments])


@pytest.fixture
def in_process(monkeypatch):
    """Trials run in this process; the list of their commands."""
    commands = []

    def run_here(command, output, environment, interruption):
        commands.append(command)
        status = train.main(command[3:])
        return INTERRUPTED if interruption.requested else status

    monkeypatch.setattr(sweep_trials, "_run", run_here)
    return commands


def trials_of(workdir):
    with open(workdir / "sweep.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_grid_is_run_once_and_reported(tmp_path, in_process, capsys):
    over = ["--over", "group_size=2,4", "--over", f"{RATE}=0.01,0.5"]
    assert run(tmp_path, *over) == 0
    assert len(in_process) == 4
    rows = trials_of(tmp_path)
    losses = [float(row["training_loss"]) for row in rows]
    assert losses == sorted(losses)
    assert {(row["group_size"], row[RATE]) for row in rows} == {
        (size, rate) for size in ("2", "4") for rate in ("0.01", "0.5")
    }
    best = rows[0]
    records = RecordFile(tmp_path / "trials" / best["trial"] / "records.jsonl").read()
    assert records[-1]["score"] == pytest.approx(losses[0])
    assert records[-1]["learning_rate"] == float(best[RATE])
    page = (tmp_path / "report.html").read_text()
    assert f"the best of 4 trials by final training loss, {losses[0]:.4g}" in page
    assert f"(trial {best['trial']})" in page
    assert "the largest tried" in page
    for name in ("group_size", RATE):
        assert (tmp_path / "figures" / f"sweep-{name}.png").exists()
    logs = {path.name for path in (tmp_path / "tensorboard").iterdir()}
    assert logs == {f"{number:04d}-Discover-C1" for number in range(4)}

    assert run(tmp_path, *over) == 0
    assert len(in_process) == 4
    assert "holds another sweep; these differ: over" in " ".join(
        _error(capsys, run(tmp_path, "--over", "group_size=2,8")).split()
    )


def _error(capsys, status):
    assert status == FAILED
    return capsys.readouterr().err


def test_a_stopped_sweep_goes_on_in_the_same_folders(tmp_path, monkeypatch, in_process):
    over = ["--over", "group_size=2,3,4"]
    here = sweep_trials._run

    def stopped(command, output, environment, interruption):
        if len(in_process) == 1:
            interruption.requested = True
        return here(command, output, environment, interruption)

    monkeypatch.setattr(sweep_trials, "_run", stopped)
    assert run(tmp_path, *over) == INTERRUPTED
    assert len(in_process) == 2
    # A process that was killed leaves a trial that seems to be running.
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "trials.log"))
    storage = optuna.storages.JournalStorage(backend)
    left = optuna.load_study(study_name="sweep", storage=storage).ask()
    left.suggest_categorical("group_size", ["2", "3", "4"])
    monkeypatch.setattr(sweep_trials, "_run", here)
    assert run(tmp_path, *over) == 0
    assert sorted(row["group_size"] for row in trials_of(tmp_path)) == ["2", "3", "4"]
    folders = [command[-1].rpartition("/")[2] for command in in_process]
    assert len(set(folders)) == 3
    assert folders[1] in folders[2:]


def test_a_search_goes_on_with_other_draws(tmp_path, in_process):
    options = ["--search", "random", "--over", f"{RATE}=log:0.01..1", "--seed", "3"]
    assert run(tmp_path, "--trials", "1", *options) == 0
    assert run(tmp_path, "--trials", "2", *options) == 0
    rates = {row[RATE] for row in trials_of(tmp_path)}
    assert len(rates) == 2
    assert all(0.01 <= float(rate) <= 1 for rate in rates)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--over", "group_sizes=2"], "Did you mean 'group_size'"),
        (["--over", "group_size=2,x"], "`group_size` must be of type int. Received: "),
        (["--over", "group_size=2", "--processes", "0"], "`--processes` must be from 1 to"),
        (["--over", "group_size=2", "--trials", "2"], "no `--trials`"),
    ],
    ids=str,
)
def test_refused_before_anything_runs(words, message, tmp_path, in_process, capsys):
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, *words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not in_process


def test_a_value_that_runs_do_not_end_with(tmp_path, in_process, capsys):
    status = run(tmp_path, "--over", "group_size=2", "--choose", "accuracy")
    assert "`--choose` must be a value that all runs end with, one of [" in _error(capsys, status)


def test_a_trial_that_fails_says_what_it_printed(tmp_path, monkeypatch, capsys):
    def failing(command, output, environment, interruption):
        output.write("the last thing it said\n\n")
        return 2

    monkeypatch.setattr(sweep_trials, "_run", failing)
    error = _error(capsys, run(tmp_path, "--over", "group_size=2,4"))
    assert "Trial 0000 (group_size=2) ended with the status 2: the last thing it said" in error
    assert str(tmp_path / "trials" / "0000" / "output.txt") in error


def python(text):
    return [sys.executable, "-c", text]


def test_a_process_is_asked_to_stop_once(tmp_path):
    interruption = Interruption()
    waits = f"""
import signal, sys, time
def stop(*_):
    print("asked", flush=True)
    time.sleep(0.3)  # a second signal would be seen
    sys.exit({INTERRUPTED})
signal.signal(signal.SIGINT, stop)
print("ready", flush=True)
time.sleep(60)
"""
    path = tmp_path / "out"

    def request():
        while not path.read_text():
            time.sleep(0.01)
        interruption.requested = True

    with open(path, "w") as output:
        threading.Thread(target=request).start()
        assert sweep_trials._run(python(waits), output, None, interruption) == INTERRUPTED
    assert path.read_text().split() == ["ready", "asked"]


def test_no_process_is_left_behind(tmp_path, monkeypatch):
    started = []
    popen = subprocess.Popen

    def remembered(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[0]

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", remembered)
    monkeypatch.setattr(time, "sleep", interrupted)
    with open(tmp_path / "out", "w") as output, pytest.raises(KeyboardInterrupt):
        sweep_trials._run(python("import time; time.sleep(60)"), output, None, Interruption())
    assert started[0].returncode == -signal.SIGKILL


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    assert run(tmp_path, "--over", "group_size=2,4", "--processes", "2") == 0
    assert sorted(row["group_size"] for row in trials_of(tmp_path)) == ["2", "4"]
    for number in ("0000", "0001"):
        assert (tmp_path / "trials" / number / "report.html").exists()
        assert "Report:" in (tmp_path / "trials" / number / "output.txt").read_text()
