"""Figures draw every seed, its mean, and leave matplotlib as it was."""

import csv
import dataclasses

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_apps.reporting.comparison_pictures import comparison_pictures, variance_pictures
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.curves_over_steps import plot_values, plot_variances
from keras_apps.reporting.step_axes import set_log_axis
from tests.keras_apps.synthetic import EXPERIMENT, OPTIMIZERS, loss, records

STATE = dict(matplotlib.rcParams)
RESULTS = Results.of(records(), EXPERIMENT)
ARMS = [arm for arm in RESULTS.arms if arm.groups == 1]


@pytest.fixture
def ax():
    return Figure().subplots()


def lines(ax, style):
    return [line for line in ax.lines if line.get_linestyle() in style]


def test_curves_are_means_over_seeds_and_points_are_seeds(ax):
    assert plot_values(RESULTS, ax, arms=ARMS[:1], value="training_loss") is ax
    mean, points = ax.lines
    steps = np.arange(100, 601, 100)
    expected = [[loss("SGD", 1, seed, step) for seed in (0, 1)] for step in steps]
    np.testing.assert_allclose(mean.get_xdata(), steps)
    np.testing.assert_allclose(mean.get_ydata(), np.mean(expected, axis=1))
    np.testing.assert_allclose(points.get_xdata(), np.repeat(steps, 2))
    np.testing.assert_allclose(points.get_ydata(), np.ravel(expected))
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "training loss (nats)"
    assert len(ax.collections) == 1


def test_accuracies_are_percent_on_a_linear_axis(ax):
    plot_values(RESULTS, ax, arms=ARMS[:1], value="test_accuracy", seeds=False)
    (mean,) = ax.lines
    np.testing.assert_allclose(mean.get_ydata(), 90.5)
    assert ax.get_yscale() == "linear"


def test_a_pair_shares_its_hue_and_differs_in_its_line(ax):
    plot_values(RESULTS, ax, arms=ARMS, value="training_loss", seeds=False)
    drawn = {line.get_label(): line for line in ax.lines}
    assert drawn["SGD"].get_color() == drawn["Discover"].get_color()
    assert drawn["Adam"].get_color() == drawn["DiscoverOver(Adam)"].get_color()
    assert len({line.get_color() for line in ax.lines}) == 3
    assert drawn["Discover"].get_linestyle() == "-"
    assert drawn["SGD"].get_linestyle() == "--"


def test_variances(ax):
    plot_variances(RESULTS, ax, arms=ARMS[:4])
    labels = [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]
    assert labels == [
        "SGD: no buffer",
        "Momentum: one buffer for all",
        "Discover: a buffer for each",
        "Discover: left in the step",
    ]
    assert ax.get_yscale() == "log"


def test_the_numbers_lie_beside_the_picture(tmp_path):
    pictures = comparison_pictures(RESULTS, 1, tmp_path)
    assert {picture.name for picture in pictures} >= {
        "training_loss-C1",
        "test_accuracy-C1",
        "training_loss-C1-SGD",
        "training_loss-C1-Adam",
    }
    for picture in pictures:
        assert picture.svg.lstrip().startswith("<?xml")
        for ending in ("png", "svg", "csv"):
            assert (tmp_path / f"{picture.name}.{ending}").stat().st_size > 0
    with open(tmp_path / "training_loss-C1-SGD.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["optimizer"] for row in rows] == ["SGD"] * 6 + ["Discover"] * 6
    assert float(rows[0]["seed_1"]) == pytest.approx(loss("SGD", 1, 1, 100))
    assert float(rows[0]["mean"]) == pytest.approx(1.05 * loss("SGD", 1, 0, 100))


def test_a_single_family_is_drawn_once(tmp_path):
    pair = dataclasses.replace(EXPERIMENT, optimizers=(OPTIMIZERS[0], OPTIMIZERS[3]))
    pictures = comparison_pictures(Results.of(records(), pair), 1, tmp_path)
    assert [p.name for p in pictures] == ["training_loss-C1-SGD", "test_accuracy-C1-SGD"]


def test_short_numbers_on_log_axes_are_plain(ax):
    """2.2 and not 2.2 x 10^0; numbers with many zeros stay powers of ten."""
    low = [
        {**r, "training_loss": 1e-6 * r["training_loss"]} if "step" in r else r for r in records()
    ]
    for results, label in ((RESULTS, "1"), (Results.of(low, EXPERIMENT), "$")):
        ax.clear()
        plot_values(results, ax, arms=results.arms[:1], value="training_loss")
        ax.figure.draw_without_rendering()
        shown = [tick.get_text() for tick in ax.get_yticklabels() if tick.get_text()]
        assert any(text.startswith(label) for text in shown), shown
        assert any("$" in text for text in shown) == (label == "$")


def test_numbers_between_the_decades_are_plain(ax):
    ax.plot([0.3, 4.8])
    set_log_axis(ax)
    ax.figure.draw_without_rendering()
    shown = [tick.get_text() for tick in ax.get_yticklabels(which="minor") if tick.get_text()]
    assert "0.6" in shown
    assert not any("e" in text for text in shown), shown


def test_the_same_records_give_the_same_picture(tmp_path):
    first, second = (variance_pictures(RESULTS, tmp_path) for _ in range(2))
    assert [picture.svg for picture in first] == [picture.svg for picture in second]
    assert len(first) == 2


def test_matplotlib_is_left_as_it_was(tmp_path):
    variance_pictures(RESULTS, tmp_path)
    assert dict(matplotlib.rcParams) == STATE
