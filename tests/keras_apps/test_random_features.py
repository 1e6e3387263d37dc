"""The command: every run once, stopped and continued, refused; its files."""

import csv
import signal

import pytest

from keras_apps import random_features
from keras_apps.command_line import FAILED
from keras_apps.running import configurations
from keras_apps.running.stopping import INTERRUPTED
from keras_apps.running.workdir import WorkdirError
from tests.keras_apps.reporting.feature_records import record
from tf_gradvar.pages import Report
from tf_gradvar.records import RecordFile

QUICK = "random_features:quick"


def run(folder, *words):
    return random_features.main(["--config", QUICK, "--workdir", str(folder), *words])


@pytest.fixture
def made_up(monkeypatch):
    """Runs and reports that take no time; the names of what was run, a list a training set."""
    begun = []

    def measured(grid, runs):
        begun.append([run.name for run in runs])
        return [record(run) for run in runs]

    monkeypatch.setattr(random_features, "measured", measured)
    monkeypatch.setattr(
        random_features, "feature_report", lambda *_: Report("A report", [], None, [])
    )
    return begun


def test_quick_runs(tmp_path, capsys):
    assert run(tmp_path) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "This was a smoke test" in said
    assert "[2/2]" in said
    assert "cannot be above 1" not in said
    grid = configurations.load(QUICK).config
    with open(tmp_path / "summary.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {run.name for run in grid.runs()}
    assert all(0 < float(row["max_normalized_variance"]) < 1 for row in rows)
    page = (tmp_path / "report.html").read_text()
    assert "Every choice of widths by itself" in page
    before = (tmp_path / "records.jsonl").read_bytes()
    assert run(tmp_path) == 0  # measures nothing more
    assert (tmp_path / "records.jsonl").read_bytes() == before
    assert (tmp_path / "report.html").read_text() == page


def test_a_stopped_grid_goes_on_with_what_is_missing(tmp_path, made_up, monkeypatch):
    append = RecordFile.append

    def stopping(self, entry):
        append(self, entry)
        if entry["learning_rate"] == 0.1:
            signal.raise_signal(signal.SIGINT)

    rates = ("--set", "learning_rates=0.1,0.01")
    with monkeypatch.context() as patch:
        patch.setattr(RecordFile, "append", stopping)
        assert run(tmp_path, *rates) == INTERRUPTED
    assert len(made_up) == 1
    assert run(tmp_path, *rates) == 0
    again = [name for names in made_up for name in names]
    runs = configurations.load(QUICK, rates[1:]).config.runs()
    assert sorted(again) == sorted(run.name for run in runs)
    # A line that was lost with the process is run again, alone.
    path = tmp_path / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]))
    made_up.clear()
    assert run(tmp_path, *rates) == 0
    assert made_up == [[again[1]]]
    assert len(RecordFile(path).read()) == 4


def test_runs_of_other_grids_are_taken_over(tmp_path, made_up, capsys):
    one, other, third = (tmp_path / name for name in ("one", "other", "all"))
    rates = ("--set", "learning_rates=0.1,0.01")
    assert run(one, *rates, "--set", "ratios=0.5") == 0
    assert run(other, "--set", "ratios=0.5,2,4", "--set", "learning_rates=0.01") == 0
    assert len(made_up) == 4
    capsys.readouterr()
    assert run(third, *rates, "--with", str(one), "--with", str(other)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Took over 2 runs of" in said
    assert "Took over 1 runs of" in said
    assert len(made_up) == 5  # one run is left
    assert len(RecordFile(third / "records.jsonl").read()) == 4

    assert run(tmp_path / "steps", "--set", "steps=40", "--with", str(one)) == FAILED
    said = " ".join(capsys.readouterr().err.split())
    assert "must be the workdir of a part of this experiment" in said
    assert "in which these differ: steps." in said
    assert run(tmp_path / "none", "--with", str(tmp_path / "nothing")) == FAILED
    assert "which has no config.json" in " ".join(capsys.readouterr().err.split())


def test_a_process_that_was_killed_is_a_sentence(tmp_path, monkeypatch, capsys):
    def killed(*arguments):
        raise WorkdirError("One of the processes was killed.")

    monkeypatch.setattr(random_features, "side_by_side", killed)
    assert run(tmp_path) == FAILED
    assert "error: One of the processes was killed." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes", "0"], "`--processes` must be from 1 to"),
        (["--set", "num_draws=1"], "`num_draws` must be at least 2"),
        (["--set", "steps=7"], "`steps` must be a multiple of `refresh_every`"),
    ],
    ids=str,
)
def test_refused_before_anything_runs(words, message, tmp_path, made_up, capsys):
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, *words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not made_up
