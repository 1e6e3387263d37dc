"""Pictures of a trajectory: what is drawn where, and the numbers beside it."""

import csv

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_apps.experiments.trajectory import Trajectory
from keras_apps.reporting.trajectory_findings import (
    phases,
    sentences_on_losses,
    sentences_on_rates,
)
from keras_apps.reporting.trajectory_pictures import (
    colors_of,
    numbers_of,
    plot_losses,
    plot_variances,
    rolling,
    trajectory_pictures,
)
from tests.keras_apps.reporting.test_trajectory_report import records

TRAJECTORY = Trajectory(
    learning_rate=0.5,
    batch_size=4,
    steps=40,
    measure_every=10,
    refresh_every=20,
    first_snapshot=3,
    drops=(20, 30),
)


def whole_records():
    """With losses, and with the published statistic at every other measurement."""
    found = []
    for place, record in enumerate(records()):
        values = {"training_loss": 1.0 / (place + 1), "test_loss": 2.0, "learning_rate": 0.5}
        accuracies = {"training_accuracy": 0.5 + place / 10, "test_accuracy": 0.25}
        published = {"published": record["estimators"]} if place % 2 else {}
        found.append(record | values | accuracies | published | {"seed": 7})
    return found


def drawn(plot, *arguments):
    ax = Figure().subplots()
    assert plot(TRAJECTORY, *arguments, ax) is ax
    return ax


def test_old_records_have_two_pictures(tmp_path):
    found = trajectory_pictures(TRAJECTORY, records(), tmp_path)
    assert [picture.name for picture in found] == [
        "gradient_average_variance",
        "gradient_normalized_variance",
    ]
    with open(tmp_path / "gradient_average_variance.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[2] == {"step": "10", "estimator": "SVRG-4", "average_variance": "16.0"}


def test_all_pictures_and_their_numbers(tmp_path):
    found = trajectory_pictures(TRAJECTORY, whole_records(), tmp_path)
    assert [picture.name for picture in found] == [
        "gradient_average_variance",
        "gradient_normalized_variance",
        "published_average_variance",
        "published_normalized_variance",
        "losses",
    ]
    with open(tmp_path / "published_normalized_variance.csv") as file:
        assert {row["step"] for row in csv.DictReader(file)} == {"20", "40"}
    with open(tmp_path / "losses.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[3]["training_loss"] == "0.25"
    assert {row["seed"] for row in rows} == {"7"}


def test_standard_errors_lie_beside_what_they_are_of():
    (record, *_) = records()
    record["estimators"]["SG-4"]["standard_error"] = 0.5
    rows = numbers_of([record], "average_variance")
    assert [row.get("standard_error") for row in rows] == [0.5, None, None]
    assert "standard_error" not in numbers_of([record], "normalized_variance")[0]


def test_refreshes_and_drops_are_marked():
    ax = drawn(plot_variances, records(), "average_variance")
    (ticks,) = [line for line in ax.lines if line.get_label() == "snapshot and clustering"]
    np.testing.assert_array_equal(ticks.get_xdata(), [3, 20])
    dotted = [line for line in ax.lines if len(line.get_xdata()) == 2 and
              line.get_xdata()[0] == line.get_xdata()[1]]  # fmt: skip
    assert [line.get_xdata()[0] for line in dotted] == [20, 30]
    labels = ax.get_legend_handles_labels()[1]
    assert labels == ["SG-4", "SG-8", "SVRG-4", "snapshot and clustering", "learning rate drops"]
    assert ax.get_yscale() == "log"


def test_an_estimator_beyond_the_palette_is_grey():
    many = [{"step": 1, "estimators": {f"SG-{size}": {} for size in range(8)}}]
    colors = colors_of(many)
    assert len(set(colors.values())) == 8
    assert colors["SG-7"] == "#999999"


def test_raw_points_smoothed_line_and_shade():
    ax = drawn(plot_variances, records(), "average_variance")
    points, line = ax.lines[0], ax.lines[1]
    np.testing.assert_allclose(points.get_ydata(), [8, 4, 8 / 3, 2])
    expected = [8, (8 * 4 * 8 / 3) ** (1 / 3), (4 * 8 / 3 * 2) ** (1 / 3), 2]
    np.testing.assert_allclose(line.get_ydata(), expected)
    # The line of SVRG begins anew after the snapshot at step 20.
    assert len(ax.collections) == 4
    parts = [list(own.get_xdata()) for own in ax.lines if own.get_color() == "#009E73"]
    assert parts == [[10, 20], [10, 20], [30, 40], [30, 40]]


@pytest.mark.parametrize(("factor", "top"), [(1.0, 1.03), (3.0, 1.26), (30.0, None)])
def test_the_normalized_variance_has_a_linear_axis(factor, top):
    found = records()
    for record in found:
        for values in record["estimators"].values():
            values["normalized_variance"] *= factor
    ax = drawn(plot_variances, found, "normalized_variance")
    assert ax.get_yscale() == ("linear" if top else "log")
    if top is None:
        return
    low, high = ax.get_ylim()
    assert low == 0
    assert high == pytest.approx(top)


def test_losses():
    ax = drawn(plot_losses, whole_records())
    assert ax.get_legend_handles_labels()[1][:2] == ["training loss", "test loss"]


def test_rolling_by_hand():
    points = [(step, 10.0**step) for step in range(5)]
    steps, means, factors = rolling([*points, (5, 0.0), (6, np.nan)])
    np.testing.assert_array_equal(steps, range(5))
    np.testing.assert_allclose(means, 10.0 ** np.arange(5))
    inside = np.exp(np.log(10) * np.sqrt(2 / 3))
    np.testing.assert_allclose(factors, [1, inside, inside, inside, 1])


def test_seeds_at_a_step_are_averaged():
    _, means, factors = rolling([(1, 1.0), (1, 100.0)])
    np.testing.assert_allclose([means[0], factors[0]], [10.0, 10.0])


def test_phases_of_the_learning_rate():
    found = phases(TRAJECTORY, records())
    assert [(round(rate, 6), [r["step"] for r in own]) for rate, own in found.items()] == [
        (0.5, [10, 20]),
        (0.05, [30]),
        (0.005, [40]),
    ]
    assert sentences_on_rates(TRAJECTORY, records()) == [
        "Median variance of SG-4 by learning rate, normalized in brackets: 6 (0.15) at 0.5, 2.67 "
        "(0.30) at 0.05, 2 (0.40) at 0.005."
    ]
    assert sentences_on_rates(Trajectory(), records()) == []


def test_where_training_ends():
    (sentence,) = sentences_on_losses(whole_records())
    assert sentence.startswith("At step 40 the training loss is 0.25, the accuracy 80.0")
    assert sentences_on_losses(records()) == []
