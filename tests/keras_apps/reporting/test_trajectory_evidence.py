"""Evidences from made-up measurements along trajectories."""

import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.experiments.variance_study import Study
from keras_apps.reporting import trajectory_evidence as evidence
from keras_apps.reporting.trajectory_values import (
    NORMALIZED,
    VARIANCE,
    Trajectories,
    rank_correlation,
    swings,
)
from keras_apps.reporting.verdicts import FAILS, HOLDS, NOT_HERE, NOT_RUN, OPEN

NAME, OTHER = "made:up", "made:other"
STUDY = Study(
    "A study",
    Classification(),
    Trajectory(batch_size=8, steps=20, measure_every=1, refresh_every=5),
)


def trajectories(variances, losses=None, normalized=0.9, seeds=(0,)):
    """Trajectories of 20 measurements; a variance is a number or a function of the step."""
    found = []
    for seed in seeds:
        for step in range(1, 21):
            values = {
                name: {
                    VARIANCE: value(step) if callable(value) else value,
                    NORMALIZED: normalized(step) if callable(normalized) else normalized,
                }
                for name, value in variances.items()
            }
            record = {"step": step, "seed": seed, "method": "exact", "estimators": values}
            found.append(record | ({} if losses is None else {"training_loss": losses(step)}))
    return Trajectories(STUDY, found)


def verdict(own, made, other=None):
    found = {NAME: made} | ({} if other is None else {OTHER: other})
    (row,) = own(found)
    return row.verdict


def test_estimators_against_each_other():
    made = trajectories({"SG-8": 1.0, "SG-16": 0.5, "GC-8": lambda step: 0.2 if step < 9 else 0.7})
    assert verdict(evidence.Against(NAME, "SG-2B", "SG-B", 0.495, 0.505), made) == HOLDS
    assert verdict(evidence.Against(NAME, "GC", "SG-2B", 0, 1), made) == OPEN
    assert verdict(evidence.Against(NAME, "SG-2B", "SG-B", 0.6, 1), made) == FAILS
    assert verdict(evidence.Against(NAME, "SVRG", "SG-B", 0, 1), made) == NOT_RUN
    (row,) = evidence.Against(NAME, "GC", "SG-2B", 0, 1)({NAME: made})
    assert row.measured == "GC over SG-2B 1.4 (0.4 to 1.4); so in 40 % of 20 measurements"
    assert row.reading == "exact"


def test_where_a_variance_goes():
    made = trajectories({"SG-8": lambda step: 1 / step}, normalized=lambda step: 0.5 + step / 50)
    assert verdict(evidence.Trend(NAME, "SG-B", VARIANCE, "falls"), made) == HOLDS
    assert verdict(evidence.Trend(NAME, "SG-B", VARIANCE, "rises"), made) == FAILS
    assert verdict(evidence.Trend(NAME, "SG-B", VARIANCE, "falls", 0.01), made) == FAILS
    assert verdict(evidence.Trend(NAME, "SG-B", NORMALIZED, "rises"), made) == HOLDS
    assert verdict(evidence.Trend(NAME, "GC", VARIANCE, "falls"), made) == NOT_RUN


def test_after_the_drops(monkeypatch):
    own = evidence.AfterDrops(NAME, VARIANCE)
    made = trajectories({"SG-8": lambda step: 1.0 if step <= 8 else 3.0 if step <= 14 else 2.0})
    assert verdict(own, made) == NOT_RUN  # no drops
    monkeypatch.setattr(evidence, "_drops", lambda study: (8,))
    assert verdict(own, made) == HOLDS
    monkeypatch.setattr(evidence, "_drops", lambda study: (8, 14))
    assert verdict(own, made) == OPEN
    (row,) = own({NAME: made})
    assert row.measured.endswith("before each drop: 3, 0.667")
    monkeypatch.setattr(evidence, "_drops", lambda study: (14,))
    assert verdict(own, made) == FAILS


def test_the_lowest_at_the_end():
    own = evidence.LowestAtTheEnd(NAME, "SVRG", loss=0.1)
    made = trajectories({"SG-8": 1.0, "SVRG-8": 0.1, "GC-8": 0.3}, losses=lambda step: 1 / step)
    assert verdict(own, made) == HOLDS
    made = trajectories({"SG-8": 1.0, "SVRG-8": 0.4, "GC-8": 0.3}, losses=lambda step: 1 / step)
    assert verdict(own, made) == FAILS
    assert (
        verdict(own, trajectories({"SG-8": 1.0, "SVRG-8": 0.4}, losses=lambda step: 1)) == NOT_RUN
    )


