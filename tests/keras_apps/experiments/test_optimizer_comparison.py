"""Runs of an experiment, and its refusals."""

import dataclasses

import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.least_squares import LeastSquares
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment, GradientClusters
from keras_apps.experiments.search import Candidate
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.experiments.two_gaussians import ClusterPicture, TwoGaussians
from keras_apps.experiments.variance_study import Study
from keras_apps.running import tuning

EXPERIMENT = Experiment(
    title="test",
    problem=Classification(),
    optimizers=(
        OptimizerChoice("SGD", candidates=(0.1, 0.2), learning_rates={"8": 0.4}),
        OptimizerChoice("Discover", base="SGD", candidates=(0.1, 0.3)),
    ),
    groups_per_batch=(1, 8),
    seeds=(0, 1),
)
CHOSEN = {("SGD", 1): 0.2, ("Discover", 1): 0.3, ("Discover", 8): 0.1}
SEARCHED = dataclasses.replace(
    EXPERIMENT,
    optimizers=(
        OptimizerChoice("SGD", search={"learning_rate": (0.1, 0.2, 0.4, 0.8)}),
        OptimizerChoice(
            "Discover", base="SGD", search={"learning_rate": (0.1, 0.2), "gain": (1.0, 0.3)}
        ),
    ),
    tuning_budget=4,
)


def ends(scores):
    return [
        {"kind": "finished", "run": run.name, "tunes": True, "score": score}
        for run, score in zip(EXPERIMENT.tuning_runs({}), scores, strict=True)
    ]


def test_rates_are_tuned_where_none_is_given():
    runs = EXPERIMENT.tuning_runs({})
    assert len(runs) == EXPERIMENT.number_of_tuning_runs()
    assert [run.name for run in runs] == [
        "tuning-SGD-C1-seed1000-lr0.1",
        "tuning-SGD-C1-seed1000-lr0.2",
        "tuning-Discover-C1-seed1000-lr0.1",
        "tuning-Discover-C1-seed1000-lr0.3",
        "tuning-Discover-C8-seed1000-lr0.1",
        "tuning-Discover-C8-seed1000-lr0.3",
    ]


def test_the_smallest_score_wins_and_a_diverged_run_loses():
    chosen = tuning.choose(ends([0.5, 0.4, float("nan"), 9.0, 0.2, float("inf")]), EXPERIMENT)
    assert chosen == {key: Candidate(rate) for key, rate in CHOSEN.items()}


def test_equal_scores_choose_the_smaller_rate():
    chosen = tuning.choose(ends([0.5] * 6), EXPERIMENT)
    assert chosen["Discover", 8] == Candidate(0.1)


def test_every_run_has_its_rate():
    chosen = {key: Candidate(rate) for key, rate in CHOSEN.items()}
    rates = {run.name: run.candidate.learning_rate for run in EXPERIMENT.runs(chosen)}
    assert rates == {
        "SGD-C1-seed0": 0.2,
        "SGD-C1-seed1": 0.2,
        "Discover-C1-seed0": 0.3,
        "Discover-C1-seed1": 0.3,
        "SGD-C8-seed0": 0.4,
        "SGD-C8-seed1": 0.4,
        "Discover-C8-seed0": 0.1,
        "Discover-C8-seed1": 0.1,
    }


def finished(run, score):
    return {"kind": "finished", "run": run.name, "tunes": True, "score": score}


def test_a_search_is_run_to_its_budget_and_its_best_is_compared():
    def loss(run):
        rate, gain = run.candidate.learning_rate, run.candidate.arguments.get("gain", 1.0)
        return (rate - 0.2) ** 2 + gain

    records, rounds = [], 0
    while missing := [
        run
        for run in SEARCHED.tuning_runs(tuning.scores_of(records))
        if run.name not in tuning.scores_of(records)
    ]:
        records += [finished(run, loss(run)) for run in missing]
        rounds += 1
    names = [record["run"] for record in records]
    assert len(names) == len(set(names)) == SEARCHED.number_of_tuning_runs() == 16
    assert rounds == 2
    assert "tuning-Discover-C8-seed1000-lr0.2-gain0.3" in names
    best = tuning.choose(records, SEARCHED)
    assert best["SGD", 1] == Candidate(0.2)
    assert best["Discover", 8] == Candidate(0.2, {"gain": 0.3})
    runs = {run.name: run.candidate for run in SEARCHED.runs(best)}
    assert runs["Discover-C1-seed1"] == Candidate(0.2, {"gain": 0.3})


def test_tuning_runs_are_evaluated_where_they_are_checkpointed():
    assert EXPERIMENT.evaluation_interval(tunes=False) == 100
    assert EXPERIMENT.evaluation_interval(tunes=True) == 300
    odd = dataclasses.replace(EXPERIMENT, steps=1000, checkpoint_every=400)
    assert odd.evaluation_interval(tunes=True) == 200


def changed_search(**fields):
    return {
        "optimizers": (
            dataclasses.replace(SEARCHED.optimizers[0], **fields),
            SEARCHED.optimizers[1],
        )
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuning_budget": 0}, "a `search` with that number as the `tuning_budget`"),
        ({"tuning_budget": 5}, "at least as many combinations as the `tuning_budget`"),
        (changed_search(search={"momentum": (0.9,) * 4}), "`search` must have the `learning_rate`"),
        (changed_search(candidates=(0.1,)), "What is in `search` must not be in `candidates`"),
        (changed_search(arguments={"learning_rate": 0.1}), "must not be in `candidates`"),
        ({"optimizers": (*SEARCHED.optimizers, EXPERIMENT.optimizers[1])}, "names"),
        (
            {"optimizers": (SEARCHED.optimizers[0], EXPERIMENT.optimizers[1])},
            "must have the same number of `candidates`",
        ),
    ],
)
def test_searches_that_are_not_fair_are_refused(changes, message):
    SEARCHED.check()
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SEARCHED, **changes).check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizers": ()}, "`optimizers` must hold at least one optimizer"),
        ({"groups_per_batch": ()}, "`groups_per_batch` must hold at least one number"),
        ({"seeds": ()}, "`seeds` must hold at least one number"),
        ({"optimizers": EXPERIMENT.optimizers[:1] * 2}, "The names of `optimizers` must differ"),
        ({"steps": 0}, "must be at least 1"),
        ({"steps": 1250}, "must be multiples of `evaluate_every`"),
        ({"checkpoint_every": 150}, "must be multiples of `evaluate_every`"),
        ({"tuning_seed": 1}, "`tuning_seed` must not be one of `seeds`"),
        (
            {"optimizers": (*EXPERIMENT.optimizers, OptimizerChoice("Adam"))},
            "must have the same number of `candidates`",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(changes, message):
    EXPERIMENT.check()
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(EXPERIMENT, **changes).check()


@pytest.mark.parametrize(
    "config",
    [
        EXPERIMENT,
        EXPERIMENT.optimizers[0],
        Classification(),
        ClusterPicture("test"),
        GradientClusters(),
        LeastSquares(),
        Study("test", LeastSquares()),
        Trajectory(),
        TwoGaussians(),
    ],
    ids=lambda config: type(config).__name__,
)
def test_a_misspelt_assignment_is_refused(config):
    with pytest.raises(AttributeError, match="stepz"):
        config.stepz = 3
    assert dataclasses.replace(config) == config
