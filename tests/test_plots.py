"""Figures from records: what they show, their numbers, and that nothing global changes."""

import csv

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from tf_gradvar import plots

STEPS = [0, 100, 200, 300]


def records():
    found = []
    for place, step in enumerate(STEPS):
        values = {"SG-8": 2.0**-place, "SVRG-8": 0.0 if step == 100 else 3.0**-place}
        estimators = {
            name: {
                "average_variance": value,
                "normalized_variance": value / 2,
                "noise_scale": 10.0 + place,
                "per_layer": {
                    "first": {"average_variance": value},
                    "last": {"average_variance": 2 * value},
                },
            }
            for name, value in values.items()
        }
        edges = [-1.0 + 0.125 * (place + i) for i in range(3)]
        histogram = {"log10_norm": edges, "examples": [1.0, 2.0, 1.0], "zeros": [4.0]}
        found.append({"step": step, "estimators": estimators, "norm_histogram": histogram})
    return [{"event": "something else"}, *found[::-1]]


def axes():
    return Figure().subplots()


@pytest.mark.parametrize("value", ["average_variance", "normalized_variance"])
def test_points_and_lines(value):
    ax = plots.plot_variance(records(), axes(), value=value)
    points, line = ax.lines[2:4]
    factor = 1.0 if value == "average_variance" else 0.5
    np.testing.assert_array_equal(points.get_xdata(), STEPS)
    expected = factor * np.array([1, np.nan, 1 / 9, 1 / 27])
    np.testing.assert_allclose(points.get_ydata(), expected)
    assert line.get_label() == "SVRG-8"
    assert ax.get_yscale() == "log"
    assert "variance" in ax.get_ylabel()


def test_one_colour_for_each_estimator_in_all_figures():
    colors = plots.estimator_colors(records())
    for options in ({}, {"value": "normalized_variance"}, {"estimators": ["SVRG-8"]}):
        ax = plots.plot_variance(records(), axes(), **options)
        assert {line.get_color() for line in ax.lines if line.get_label() == "SVRG-8"} == {
            colors["SVRG-8"]
        }
    ax = plots.plot_variance(records(), axes(), colors={"SG-8": "#123456"})
    assert ax.lines[0].get_color() == "#123456"


def test_bars_of_one_standard_error():
    found = records()
    for record in found[1:]:
        record["estimators"]["SG-8"]["standard_error"] = 0.1
    ax = plots.plot_variance(found, axes(), estimators=["SG-8"])
    (segment, *_) = ax.collections[0].get_segments()
    np.testing.assert_allclose(segment[:, 1], [0.9, 1.1])


def test_smoothing_is_a_geometric_mean():
    ax = plots.plot_variance(records(), axes(), estimators=["SG-8"], smoothing=3)
    np.testing.assert_allclose(ax.lines[1].get_ydata()[1:3], [0.5, 0.25])
    np.testing.assert_allclose(plots.smoothed([np.nan, 0.0, np.inf], 1), [np.nan] * 3)
    np.testing.assert_allclose(plots.smoothed([1.0, 100.0, 1.0], 3), [1, 100 ** (1 / 3), 1])
    line = np.exp(np.linspace(0, 3, 7))
    np.testing.assert_allclose(plots.smoothed(line, 5), line)  # at the ends, too


def test_layers():
    ax = plots.plot_layers(records(), axes(), estimator="SVRG-8")
    (mesh,) = ax.collections
    values = mesh.get_array()
    np.testing.assert_allclose(values.filled(np.nan)[1], [2, np.nan, 2 / 9, 2 / 27])
    assert ax.yaxis_inverted()
    assert len(ax.figure.axes) == 2  # with the colour bar
    np.testing.assert_allclose(ax.get_xlim(), (-50, 350))


def test_noise_scale():
    ax = plots.plot_noise_scale(records(), axes())
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [10, 11, 12, 13])
    assert "examples" in ax.get_ylabel()


def test_spectrum_of_norms():
    ax = plots.plot_norm_spectrum(records(), axes())
    values = ax.collections[0].get_array().filled(0.0)
    assert values.shape == (6, 4)
    np.testing.assert_allclose(values.sum(axis=0), 0.5)  # half of the norms are 0
    np.testing.assert_allclose(values[:, 0], [0.125, 0.25, 0.125, 0, 0, 0])
    np.testing.assert_allclose(ax.get_ylim(), (0.1, 10 ** (-1 + 6 / 8)))


def test_numbers_beside_the_picture(tmp_path):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    plots.plot_variance(records(), left)
    plots.plot_norm_spectrum(records(), right)
    numbers = plots.save(figure, tmp_path / "new" / "both.svg")
    assert numbers == tmp_path / "new" / "both.csv"
    assert (tmp_path / "new" / "both.svg").stat().st_size > 0
    with open(numbers, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["panel"] for row in rows} == {"0", "1"}
    zero = [row for row in rows if row["estimator"] == "SVRG-8" and row["step"] == "100"]
    assert float(zero[0]["average_variance"]) == 0.0


def test_nothing_global_changes():
    before = dict(matplotlib.rcParams)
    for plot in (plots.plot_variance, plots.plot_layers, plots.plot_noise_scale):
        plot(records(), axes())
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: plots.plot_variance([], axes()), "`records` must hold at least one measurement"),
        (
            lambda: plots.plot_variance(records(), axes(), value="standard_error"),
            "`records` must hold 'standard_error'",
        ),
        (
            lambda: plots.plot_layers([{"step": 1, "estimators": {"a": {}}}], axes()),
            "`records` must hold the layers of the estimator 'a'",
        ),
        (
            lambda: plots.plot_noise_scale([{"step": 1, "estimators": {"a": {}}}], axes()),
            "`records` must hold a noise scale",
        ),
        (
            lambda: plots.plot_norm_spectrum([{"step": 1, "estimators": {}}], axes()),
            "`records` must hold per-example norms",
        ),
        (lambda: plots.save(Figure(), "nothing.png"), "`figure` must hold a plot"),
        (
            lambda: plots.save(plots.plot_variance(records(), axes()).figure, "numbers.csv"),
            "`path` the name of a picture",
        ),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(ValueError, match=message):
        act()