def test_what_goes_with_the_speed():
    """The loss falls ever more slowly; the one statistic rises with that, the other wavers."""
    own = evidence.FollowsSpeed(NAME)
    wavering = {"SG-8": lambda step: 1.0 + step % 7 + step / 100}
    made = trajectories(wavering, lambda step: 1 / step, lambda step: step / 30)
    assert verdict(own, made) == HOLDS
    made = trajectories({"SG-8": lambda step: step}, lambda step: 1 / step, lambda step: -step)
    assert verdict(own, made) == FAILS
    assert verdict(own, trajectories({"SG-8": 1.0})) == NOT_RUN


def test_fluctuations_that_end():
    own = evidence.Calmer(NAME, OTHER)
    calm = trajectories({"SG-8": 1.0, "GC-8": 0.4})
    wild = trajectories({"SG-8": 1.0, "GC-8": lambda step: 4.0 if step % 5 == 3 else 0.4})
    milder = trajectories({"SG-8": 1.0, "GC-8": lambda step: 3.0 if step % 5 == 3 else 0.4})
    assert verdict(own, wild, calm) == HOLDS
    assert verdict(own, wild, milder) == OPEN
    assert verdict(own, wild, wild) == FAILS
    assert verdict(own, calm, wild) == NOT_HERE
    # 10 times, 5 times and 1.4 times
    wild, milder, mildest = (
        trajectories({"SG-8": 1.0, "GC-8": lambda step, high=high: high if step % 5 == 3 else 0.4})
        for high in (4.0, 2.0, 0.56)
    )
    assert verdict(own, wild, milder) == HOLDS
    ending = evidence.Calmer(NAME, OTHER, ends=True)
    assert verdict(ending, wild, milder) == OPEN
    assert verdict(ending, wild, mildest) == HOLDS
    assert verdict(ending, wild, wild) == FAILS
    assert verdict(own, wild) == NOT_RUN


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([0.4] * 5, 1.0),
        ([1.0, 2.0, 8.0, 3.0, 4.0], 8 / 3),
        ([2.0, 8.0, 1.0, 8.0, 4.0], 4.0),
        ([0.1, 0.2, 0.4, 0.6, 0.8], 1.0),
        ([5.0, 4.0, 1.0, 4.0, 5.0], 1.0),
    ],
    ids=["level", "one hill", "two hills", "rising", "a valley"],
)
def test_fluctuations_go_up_and_come_back(ratios, expected):
    made = trajectories({"SG-8": 2.0, "GC-8": lambda step: 2 * ratios[(step - 1) % 5]})
    assert swings(made) == pytest.approx([expected] * 4)


def test_new_clusters_are_no_fluctuation():
    hill = {"SG-8": 1.0, "GC-8": lambda step: 4.0 if 5 < step <= 10 else 0.4}
    assert swings(trajectories(hill, seeds=(0, 1))) == [1.0] * 8


def test_which_study_gains_more():
    own = evidence.GainsMore(NAME, OTHER)
    low = trajectories({"SG-8": 2.0, "GC-8": 0.4}, seeds=(0, 1))
    high = trajectories({"SG-8": 1.0, "GC-8": lambda step: 0.3 if step > 1 else 0.1})
    assert verdict(own, low, high) == HOLDS  # 0.2 against 0.3 at 19 of 20 steps
    assert verdict(own, high, low) == FAILS
    assert verdict(own, low, low) == FAILS
    mixed = trajectories({"SG-8": 1.0, "GC-8": lambda step: 0.3 if step % 2 else 0.1})
    assert verdict(own, mixed, low) == OPEN
    assert verdict(own, low) == NOT_RUN
    (row,) = own({NAME: low, OTHER: high})
    assert row.measured == (
        "GC over SG-B 0.2 (0.2 to 0.2), 0.3 (0.1 to 0.3); smaller in 95 % of 20 measurements"
    )


def test_a_row_for_each_trajectory():
    made = trajectories({"SG-8": lambda step: 1 / step}, seeds=(3, 4))
    rows = evidence.Trend(NAME, "SG-B", VARIANCE, "falls")({NAME: made})
    assert [row.measured.partition(":")[0] for row in rows] == ["seed 3", "seed 4"]
    short = Trajectories(STUDY, made.records[:15])
    (row,) = evidence.Trend(NAME, "SG-B", VARIANCE, "falls")({NAME: short})
    assert row.measured.endswith("(to step 15)")


def test_ranks():
    assert rank_correlation([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)
