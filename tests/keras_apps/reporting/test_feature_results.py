"""Summaries of the end of a run, choices of runs, the report and its pictures."""

import csv
import dataclasses

import pytest

from keras_apps.experiments.feature_grid import GC, GC_PAPER, SG, SVRG_NAME
from keras_apps.reporting import feature_pictures
from keras_apps.reporting.feature_pictures import Line, Panel
from keras_apps.reporting.feature_report import feature_report
from keras_apps.reporting.feature_results import (
    FRESH,
    PUBLISHED,
    Middle,
    by_ratio,
    chosen,
    shares,
    summary,
    summary_rows,
    values_of,
)
from keras_apps.reporting.pictures import Picture
from keras_apps.running.configurations import Loaded
from tests.keras_apps.reporting.feature_records import GRID, record, records
from tf_gradvar.pages import page


def test_the_last_70_percent():
    run = GRID.runs()[0]  # ratio 0.5, rate 0.1: 20 / step
    own = record(run)
    assert summary(own, SG, "average_variance", "max") == pytest.approx(20 / 4)
    mean = sum(20 / step for step in range(4, 11)) / 7
    assert summary(own, SG, "average_variance", "mean") == pytest.approx(mean)
    published = summary(own, SG, "average_variance", part=PUBLISHED)
    assert published == pytest.approx(1.1 * 20 / 4)
    assert shares(own, GC, SG) == pytest.approx([0.3] * 7)
    assert shares(own, GC, SG, FRESH) == pytest.approx([0.15] * 2)


def test_runs_are_chosen_and_joined():
    found = records()
    assert values_of(found, "learning_rate") == [0.1, 0.01]
    own = chosen(found, learning_rate=0.1, teacher_features=10)
    assert len(own) == 4
    middles = by_ratio(own, SG, "average_variance", "max")
    assert list(middles) == [0.5, 1.0]
    assert middles[1.0] == pytest.approx((2.625, 2.5, 2.75))
    assert Middle.of([3.0, 1.0, 7.0]) == (3, 1, 7)


def test_rows_of_the_summary():
    rows = list(summary_rows(records()))
    assert len(rows) == 16 * 5
    first = rows[0]
    assert (first["estimator"], first["learning_rate"], first["seed"]) == (SG, 0.1, 0)
    assert first["max_average_variance"] == "5"
    assert first["published_mean_normalized_variance"] == "1.1"
    assert "published_max_average_variance" not in rows[2]
    assert rows[2]["estimator"] == SVRG_NAME


@pytest.fixture
def named(monkeypatch):
    """The names of pictures, none of which is drawn."""
    found = set()

    def draw(name, caption, *arguments):
        found.add(name)
        return Picture(name, "<svg/>", caption)

    monkeypatch.setattr(feature_pictures.pictures, "draw", draw)
    return found


@pytest.mark.parametrize("duplicates", [(0.0,), (0.1, 0.5)])
def test_the_page(duplicates, tmp_path, named):
    grid = dataclasses.replace(GRID, duplicates=duplicates)
    shown = page(feature_report(Loaded("made_up", grid, "Words."), records(grid), tmp_path))
    for text in (
        "A &lt;made-up&gt; grid",
        "N from 10 to 20",
        "GC 0.30 (from 0.3 to 0.3; below SG-2B in 100 % of the measurements), right after a",
        "The largest exact normalized variance of SG-B is 0.900; it cannot be above 1. The "
        "statistic of the published figures reaches 1.100.",
    ):
        assert text in shown
    assert ("with 50 % duplicates" in shown) == any(duplicates)
    assert {"learning_rates-max", "widths-max-lr0.1", "normalized-exact-and-published"} <= named
    copies = "-50percent" if any(duplicates) else ""
    assert f"estimators-max-lr0.1{copies}" in named
    assert ("single-max-lr0.01-inputs10-teacher20" in named) != any(duplicates)


def test_the_terminal_shows_medians_alone(tmp_path, named):
    table = feature_report(Loaded("made_up", GRID, "Words."), records(), tmp_path).table
    assert table.cells[0] == ["0 %", "0.5", "0.50", "0.20", "0.30", "0.60", "0.15", "0.30"]
    assert table.only_on_page == [f"fresh {GC}", f"fresh {GC_PAPER}"]


def test_a_smoke_test_finds_nothing(tmp_path, named):
    report = feature_report(Loaded("random_features:quick", GRID, "Words."), records(), tmp_path)
    assert report.findings[1] == (
        "python -m keras_apps.random_features --config random_features "
        "--workdir runs/random_features"
    )


def test_a_picture_has_its_numbers_beside_it(tmp_path):
    picture = feature_pictures.of_learning_rates(records(), "max", tmp_path)
    with open(tmp_path / f"{picture.name}.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2
    (row,) = [
        row
        for row in rows
        if row["line"] == "learning rate 0.1"
        and row["statistic"] == "average_variance"
        and row["ratio"] == "1.0"
    ]
    found = [float(row[name]) for name in ("median", "lowest", "highest")]
    assert found == pytest.approx([2.625, 2.5, 2.75])


def test_lines_are_where_their_numbers_are(tmp_path):
    """On both panels; the normalized variance is not cut off where a statistic is above 1."""
    seen = []

    def remembered(name, caption, folder, plot, numbers, height, panels):
        figure = feature_pictures.pictures.Figure()
        axes = figure.subplots(1, panels)
        plot(axes)
        seen.append(axes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_pictures.pictures, "draw", remembered)
        lines = [Line("one", records()), Line("two", records(), SG, PUBLISHED)]
        panels = [Panel("average_variance", "max"), Panel("normalized_variance", "max")]
        feature_pictures._draw("name", "caption", tmp_path, lines, panels)
    left, right = seen[0]
    assert (left.get_yscale(), right.get_yscale()) == ("log", "linear")
    assert right.get_ylim()[1] > 1.1
    shown = right.containers[1].lines[0].get_xydata()
    assert shown[:, 1] == pytest.approx([1.1, 1.1])
    assert shown[:, 0] == pytest.approx([0.5, 1.0], rel=0.05)
