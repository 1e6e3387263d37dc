"""Settings of a trajectory: rates, refreshes, seeds, and what is refused."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_apps.experiments import training_problem, trajectory
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import ESTIMATORS, Trajectory
from keras_apps.experiments.variance_study import Study
from keras_apps.running import configurations
from keras_apps.running.changes import change

STEPS = Trajectory(steps=12, measure_every=2, refresh_every=4)


@pytest.mark.parametrize(("drops", "factor"), [((3,), 0.1), ((1, 2, 9), 0.5), ((4, 8), 2.0)])
def test_rates_by_a_plain_loop(drops, factor):
    changed = dataclasses.replace(
        STEPS, learning_rate=0.3, drops=drops, drop_factor=factor, momentum=0.0
    )
    weight = keras.Variable([1.0], dtype="float64")
    optimizer = keras.optimizers.SGD(changed.learning_rate_schedule())
    optimizer.build([weight])
    rate = 0.3
    for step in range(12):
        if step in drops:
            rate *= factor
        before = float(weight[0])
        optimizer.apply([np.array([1.0])], [weight])
        assert before - float(weight[0]) == pytest.approx(rate, rel=1e-5), step


def test_a_constant_rate_is_a_number():
    assert STEPS.learning_rate_schedule() == STEPS.learning_rate


@pytest.mark.parametrize(("first", "expected"), [(0, [0, 4, 8]), (1, [1, 4, 8])])
def test_refreshes(first, expected):
    changed = dataclasses.replace(STEPS, first_snapshot=first)
    assert changed.refreshes == expected
    found, step = [], 0
    while step < 12:
        step = changed.next_refresh(step)
        found.append(step)
    assert found == [step for step in (*expected, 12) if step]


def test_seeds():
    assert list(STEPS.seeds) == [0]
    assert list(dataclasses.replace(STEPS, seed=3, repeats=2).seeds) == [3, 4]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "must be at least 1. Received: batch_size=128, steps=0"),
        ({"refresh_every": 0}, "must be at least 1. Received"),
        ({"steps": 10}, "In `trajectory`, `steps` must be a multiple of `refresh_every`"),
        ({"measure_every": 3}, "`steps` must be a multiple of `refresh_every`"),
        ({"first_snapshot": 2}, "`first_snapshot` must be from 0 to below `measure_every`"),
        ({"first_snapshot": -1}, "`first_snapshot` must be from 0"),
        ({"repeats": 0}, "`repeats` must be at least 1"),
        ({"drops": (8, 4)}, "`drops` must be steps between 0 and `steps`"),
        ({"drops": (0, 4)}, r"Received: drops=\(0, 4\), steps=12"),
        ({"drop_factor": 0.0}, "`drop_factor` must be positive"),
        ({"weight_decay": -1e-4}, "`weight_decay` must not be negative"),
        ({"estimators": ("SVRG", "SG")}, "`estimators` must be different ones of"),
        ({"estimators": ("SG", "GC", "GC")}, "`estimators` must be different ones of"),
        ({"estimators": ("SG", "Gc")}, r"Received: estimators=\('SG', 'Gc'\)"),
        ({"max_weight": 0.5}, "`max_weight` must be at least 1"),
        (
            {"estimators": ("SG", "Discover"), "discover_groups": 3},
            "`batch_size` must be a multiple of `discover_groups`. Received: batch_size=128",
        ),
        ({"estimators": ("SG", "Discover"), "discover_groups": 0}, "of `discover_groups`"),
        ({"discover_alpha": 0.0}, r"`discover_alpha` must be in \(0, 1\]"),
        ({"subset_size": 1}, "`subset_size` must be at least 2"),
        ({"num_draws": 1}, "`num_draws` must be at least 2"),
        ({"published_every": 3}, "`published_every` must be a multiple of `measure_every`"),
        ({"published_every": -2}, "`published_every` must be a multiple"),
        ({"published_every": 2, "method": "paper_2020"}, "and 0 with `method='paper_2020'`"),
        ({"clustering_passes": 0}, "`clustering_passes` must be at least 1"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Study("A study", Classification(), dataclasses.replace(STEPS, **fields)).check()


def test_what_is_not_refused():
    dataclasses.replace(
        STEPS, drops=(4, 8), first_snapshot=1, estimators=ESTIMATORS, published_every=4
    ).check("trajectory")


def test_fields_from_the_shell():
    names = ["estimators=SG,GC-bounded", "drops=4,8", "method=subset", "repeats=2"]
    found = change(STEPS, names)
    assert found.estimators == ("SG", "GC-bounded")
    assert found.drops == (4, 8)
    assert (found.method, found.repeats) == ("subset", 2)


def test_younger_fields_are_known_as_such():
    assert trajectory.LATER == training_problem.LATER


def test_a_workdir_from_before_the_younger_fields_goes_on():
    plain = configurations.to_json(configurations.load("mnist5k_mlp").config)
    assert plain["trajectory"] == {
        "learning_rate": 0.02,
        "momentum": 0.5,
        "batch_size": 128,
        "steps": 1000,
        "measure_every": 50,
        "refresh_every": 250,
        "seed": 0,
    }
    assert not {"copies", "training_examples", "padded_to"} & set(plain["problem"])
