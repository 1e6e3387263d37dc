"""The report on a trajectory, alone and as a section of another one."""

import dataclasses

from keras_apps.experiments.trajectory import Trajectory
from keras_apps.reporting.comparison_report import Material, comparison_report
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.trajectory_report import SNIPPET, Measured, how_it_was_measured
from keras_apps.running.configurations import Loaded
from tests.keras_apps import synthetic
from tf_gradvar.pages import page
from tf_gradvar.records import RecordFile


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
    assert Measured.of(records()).findings == [
        "Variance in units of that of SG-4, at the same weights, in the second half: SG-8 0.50, "
        "SVRG-4 0.25.",
        "SVRG-4 has more variance than SG-4 at 2 of 4 measurements, up to 2.0 times of it, the "
        "last time at step 20.",
        "From step 10 to step 40 the normalized variance of SG-4 goes from 0.10 to 0.40, and the "
        "noise scale, the batch size at which noise and signal are equal, from 100 to 400 "
        "examples.",
    ]


def test_table():
    table = Measured.of(records()).table
    cells = table.cells
    assert table.headings[1] == "average variance, step 40"
    assert cells[0] == ["SG-4", "2", "0.400", "1.00", "1.00", "1.00"]
    assert cells[2] == ["SVRG-4", "0.5", "0.100", "0.25", "0.25", "2.00"]


def test_how_it_was_measured():
    text = how_it_was_measured(Trajectory())
    assert "exactly" in text
    for word in ("multiplied", "decay", "trajectories", "statistic"):
        assert word not in text
    text = how_it_was_measured(
        Trajectory(
            drops=(300, 500),
            weight_decay=5e-4,
            repeats=3,
            method="subset",
            subset_size=2048,
            published_every=100,
            num_draws=10,
        )
    )
    for words in (
        "multiplied by 0.1 after the steps 300, 500",
        "weight decay is 0.0005",
        "There are 3 trajectories",
        "gradients of 2,048 random training examples",
        "from 2 x 10 estimates: its expectation is 1.1 times",
    ):
        assert words in text


def test_the_section_of_a_comparison(tmp_path):
    experiment = dataclasses.replace(synthetic.EXPERIMENT, gradient_variance=Trajectory())
    loaded = Loaded("made_up", experiment, "Text.")

    def shown(loaded, variances):
        results = Results.of([], loaded.config)
        return page(comparison_report(Material(loaded, results, variances, "Digits.", tmp_path)))

    heading = "Gradient variance along one trajectory"
    assert heading not in shown(loaded, [])  # not yet measured
    text = shown(loaded, records())
    assert heading in text
    assert "python -m keras_apps.study --config made_up" in text
    assert "SVRG-4 has more variance than SG-4" in text
    text = shown(dataclasses.replace(loaded, name="mnist5k_mlp:quick"), records())
    assert heading in text
    assert "has more variance" not in text
    without = dataclasses.replace(loaded, config=synthetic.EXPERIMENT)
    assert heading not in shown(without, records())


def test_the_code_in_the_section_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(compile(SNIPPET, "snippet", "exec"), namespace)
    assert [r["step"] for r in RecordFile("variance.jsonl").read()] == [20, 40, 60]
