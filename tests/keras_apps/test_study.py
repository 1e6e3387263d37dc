"""One trajectory: what is measured along it, that it continues, and what its page says."""

import csv
import dataclasses

import keras
import numpy as np
import pytest
import rich.console

from keras_apps import config as configs
from keras_apps import measuring, report, study, study_report
from keras_apps.experiment import Experiment
from keras_apps.models import mlp
from keras_apps.problems import Classification
from keras_apps.progress import Display
from keras_apps.trajectory import Study, Trajectory
from keras_apps.workdir import Workdir
from tests.keras_apps import synthetic
from tf_gradvar.estimators import MiniBatch
from tf_gradvar.records import RecordFile

TRAJECTORY = Trajectory(
    learning_rate=0.05, batch_size=64, steps=12, measure_every=2, refresh_every=4
)
NAMES = ["SG-64", "SG-128", "SVRG-64", "strata-64", "GC-64"]


class Request:
    """An interruption that comes at a step; the display tells it."""

    def __init__(self, step=None):
        self.step, self.requested = step, False


class Shown(Display):
    """A display that knows which steps were shown."""

    def __init__(self, request):
        super().__init__(rich.console.Console(quiet=True), 1)
        self.request, self.steps = request, []

    def show_step(self, step):
        self.steps.append(step)
        self.request.requested |= step == self.request.step


@pytest.fixture(scope="module")
def problem():
    return Classification("digits", model_arguments={"hidden_units": [8]}).build()


def measure(folder, problem, stop_at=None):
    """Whether it ended, the steps that were shown and the variances that were recorded."""
    workdir = Workdir(folder, {})
    request = Request(stop_at)
    display = Shown(request)
    finished = measuring.measure(TRAJECTORY, problem, workdir, display, request)
    assert measuring.is_finished(TRAJECTORY, workdir) == finished
    workdir.close()
    records = workdir.variances.read()
    return finished, display.steps, {r["step"]: r["estimators"] for r in records}


def test_a_stopped_trajectory_continues_to_the_same_numbers(problem, tmp_path):
    finished, steps, expected = measure(tmp_path / "alone", problem)
    assert finished
    assert steps == list(range(1, 13))
    assert list(expected) == [2, 4, 6, 8, 10, 12]
    assert list(expected[2]) == NAMES

    finished, steps, found = measure(tmp_path / "stopped", problem, stop_at=7)
    assert not finished
    assert steps == list(range(1, 8))
    assert list(found) == [2, 4, 6]
    finished, steps, found = measure(tmp_path / "stopped", problem)
    assert finished
    assert steps == list(range(5, 13))  # from the beginning of its stage
    assert found == expected
    assert not list((tmp_path / "stopped" / "checkpoints").glob("*/*"))


def test_what_is_measured(problem, tmp_path):
    _, _, found = measure(tmp_path, problem)
    for values in found.values():
        variances = {name: values[name]["average_variance"] for name in NAMES}
        assert variances["SG-128"] == pytest.approx(variances["SG-64"] / 2)
        assert 0 < variances["strata-64"] < variances["SG-64"]
        assert 0 < variances["GC-64"] < 0.6 * variances["SG-64"]
    # The snapshot of a stage is still in use at its end, the next one two steps later.
    aged = [found[step]["SVRG-64"]["average_variance"] for step in (2, 4, 6)]
    assert aged[0] < aged[1] > aged[2] > 0


def test_strata_share_the_batch(problem):
    (strata,) = [
        estimator
        for estimator, _ in measuring.estimators_of(TRAJECTORY, problem)
        if estimator.name == "strata-64"
    ]
    shares = strata.samples_per_cluster
    assert shares.sum() == TRAJECTORY.batch_size
    assert np.abs(shares - TRAJECTORY.batch_size * problem.probabilities).max() < 1


