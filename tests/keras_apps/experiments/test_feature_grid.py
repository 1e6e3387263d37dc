"""The runs of a grid, and what it refuses."""

import dataclasses
import itertools

import pytest

from keras_apps.experiments.feature_grid import FeatureGrid
from keras_apps.running import configurations


def test_the_grid_of_the_paper():
    grid = configurations.load("random_features:paper").config
    runs = grid.runs()
    assert len(runs) == len({run.name for run in runs}) == 9 * 3 * 2 * 2 * 3
    assert {run.problem.examples for run in runs} == {
        10000, 2000, 1000, 667, 500, 400, 333, 200, 100,
    }  # fmt: skip
    assert {run.problem.input_size for run in runs} == {100, 10000}
    assert {run.problem.teacher_features for run in runs} == {100, 10000}
    assert {run.problem.student_features for run in runs} == {1000}
    # Those of one training set stand in a row.
    changes = sum(one.problem != two.problem for one, two in itertools.pairwise(runs))
    assert changes == len(runs) / 3 - 1


def test_the_grid_with_duplicates():
    runs = configurations.load("random_features:duplicates").config.runs()
    assert len(runs) == len({run.name for run in runs}) == 9 * 3 * 2 * 2 * 3
    assert {run.problem.duplicates for run in runs} == {0.1, 0.5, 0.9}
    assert "-50percent-seed0-lr0.01" in runs[-1].name.replace("seed2", "seed0").replace("90", "50")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "`paper_passes` must be at least 1. Received: batch_size=10, steps=0"),
        ({"steps": 5500}, "`steps` must be a multiple of `refresh_every` and `draw_every`"),
        ({"measure_every": 300}, "and these of `measure_every`"),
        ({"draw_every": 150}, "and these of `measure_every`"),
        ({"draw_every": 1500}, "and `draw_every`"),
        ({"seeds": ()}, r"`seeds` must hold at least one value. Received: seeds=\(\)"),
        ({"ratios": (1.0, 200.0)}, "`ratios` must leave at least `batch_size` examples"),
        ({"ratios": (0.0, 1.0)}, r"Received: ratios=\(0.0, 1.0\)"),
        ({"duplicates": (1.0,)}, "`duplicates` must be shares from 0 to below 1"),
        ({"duplicates": ()}, "at least one. Received"),
    ],
)
def test_what_is_refused(fields, message):
    grid = dataclasses.replace(FeatureGrid("A grid"), **fields)
    with pytest.raises(ValueError, match=message):
        grid.check()
