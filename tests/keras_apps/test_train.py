"""The command line: runs to the end, is killed and continues to the same weights, refuses."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from keras_apps import train
from keras_apps.command_line import INTERRUPTED
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.reporting.comparison_report import SNIPPET
from keras_apps.reporting.comparison_results import Results
from keras_apps.running import configurations as configs
from keras_apps.running.workdir import Workdir
from tf_gradvar.records import RecordFile

REPOSITORY = pathlib.Path(__file__).parents[2]
RESUMED = REPOSITORY / "tests" / "keras_apps" / "configs" / "resumed.py"
PATIENCE = 120
CLAIMS = (" pays", "lowers the final", "Lowest final", "stalls at", "has more variance", "leave")


def command(workdir):
    return [
        sys.executable,
        *("-m", "keras_apps.train", "--config", str(RESUMED), "--workdir", str(workdir)),
    ]


def start(workdir):
    return subprocess.Popen(
        command(workdir),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def wait_for_step(process, workdir, run, step):
    """Wait until the records show that a run has passed a step."""
    records = RecordFile(workdir / "records.jsonl")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if any(r["run"] == run and r.get("step", 0) >= step for r in records.read()):
            return
        time.sleep(0.01)
    pytest.fail(f"{run} did not reach step {step}: {process.communicate()[0]}")


def evaluations(workdir):
    """What was measured, without how long it took."""
    return {
        (record["run"], record["step"]): {
            key: value for key, value in record.items() if key != "steps_per_second"
        }
        for record in RecordFile(workdir / "records.jsonl").read()
        if record["kind"] == "evaluation"
    }


def final_weights(workdir):
    weights = {}

    def collect(path, item):
        if isinstance(item, h5py.Dataset):
            weights[path] = item[()]

    for path in sorted(workdir.glob("checkpoints/*/final.weights.h5")):
        run = path.parent.name
        with h5py.File(path) as file:
            file.visititems(lambda name, item, run=run: collect(f"{run}/{name}", item))
    return weights


@pytest.mark.slow
def test_killed_and_stopped_runs_end_with_the_weights_of_one_left_alone(tmp_path):
    alone, interrupted = tmp_path / "alone", tmp_path / "interrupted"
    assert train.main(command(alone)[3:]) == 0

    process = start(interrupted)
    wait_for_step(process, interrupted, "DiscoverIGT-C2-seed0", 140)
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE) == -signal.SIGKILL
    process = start(interrupted)
    wait_for_step(process, interrupted, "DiscoverAdam-C2-seed0", 120)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == INTERRUPTED, output
    assert "The same command continues" in output
    records = RecordFile(interrupted / "records.jsonl").read()
    assert [r["run"] for r in records if r["kind"] == "finished"] == ["DiscoverIGT-C2-seed0"]
    assert train.main(command(interrupted)[3:]) == 0

    expected, weights = final_weights(alone), final_weights(interrupted)
    assert list(weights) == list(expected)
    assert len(weights) == 8
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)
    assert evaluations(interrupted) == evaluations(alone)
    assert (interrupted / "report.html").exists()
    leftovers = [path.name for path in interrupted.glob("checkpoints/*/*")]
    assert set(leftovers) == {"final.weights.h5"}


@pytest.mark.parametrize("name", configs.names(Experiment))
@pytest.mark.slow
def test_every_configuration_runs_in_quick(name, tmp_path, capsys):
    workdir = tmp_path / "run"
    arguments = ["--config", f"{name}:quick", "--workdir", str(workdir)]
    assert train.main(arguments) == 0
    first = capsys.readouterr().out
    experiment = configs.load(f"{name}:quick").config
    reads_data = isinstance(experiment.problem, Classification)
    records = RecordFile(workdir / "records.jsonl").read()
    finished = [r["run"] for r in records if r["kind"] == "finished" and not r["tunes"]]
    assert (
        len(finished)
        == len(set(finished))
        == len(experiment.optimizers) * len(experiment.groups_per_batch) * len(experiment.seeds)
    )
    data = json.loads((workdir / "data.json").read_text())["fingerprint"] if reads_data else None
    assert {r["data"] for r in records if r["kind"] == "finished"} == {data}
    page = (workdir / "report.html").read_text()
    assert f"<h1>Smoke test: {experiment.title}</h1>" in page
    for text in (" ".join(first.split()), page):
        assert "This was a smoke test" in text
        assert "nothing follows from them" in text
        for claim in CLAIMS:
            assert claim not in text
    for file in ("config.json", "summary.csv", "tensorboard", "figures"):
        assert (workdir / file).exists()
    measures = experiment.gradient_variance is not None
    assert (workdir / "variances.jsonl").exists() == measures
    assert ("Gradient variance along one trajectory" in page) == measures
    assert list(workdir.glob("figures/*.png"))

    # The same command again trains nothing and writes the same page.
    assert train.main(arguments) == 0
    assert "Trained" in first
    assert "Trained" not in capsys.readouterr().out
    assert (workdir / "report.html").read_text() == page
    assert RecordFile(workdir / "records.jsonl").read() == records


@pytest.mark.slow
def test_least_squares_stall_where_theory_says(tmp_path):
    changes = ["seeds=0", "steps=500", "optimizers=SGD,IGT,Discover,DiscoverIGT"]
    words = [word for change in changes for word in ("--set", change)]
    name = "clustered_least_squares"
    assert train.main(["--config", name, "--workdir", str(tmp_path / "run"), *words]) == 0
    experiment = configs.load(name, changes).config
    results = Results.of(RecordFile(tmp_path / "run" / "records.jsonl").read(), experiment)
    risks = {arm.optimizer.name: arm.late["excess_risk"].mean for arm in results.arms}
    assert risks["Discover"] <= risks["SGD"] / 50
    assert risks["DiscoverIGT"] <= risks["IGT"] / 20
    for name, base in (("Discover", "SGD"), ("DiscoverIGT", "IGT")):
        within = results.predictions[base, 4]["within clusters alone"]
        assert risks[name] == pytest.approx(within[251:].mean(), rel=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "`--config` is needed"),
        (["--config", "mnist5k_clases"], "Did you mean 'mnist5k_classes'"),
        (["--config", "digits_classes:quik"], "Did you mean 'quick'"),
        (["--config", "mnist5k_mlp"], "whose functions return `Experiment`"),
        (
            ["--config", "mnist5k_classes:quick", "--set", "gradient_variance.batch_size=5000"],
            "`batch_size` must be at most the number of training examples, 4000",
        ),
        (
            ["--config", "mnist5k_classes:quick", "--set", "gradient_variance.steps=9"],
            "In `gradient_variance`, `steps` must be a multiple of `refresh_every`",
        ),
        (["--config", "digits_classes", "--set", "stepz=3"], "Did you mean 'steps'"),
        (["--config", "digits_classes", "--set", "order=cycle"], "must have equal shares"),
        (
            ["--config", "digits_classes", "--set", "run_length=0"],
            "`run_length` must be at least 1",
        ),
        (
            [
                *("--config", "digits_classes", "--set", "run_length=5"),
                *("--set", "optimizers.Discover.arguments.buffers=owned"),
            ],
            "`run_length` must be 1 for an optimizer with `buffers='owned'`",
        ),
        (["--config", "digits_classes", "--set", "steps=30"], "must be multiples of"),
        (["--config", "digits_classes", "--set", "problem.source=digit"], "Did you mean 'digits'"),
        (
            ["--config", "digits_classes", "--set", "optimizers.Adam.rule=Adm"],
            "Did you mean 'Adam'",
        ),
        (["--config", "digits_classes", "--set", "optimizers.Adam.arguments.beta=1"], "beta"),
        (["--config", "mnist5k_family", "--set", "optimizers.QHM.search.nuu=[0.5]"], "nuu"),
        (
            [
                "--config",
                "mnist5k_family",
                "--set",
                "optimizers.Discover.search.gain=[1, 0.5, 2.0]",
            ],
            "Received: gain=2.0",
        ),
        (
            ["--config", "mnist5k_family", "--set", "optimizers.SGD.search.learning_rate=[0.1]"],
            "at least as many combinations as the `tuning_budget`",
        ),
        (["--config", "mnist5k_family", "--set", "optimizers.SGD.serch.nu=[1]"], "'search'"),
    ],
)
def test_bad_words_get_a_sentence(arguments, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_error:
        train.main([*arguments, "--workdir", str(tmp_path / "run")])
    assert exit_error.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_a_workdir_with_another_configuration_is_refused(capsys, tmp_path):
    workdir = str(tmp_path)
    configuration = configs.load("digits_classes:quick")
    Workdir(workdir, configs.to_json(configuration.config)).close()
    arguments = ["--config", "digits_classes:quick", "--workdir", workdir]
    with pytest.raises(SystemExit):
        train.main([*arguments, "--set", "steps=80"])
    error = capsys.readouterr().err
    assert "holds an experiment with another configuration; these differ: steps." in error


def test_a_report_of_what_is_finished_trains_nothing(capsys, tmp_path):
    part = Workdir(
        tmp_path / "part",
        configs.to_json(configs.load("digits_classes", ["optimizers=SGD"]).config),
    )
    end = {"kind": "finished", "run": "SGD-C1-seed0", "optimizer": "SGD", "groups": 1, "seed": 0}
    end |= {"tunes": False, "learning_rate": 0.1, "score": 0.5, "diverged": False}
    identity = {k: v for k, v in end.items() if k not in ("learning_rate", "score", "diverged")}
    values = {"training_loss": 0.5, "test_accuracy": 0.9, "step": 600}
    part.records.append({**identity, "kind": "evaluation", **values})
    part.records.append(end)
    part.close()
    words = ["--config", "digits_classes", "--workdir", str(tmp_path / "all")]
    assert train.main([*words, "--with", str(tmp_path / "part"), "--report"]) == 0
    shown = capsys.readouterr().out
    assert f"Runs taken over from {tmp_path / 'part'}: 1." in " ".join(shown.split())
    assert "Trained" not in shown
    assert "So far 1 of 15 runs" in (tmp_path / "all" / "report.html").read_text()
    assert train.main([*words, "--with", str(tmp_path), "--report"]) == 1
    assert "which has no config.json" in capsys.readouterr().err


def test_the_list_shows_every_configuration(capsys):
    assert train.main(["--list"]) == 0
    shown = capsys.readouterr().out
    for name in configs.names(Experiment):
        assert name in shown
    assert "mnist5k_mlp" not in shown


def test_the_code_in_the_report_runs():
    namespace = {}
    exec(compile(SNIPPET, "snippet", "exec"), namespace)
    x, y = namespace["x"], namespace["y"]
    assert namespace["model"].evaluate(x, y, verbose=0)[1] > 0.8
    assert len([line for line in SNIPPET.splitlines() if line]) <= 12
