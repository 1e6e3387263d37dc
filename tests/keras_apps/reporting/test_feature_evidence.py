"""Evidences from made-up records of random features models."""

import dataclasses
import math

import pytest

from keras_apps.experiments.feature_grid import GC, GC_PAPER, SG, SG_2B, SVRG_NAME
from keras_apps.reporting.feature_dependences import LowerAt, SharesOfVariation, explained
from keras_apps.reporting.feature_evidence import (
    AtTheSameWeights,
    Compared,
    GainVanishes,
    GapStays,
    NormalizedAboveOne,
)
from keras_apps.reporting.feature_results import EXACT
from keras_apps.reporting.verdicts import FAILS, HOLDS, NOT_RUN, OPEN
from tests.keras_apps.reporting.feature_records import GRID, record, records

NAME = "made:up"
FOUND = {NAME: records()}


def verdicts(evidence, found=FOUND):
    return [row.verdict for row in evidence(found)]


@pytest.mark.parametrize(
    "evidence",
    [
        LowerAt(NAME, "ratio", 1.0, 0.5, "learning_rate"),
        SharesOfVariation(NAME, "seed"),
        Compared(NAME, GC, "below", "learning_rate"),
        AtTheSameWeights(NAME, GC),
        GapStays(NAME, GC),
        NormalizedAboveOne(NAME, 1.0),
        GainVanishes(NAME, SVRG_NAME, 0.9, 1.0),
    ],
    ids=lambda evidence: type(evidence).__name__,
)
def test_what_was_not_run_is_called_so(evidence):
    assert [(row.experiment, row.verdict) for row in evidence({})] == [(NAME, NOT_RUN)]


def test_a_setting_that_lowers_the_variance():
    """It is 1 / (rate * ratio): half at twice the ratio, ten times at a tenth of the rate."""
    rows = LowerAt(NAME, "ratio", 1.0, 0.5, "learning_rate")(FOUND)
    assert [row.verdict for row in rows] == [HOLDS] * 4
    assert rows[0].measured == (
        "learning rate 0.1: variance at h_s / N 1 over that at h_s / N 0.5 0.5 (0.5 to 0.5) on 4 "
        "pairs of runs"
    )
    assert {row.reading for row in rows} == {"exact", "published statistic"}
    rows = LowerAt(NAME, "learning_rate", 0.01, 0.1, "ratio")(FOUND)
    assert [row.verdict for row in rows] == [FAILS] * 4
    assert "10 (10 to 10)" in rows[0].measured


def test_explained_variation():
    """Of four settings that multiply, each explains its part, and the teacher nothing."""
    parts = explained(records(), EXACT)
    squares = {
        "ratio": (math.log(2) / 2) ** 2,
        "learning_rate": (math.log(10) / 2) ** 2,
        "seed": (math.log(1.1) / 2) ** 2,
    }
    for name, square in squares.items():
        assert parts[name] == pytest.approx(square / sum(squares.values()))
    assert parts["teacher_features"] == pytest.approx(0, abs=1e-12)
    assert verdicts(SharesOfVariation(NAME, "teacher_features")) == [HOLDS] * 2
    assert verdicts(SharesOfVariation(NAME, "learning_rate")) == [FAILS] * 2
    (row, _) = SharesOfVariation(NAME, "seed")(FOUND)
    assert "learning rate 92 %" in row.measured


@pytest.mark.parametrize(
    ("share", "between", "below"),
    [(0.6, HOLDS, FAILS), (0.3, FAILS, HOLDS), (1.2, FAILS, FAILS)],
)
def test_between_and_below(share, between, below):
    found = {NAME: records(shares={GC: share})}
    for where, verdict in (("between", between), ("below", below)):
        rows = Compared(NAME, GC, where, "learning_rate")(found)
        assert [row.verdict for row in rows] == [verdict] * 4
    (row, *_) = Compared(NAME, GC, "between", "learning_rate")(found)
    assert row.measured.startswith(
        f"learning rate 0.1: GC over SG-B {share:g} ({share:g} to {share:g}); so in "
    )


def test_half():
    assert verdicts(Compared(NAME, SG_2B, "half", "learning_rate")) == [HOLDS] * 2  # not drawn
    assert verdicts(Compared(NAME, GC, "half", "learning_rate")) == [FAILS] * 4


def test_runs_that_disagree_decide_nothing():
    runs = GRID.runs()
    made = [record(run, shares={GC: 0.3 if run.problem.seed else 0.8}) for run in runs]
    assert verdicts(Compared(NAME, GC, "below", "learning_rate"), {NAME: made}) == [OPEN] * 4


def test_every_measurement_and_fresh_clusters():
    """Right after a clustering the made-up shares are halved: 0.6 becomes 0.3."""
    along, fresh = AtTheSameWeights(NAME, GC_PAPER)(FOUND)
    assert (along.verdict, fresh.verdict) == (HOLDS, FAILS)
    assert "between in 100 % of 112, below SG-2B in 0 %" in along.measured
    assert "between in 0 % of 32, below SG-2B in 100 %" in fresh.measured


@pytest.mark.parametrize(("late", "verdict"), [(0.1, HOLDS), (0.3, HOLDS), (0.9, FAILS)])
def test_a_gap_that_stays(late, verdict):
    grid = dataclasses.replace(GRID, duplicates=(0.5,))
    made = [record(run, shares={GC: late if run.ratio == 1 else 0.3}) for run in grid.runs()]
    (row,) = GapStays(NAME, GC)({NAME: made})
    assert row.verdict == verdict
    assert row.measured.startswith(
        "50 % duplicates: GC over SG-B 0.3 (0.3 to 0.3) at h_s / N = 0.5"
    )


def test_above_one_by_the_published_statistic_alone():
    """Made up: 0.9 exactly, 1.1 as published, at every ratio."""
    assert verdicts(NormalizedAboveOne(NAME, 1.0)) == [FAILS, HOLDS, HOLDS, FAILS]


def test_a_gain_that_vanishes():
    rows = GainVanishes(NAME, SVRG_NAME, 0.9, 1e9)(FOUND)
    assert [row.verdict for row in rows] == [FAILS, HOLDS] * 2
    made = {NAME: records(shares={SVRG_NAME: 0.95})}
    assert verdicts(GainVanishes(NAME, SVRG_NAME, 0.9, 1e-9), made) == [HOLDS, FAILS] * 2
    assert f"{SVRG_NAME} over {SG} 0.2" in rows[0].measured
