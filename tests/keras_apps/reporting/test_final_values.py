"""The picture of the final losses: every seed a dot, the lowest mean above."""

import csv
import dataclasses
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_apps.reporting.comparison_pictures import final_pictures
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.final_values import BEST_RIVAL, COLOURS, plot_finals, sorted_arms
from tests.keras_apps.synthetic import EXPERIMENT, loss, records

RESULTS = Results.of(records(), EXPERIMENT)


@pytest.fixture
def ax():
    return Figure().subplots()


def test_the_lowest_mean_stands_above_and_what_diverged_nowhere():
    names = [arm.optimizer.name for arm in sorted_arms(RESULTS, 1)]
    assert names == ["DiscoverAdam", "Adam", "Momentum", "Discover", "SGD"]
    found = [
        {**r, "training_loss": math.nan} if r["run"] == "Adam-C1-seed1" and "step" in r else r
        for r in records()
    ]
    names = [arm.optimizer.name for arm in sorted_arms(Results.of(found, EXPERIMENT), 1)]
    assert names == ["DiscoverAdam", "Momentum", "Discover", "SGD"]


def test_dots_are_seeds_and_bars_their_mean(ax):
    arms = sorted_arms(RESULTS, 1)
    assert plot_finals(ax, arms=arms) is ax
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        *("DiscoverOver(Adam)", "Adam", "Momentum", "Discover", "SGD")
    ]
    dots, bars, rival = ax.lines[0:10:2], ax.lines[1:10:2], ax.lines[10]
    for row, arm in enumerate(arms):
        losses = [loss(arm.optimizer.name, 1, seed, 600) for seed in (0, 1)]
        np.testing.assert_allclose(dots[row].get_xdata(), losses)
        np.testing.assert_allclose(bars[row].get_xdata(), np.mean(losses))
        assert set(dots[row].get_ydata()) == {row}
        filled = dots[row].get_markerfacecolor() != "white"
        assert filled == (arm.optimizer.name in ("Discover", "DiscoverAdam"))
    np.testing.assert_allclose(rival.get_xdata(), 1.05 * loss("Adam", 1, 0, 600))
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert ax.get_xscale() == "log"


def legend(ax):
    return [text.get_text() for text in ax.figure.legends[0].get_texts()]


def test_colours_are_kinds_of_clusters(ax):
    plot_finals(ax, arms=sorted_arms(RESULTS, 1))
    assert legend(ax) == [BEST_RIVAL]
    kinds = {"SGD": "random", "Discover": "random", "Adam": "gradients"}
    optimizers = tuple(
        dataclasses.replace(o, clusters=kinds.get(o.name)) for o in EXPERIMENT.optimizers
    )
    results = Results.of(records(), dataclasses.replace(EXPERIMENT, optimizers=optimizers))
    arms = sorted_arms(results, 1)
    other = Figure().subplots()
    plot_finals(other, arms=arms)
    assert legend(other) == ["classes", "gradients", "random", BEST_RIVAL]
    colours = [line.get_color() for line in other.lines[0:10:2]]
    assert colours == [COLOURS[arm.optimizer.clusters] for arm in arms]


def test_without_forms_or_without_rivals_no_line(ax):
    rivals = [arm for arm in RESULTS.arms if arm.optimizer.base is None]
    plot_finals(ax, arms=rivals[:2])
    assert len(ax.lines) == 4


def test_a_picture_for_each_number_of_groups(tmp_path):
    pictures = final_pictures(RESULTS, tmp_path)
    assert [picture.name for picture in pictures] == [
        *("final_training_loss-C1", "final_training_loss-C8")
    ]
    with open(tmp_path / "final_training_loss-C1.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["optimizer"] for row in rows][:2] == ["DiscoverAdam", "Adam"]
    assert float(rows[0]["seed_1"]) == pytest.approx(loss("DiscoverAdam", 1, 1, 600))
    only_one = Results.of([r for r in records() if r["groups"] == 1], EXPERIMENT)
    assert len(final_pictures(only_one, tmp_path)) == 1
