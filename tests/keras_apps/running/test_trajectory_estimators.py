"""Estimators of a trajectory: what each draws, how it is refreshed and restored."""

import dataclasses

import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import ESTIMATORS, Trajectory
from keras_apps.running.trajectory_estimators import ComparedEstimators

TRAJECTORY = Trajectory(batch_size=16, estimators=ESTIMATORS, max_weight=1.2)
DEFINITION = Classification("digits", model_arguments={"hidden_units": [4]})


@pytest.fixture(scope="module")
def problem():
    return DEFINITION.build()


@pytest.fixture(scope="module")
def refreshed(problem):
    compared = ComparedEstimators(TRAJECTORY, problem, seed=0)
    compared.refresh(problem.build_model(), problem.x, problem.y)
    return compared


def by_name(compared):
    return {estimator.name: estimator for estimator in compared.estimators}


def test_names_in_their_order(refreshed):
    assert list(by_name(refreshed)) == [
        "SG-16",
        "SG-32",
        "SVRG-16",
        "strata-16",
        "GC-16",
        "GC-proportional-16",
        "GC-bounded-16",
        "Discover-8x2",
    ]


def test_strata_share_the_batch(problem, refreshed):
    shares = by_name(refreshed)["strata-16"].samples_per_cluster
    assert shares.sum() == 16
    assert np.abs(shares - 16 * problem.probabilities).max() < 1


def test_three_ways_to_draw_from_the_same_clusters(problem, refreshed):
    found = by_name(refreshed)
    clusters = found["GC-16"].assignments
    sizes = np.bincount(clusters, minlength=16)
    assert sizes.min() > 0
    assert sizes.max() > 1.3 * len(clusters) / 16  # the bound says something
    for name in ("GC-proportional-16", "GC-bounded-16"):
        np.testing.assert_array_equal(found[name].assignments, clusters)
    np.testing.assert_array_equal(found["GC-16"].expected_draws, np.ones(16))
    proportional = 16 * sizes / len(clusters)
    np.testing.assert_allclose(found["GC-proportional-16"].expected_draws, proportional, rtol=1e-6)
    bounded = found["GC-bounded-16"].expected_draws
    weights = proportional / bounded
    assert weights.max() == pytest.approx(1.2)
    assert bounded.sum() == pytest.approx(16)
    # What is free keeps the same number of draws, as one from each has.
    assert np.ptp(bounded[weights < 1.2 - 1e-6]) < 1e-6


def test_restored_state(problem, refreshed):
    again = ComparedEstimators(TRAJECTORY, problem, seed=0)
    model = problem.build_model()
    refreshed.discover.build(model.trainable_variables)
    for place, variable in enumerate(refreshed.discover.variables):
        variable.assign(np.full(variable.shape, place))
    again.discover.build(model.trainable_variables)
    again.restore(refreshed.state())
    for own, other in zip(again.discover.variables, refreshed.discover.variables, strict=True):
        np.testing.assert_array_equal(np.array(own), np.array(other))
    for name, estimator in by_name(again).items():
        expected = by_name(refreshed)[name]
        np.testing.assert_array_equal(estimator.assignments, expected.assignments)
        if estimator.snapshot is not None:
            for own, other in zip(estimator.snapshot, expected.snapshot, strict=True):
                np.testing.assert_array_equal(own, other)
    assert len(by_name(again)["SVRG-16"].snapshot) == 4
    draws = [by_name(c)["GC-bounded-16"].expected_draws for c in (again, refreshed)]
    np.testing.assert_array_equal(*draws)


def test_nothing_is_refreshed_that_nobody_needs(problem):
    compared = ComparedEstimators(
        dataclasses.replace(TRAJECTORY, estimators=("SG", "strata")), problem, seed=0
    )
    compared.refresh(None, problem.x, problem.y)  # a model is not asked for
    assert len(compared.state()) == 1
    compared.restore(compared.state())


@pytest.mark.parametrize(
    ("trajectory", "definition", "message"),
    [
        ({"batch_size": 5000}, {}, r"`batch_size` must be at most .*, 1438\. .*batch_size=5000"),
        ({"method": "subset", "subset_size": 31}, {}, "`subset_size` must be at least 32"),
        (
            {},
            {"model": "resnet_cifar", "model_arguments": {"filters": 2, "batch_norm": True}},
            "`estimators` must not hold 'Discover' for a model with batch normalization",
        ),
        ({}, {"clusters": "augmentations"}, "needs clusters to which examples belong"),
        ({}, {"clusters": "labels", "label_noise": 0.1}, "or leave the trajectory out"),
    ],
)
def test_what_does_not_fit(trajectory, definition, message):
    problem = dataclasses.replace(DEFINITION, **definition).build()
    with pytest.raises(ValueError, match=message):
        ComparedEstimators(dataclasses.replace(TRAJECTORY, **trajectory), problem, seed=0)


def test_the_clustering_of_the_paper(problem):
    trajectory = dataclasses.replace(
        TRAJECTORY, estimators=("SG", "GC"), clustering="paper", clustering_passes=2
    )
    compared = ComparedEstimators(trajectory, problem, seed=0)
    compared.refresh(problem.build_model(), problem.x, problem.y)
    ours = ComparedEstimators(dataclasses.replace(trajectory, clustering="sketch"), problem, seed=0)
    ours.refresh(problem.build_model(), problem.x, problem.y)
    clusters = [by_name(c)["GC-16"].assignments for c in (compared, ours)]
    assert (clusters[0] != clusters[1]).any()
    assert len(np.unique(clusters[0])) > 1


def test_images_on_the_disk_are_not_clustered(problem):
    stored = dataclasses.replace(problem, x=["a.jpeg"] * 100)
    with pytest.raises(ValueError, match="A trajectory needs examples in memory"):
        ComparedEstimators(TRAJECTORY, stored, seed=0)