def test_the_weights_are_those_of_plain_training(problem, tmp_path, monkeypatch):
    """The batches cover the data once an epoch, and nothing but SGD happens to the weights."""
    trained = []
    compared = [measuring.Compared(MiniBatch(64), trained.append)]
    monkeypatch.setattr(measuring, "estimators_of", lambda *arguments: compared)
    batches = []
    make = measuring._batches
    monkeypatch.setattr(
        measuring,
        "_batches",
        lambda *arguments: batches.append(make(*arguments)) or batches[-1],
    )
    measure(tmp_path, problem)
    keras.utils.set_random_seed(TRAJECTORY.seed)
    plain = problem.build_model()
    plain.compile(keras.optimizers.SGD(0.05, 0.5), problem.loss)
    seen = [batch for stage in batches for batch in stage]
    for batch in seen:
        plain.train_on_batch(*batch)
    for ours, theirs in zip(trained[-1].get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    rows = np.concatenate([batch[0] for batch in seen]).reshape(12 * 64, -1)
    assert len(np.unique(rows, axis=0)) > 0.98 * len(rows)  # a few digits are drawn alike


def test_coupled_weight_decay_is_a_penalty_of_half_its_squared_norm():
    keras.utils.set_random_seed(0)
    model = mlp((3,), 2, [4], l2=0.1)
    norm = sum(np.square(weight).sum() for weight in model.get_weights())
    assert float(sum(model.losses)) == pytest.approx(0.1 / 2 * norm)
    assert not mlp((3,), 2, [4]).losses


def records():
    """Four measurements; SVRG first has twice the variance, then a quarter."""
    found = []
    for place, step in enumerate((10, 20, 30, 40)):
        unit = 8.0 / (place + 1)
        factors = {"SG-4": 1.0, "SG-8": 0.5, "SVRG-4": 2.0 if place < 2 else 0.25}
        estimators = {
            name: {
                "average_variance": factor * unit,
                "normalized_variance": 0.2 * (place + 1) * factor / 2,
                "noise_scale": 100.0 * (place + 1),
            }
            for name, factor in factors.items()
        }
        seconds = {"training_seconds": 3.0 * place, "measuring_seconds": 2.0 * place}
        found.append({"step": step, "estimators": estimators, **seconds})
    return found


def test_findings():
    assert study_report.findings(records()) == [
        "Variance in units of that of SG-4, at the same weights, in the second half: SG-8 0.50, "
        "SVRG-4 0.25.",
        "SVRG-4 has more variance than SG-4 at 2 of 4 measurements, up to 2.0 times of it, the "
        "last time at step 20.",
        "From step 10 to step 40 the normalized variance of SG-4 goes from 0.10 to 0.40, and the "
        "noise scale, the batch size at which noise and signal are equal, from 100 to 400 "
        "examples.",
    ]


def test_table():
    headings, cells = study_report.table(records())
    assert headings[1] == "average variance, step 40"
    assert cells[0] == ["SG-4", "2", "0.400", "1.00", "1.00", "1.00"]
    assert cells[2] == ["SVRG-4", "0.5", "0.100", "0.25", "0.25", "2.00"]


def test_the_numbers_lie_beside_the_pictures(tmp_path):
    pictures = study_report.pictures(records(), tmp_path)
    assert [p.name for p in pictures] == [
        "gradient_average_variance",
        "gradient_normalized_variance",
    ]
    with open(tmp_path / "gradient_average_variance.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[2] == {"step": "10", "estimator": "SVRG-4", "average_variance": "16.0"}


def test_the_section_of_a_comparison(tmp_path):
    experiment = dataclasses.replace(synthetic.EXPERIMENT, gradient_variance=TRAJECTORY)
    workdir = Workdir(tmp_path, {})
    loaded = configs.Loaded("made_up", experiment, "Text.")
    heading = "Gradient variance along one trajectory"
    assert heading not in report.write(loaded, "Digits.", workdir).read_text()  # not yet measured
    for record in records():
        workdir.variances.append(record)
    page = report.write(loaded, "Digits.", workdir).read_text()
    assert heading in page
    assert "python -m keras_apps.study --config made_up" in page
    assert "SVRG-4 has more variance than SG-4" in page
    quick = dataclasses.replace(loaded, name="mnist5k_mlp:quick")
    page = report.write(quick, "Digits.", workdir).read_text()
    assert heading in page
    assert "has more variance" not in page
    without = dataclasses.replace(loaded, config=synthetic.EXPERIMENT)
    assert heading not in report.write(without, "Digits.", workdir).read_text()
    workdir.close()


def test_the_code_in_the_section_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(compile(study_report.SNIPPET, "snippet", "exec"), namespace)
    assert [r["step"] for r in RecordFile("variance.jsonl").read()] == [20, 40, 60]


@pytest.mark.slow
def test_the_command_line(tmp_path, capsys):
    arguments = ["--config", "mnist5k_mlp:quick", "--workdir", str(tmp_path / "run")]
    assert study.main(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "strata-128" in said
    page = (tmp_path / "run" / "report.html").read_text()
    for text in ("Gradient variance along one trajectory", "Training took", "mnist5k_mlp:quick"):
        assert text in page
    for text in (said, page):
        assert "This was a smoke test" in text
        for claim in ("in units of that of", "has more variance", "the normalized variance of SG"):
            assert claim not in text
    records = RecordFile(tmp_path / "run" / "variances.jsonl").read()
    assert [record["step"] for record in records] == [2, 4, 6, 8]
    assert study.main(arguments) == 0  # measures nothing more
    assert RecordFile(tmp_path / "run" / "variances.jsonl").read() == records
    assert (tmp_path / "run" / "report.html").read_text() == page


def test_the_trajectory_of_an_experiment_is_a_study():
    experiment = configs.load("mnist5k_classes:demo").config
    adapted = study.study_of(experiment)
    assert adapted.trajectory is experiment.gradient_variance
    assert adapted.problem is experiment.problem


def test_an_experiment_without_a_trajectory_is_no_study(capsys, tmp_path):
    with pytest.raises(SystemExit):
        study.main(["--config", "digits_classes", "--workdir", str(tmp_path / "run")])
    error = capsys.readouterr().err.replace("\n", " ")
    assert "must be one of ['mnist5k_mlp'], or a file whose functions return `Study`" in error
    assert configs.names(Study) == ["mnist5k_mlp"]
    assert "mnist5k_mlp" not in configs.names(Experiment)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "must be at least 1. Received"),
        ({"steps": 10}, "In `trajectory`, `steps` must be a multiple of `refresh_every`"),
        ({"measure_every": 3}, "`steps` must be a multiple of `refresh_every`"),
    ],
)
def test_steps_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        Study("A study", Classification(), dataclasses.replace(TRAJECTORY, **fields)).check()


def test_a_batch_larger_than_the_data(problem):
    trajectory = dataclasses.replace(TRAJECTORY, batch_size=5000)
    with pytest.raises(ValueError, match=r"`batch_size` must be at most .*, 1438\."):
        measuring.estimators_of(trajectory, problem)
