"""Runs of random features models, against SGD and variances in plain NumPy."""

import numpy as np
import pytest

from keras_apps.experiments.feature_grid import GC, GC_PAPER, SG, SG_2B, SVRG_NAME, FeatureGrid
from keras_apps.running import feature_runs
from keras_apps.running.feature_runs import batch_rows
from tests.oracles import logistic_oracle as oracle

GRID = FeatureGrid(
    "A grid",
    student_features=30,
    ratios=(0.6,),
    learning_rates=(0.3, 0.03),
    input_widths=(0.5,),
    teacher_widths=(0.5,),
    duplicates=(0.5,),
    seeds=(3,),
    batch_size=6,
    steps=12,
    measure_every=3,
    draw_every=6,
    refresh_every=6,
    num_draws=20,
    l2=0.01,
)


@pytest.fixture(scope="module")
def runs():
    return GRID.runs()


@pytest.fixture(scope="module")
def clusterings():
    """What the clusterings found, in their order."""
    return []


@pytest.fixture(scope="module")
def records(runs, clusterings):
    with pytest.MonkeyPatch.context() as patch:
        take = feature_runs.Stratified.reassign

        def remembered(self, assignments, *more):
            take(self, assignments, *more)
            clusterings.append((self.name if hasattr(self, "name") else "", self.assignments))

        patch.setattr(feature_runs.Stratified, "reassign", remembered)
        return feature_runs.measured(GRID, runs)


def test_records_say_what_was_run(records, runs):
    assert [record["run"] for record in records] == [run.name for run in runs]
    for record, run in zip(records, runs, strict=True):
        assert record["kind"] == "finished"
        assert record["examples"] == 50
        assert (record["ratio"], record["learning_rate"]) == (0.6, run.learning_rate)
        assert record["steps"] == [3, 6, 9, 12]
        assert list(record["estimators"]) == [SG, SG_2B, SVRG_NAME, GC, GC_PAPER]
        assert len(record["fresh"][SG]["average_variance"]) == 2


@pytest.mark.parametrize("place", [0, 1])
def test_training_and_measuring_against_numpy(place, records, runs, clusterings):
    """The weights are followed in float64; so the values hold only if training was right, too."""
    record, run = records[place], runs[place]
    problem = run.problem.build()
    x, y = problem.x, problem.y
    feature_runs._trainer(GRID).start(run.learning_rate, seed=3)
    weights = feature_runs._trainer(GRID).model.get_weights()[0]
    found = {name: [a for n, a in clusterings if n == name] for name in (GC, GC_PAPER)}
    for index, step in enumerate(record["steps"]):
        if index % 2 == 0:
            before = weights
        rows = batch_rows(3, step - 3, 3, 50, 6)
        weights = oracle.sgd(weights, x, y, rows, run.learning_rate, GRID.l2)
        gradients, old = (oracle.gradients(w, x, y) for w in (weights, before))
        expected = {
            SG: oracle.mini_batch(gradients, 6),
            SG_2B: oracle.mini_batch(gradients, 12),
            SVRG_NAME: oracle.mini_batch(gradients - old, 6),
            **{
                name: oracle.one_of_each(gradients, own[2 * place + index // 2])
                for name, own in found.items()
            },
        }
        for name, variance in expected.items():
            values = record["estimators"][name]
            # A difference of two gradients that are alike has fewer digits.
            digits = 1e-4 if name == SVRG_NAME else 1e-5
            average, normalized = (
                values[key][index] for key in ("average_variance", "normalized_variance")
            )
            assert average == pytest.approx(oracle.average(variance), rel=digits), name
            shown = oracle.normalized(variance, gradients.mean(axis=0))
            assert normalized == pytest.approx(shown, rel=digits), name
        assert record["training_loss"][index] == pytest.approx(
            oracle.training_loss(weights, x, y), rel=1e-5
        )


def test_the_published_statistic_is_near_its_expectation(records):
    """That of n draws has the expectation V (1 + 1/n)."""
    for record in records:
        assert list(record["drawn"]) == [SG, GC, GC_PAPER]
        assert record["drawn_steps"] == [6, 12]
        for name, values in record["drawn"].items():
            exact = record["estimators"][name]["average_variance"][1::2]
            ratios = np.divide(values["average_variance"], exact)
            assert 0.6 < ratios.mean() < 1.6


def test_clusters_are_found(records):
    """Half of the data are five points, for which five of six clusters are enough."""
    for record in records:
        (sg, fresh) = (record["fresh"][name]["average_variance"] for name in (SG, GC))
        assert max(np.divide(fresh, sg)) < 0.5
        assert record["fresh"][SVRG_NAME]["average_variance"] == pytest.approx([0, 0], abs=1e-12)


def test_every_example_once_an_epoch():
    rows = batch_rows(seed=1, first=0, steps=6, examples=11, size=3)
    assert rows.shape == (6, 3)
    for epoch in (rows[:3], rows[3:]):
        assert len(np.unique(epoch)) == 9
    assert not (rows[:3] == rows[3:]).all()
    parts = [batch_rows(1, first, 2, 11, 3) for first in (0, 2, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)
