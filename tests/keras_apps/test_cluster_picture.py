"""The picture of clusters in the plane: what is in it, and where its boundaries come from."""

import csv
import dataclasses
import re

import numpy as np
import pytest

from keras_apps import cluster_picture
from keras_apps.reporting.plane_report import legend_handles, sentences, turns_table
from keras_apps.running import configurations as configs
from keras_apps.running.devices import Devices
from keras_apps.running.plane_clustering import Found, find


@pytest.fixture(scope="module")
def drawn():
    config = configs.load("gc_figure_1").config
    problem = cluster_picture.prepare(config, Devices())
    return config, problem, find(config, problem, config.steps)


def test_gradients_and_boundaries_by_hand(drawn):
    config, problem, found = drawn
    inputs = np.column_stack([problem.x, np.ones(len(problem.x))]).astype("float64")
    probability = 1 / (1 + np.exp(-inputs @ found.weights))
    expected = (probability - problem.y[:, 0])[:, None] * inputs
    np.testing.assert_allclose(found.gradients, expected, atol=1e-5)
    for cluster in range(config.num_clusters):
        mean = expected[found.assignments == cluster].mean(axis=0)
        moved = found.moved(cluster, config.step_size)
        np.testing.assert_allclose(moved, found.weights - config.step_size * mean, atol=1e-5)


def test_what_figure_1_shows(drawn):
    """Separable classes, clusters across them, and boundaries that turn in different ways."""
    config, problem, found = drawn
    assert problem.x[problem.y[:, 0] == 0, 1].max() < problem.x[problem.y[:, 0] == 1, 1].min()
    assert np.bincount(found.assignments).min() > 0
    cells = turns_table(found, problem, config.step_size).cells
    assert len(cells) == config.num_clusters == 4
    assert any(int(o) > 0 and int(x) > 0 for _, o, x, *_ in cells)
    turns = [float(row[-1].rstrip("°")) for row in cells]
    assert max(turns) - min(turns) > 10
    assert found.variance_ratio < 0.5
    assert found.within_share(found.gradients) < found.within_share(problem.x) / 2


def test_share_within_clusters():
    found = Found(0, np.zeros(3), np.zeros((4, 3)), np.array([0, 0, 1, 1]), 1.0)
    assert found.within_share(np.array([[0.0], [2.0], [4.0], [6.0]])) == pytest.approx(4 / 20)


def test_quick_run_writes_picture_numbers_and_page(tmp_path, capsys):
    arguments = ["--config", "gc_figure_1:quick", "--workdir", str(tmp_path / "run")]
    assert cluster_picture.main(arguments) == 0
    shown = capsys.readouterr().out
    # The command and the path stay whole, to be copied.
    *_, command, report = shown.splitlines()
    assert command == (
        "python -m keras_apps.cluster_picture --config gc_figure_1 --workdir runs/gc_figure_1"
    )
    assert report == f"Report: {tmp_path / 'run' / 'report.html'}"
    said = " ".join(shown.split())
    assert "This was a smoke test" in said
    assert (tmp_path / "run" / "figures" / "clusters.png").stat().st_size > 1000
    with open(tmp_path / "run" / "figures" / "clusters.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["what"] for row in rows].count("point") == 20
    assert (tmp_path / "run" / "figures" / "clusters-0.png").exists()
    assert [row["cluster"] for row in rows if row["what"] == "boundary"] == ["now", *"0123"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<h1>Smoke test: Clusters of gradients in the plane</h1>" in page
    # No conclusion; the configuration's own words, on the page, tell of the full run.
    conclusion = "of the variance of a plain batch"
    assert conclusion not in said
    words = " ".join(configs.load("gc_figure_1:quick").text.split())
    assert " ".join(page.split()).count(conclusion) == words.count(conclusion)
    assert "turns the boundary by" in page


@pytest.mark.parametrize("count", [0, 9])
def test_as_many_clusters_as_colours(count):
    config = configs.load("gc_figure_1").config
    with pytest.raises(ValueError, match="`num_clusters` must be from 1 to 8"):
        cluster_picture.prepare(dataclasses.replace(config, num_clusters=count), Devices())


@pytest.mark.parametrize("change", ["steps=-1", "moments=3,-2"])
def test_steps_before_the_first(change):
    with pytest.raises(ValueError, match="`steps` and `moments` must be numbers of steps from 0"):
        configs.load("gc_figure_1", [change])


def test_a_moment_more_is_another_boundary(drawn):
    config, problem, found = drawn
    before = find(config, problem, 0)
    np.testing.assert_allclose(before.weights, config.problem.start)
    assert not np.allclose(before.weights, found.weights)


def test_the_legend_names_every_cluster_with_its_members(drawn):
    _, problem, found = drawn
    classes = problem.y[:, 0].astype(int)
    labels = [line.get_label() for line in legend_handles(found, classes)]
    assert labels[:4] == [
        "boundary now", "after a step of one cluster", "class o", "class x",
    ]  # fmt: skip
    counts = [int(number) for label in labels[4:] for number in re.findall(r"(\d+) [ox]", label)]
    assert len(labels) == 4 + 4
    assert sum(counts) == len(problem.x)


def test_what_the_numbers_say(drawn):
    _, problem, found = drawn
    first, second = sentences(found, problem)
    assert f"has {found.variance_ratio:.2f} of the variance of a plain batch of 4" in first
    assert "of the variance of the points themselves" in second
