"""The sentences of a report are computed: other numbers, other sentences."""

import dataclasses

import numpy as np
import pytest

from keras_apps.experiments.least_squares import LeastSquares
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.comparison_tables import changes_table
from keras_apps.reporting.findings import findings_of, variance_left
from tests.keras_apps.synthetic import EXPERIMENT, records
from tf_gradvar.pages import MINUS, PERCENT


def sentences(found, experiment=EXPERIMENT):
    return findings_of(Results.of(found, experiment))


def test_nothing_finished_says_nothing():
    assert sentences([]) == []


def test_pairs_on_the_same_seeds():
    verdict, medians, accuracy, best = sentences(records())
    assert verdict == (
        "The control variate pays where a step sees few of the clusters, and less where a step "
        "mixes them. It lowers the final training loss on every seed for 2 of 2 optimizers with "
        "one group and 0 of 2 optimizers with 8 groups."
    )
    assert medians == (
        "Final training loss without and with the control variate, median over the optimizers: "
        "0.315 and 0.252 with one group in a step and 0.158 and 0.158 with 8 groups in a step."
    )
    assert accuracy == (
        "Test accuracy changes by +0.50 points from a base to its form with the control "
        "variate. Its standard deviation over seeds is up to 0.71 points."
    )
    assert best == "Lowest final training loss of all: Adam with 8 groups in a step, 0.105."


@pytest.mark.parametrize(
    ("factors", "verdict"),
    [
        ({1: 1.5, 8: 1.0}, "The control variate brings no reliable gain here."),
        ({1: 1.5, 8: 0.5}, "The control variate pays only where a step mixes the clusters."),
        ({1: 0.5, 8: 0.8}, "The control variate pays here, also where a step mixes the clusters."),
        ({1: 0.5, 8: 1.1}, "pays where a step sees few of the clusters, and less where"),
    ],
)
def test_other_numbers_give_another_verdict(factors, verdict):
    optimizers = tuple(o for o in EXPERIMENT.optimizers if o.name in ("SGD", "Discover"))
    experiment = dataclasses.replace(EXPERIMENT, optimizers=optimizers)
    bases = {r["run"]: r for r in records(names=("SGD",)) if r.get("step") == 600}
    found = records(names=("SGD",))
    for record in records(names=("Discover",)):
        if record["kind"] == "evaluation":
            base = bases[record["run"].replace("Discover", "SGD")]["training_loss"]
            record = {**record, "training_loss": factors[record["groups"]] * base}
        found.append(record)
    assert verdict in sentences(found, experiment)[0]


def test_one_number_of_groups_makes_no_claim_about_others():
    experiment = dataclasses.replace(EXPERIMENT, groups_per_batch=(1,))
    found = [record for record in records() if record["groups"] == 1]
    assert sentences(found, experiment)[0].startswith("The control variate pays here. It lowers")


def test_one_seed_has_no_deviation():
    assert not any("deviation" in sentence for sentence in sentences(records(seeds=(0,))))


def test_a_worse_seed_is_not_hidden():
    found = [
        {**r, "training_loss": 9.0}
        if (r["run"], r.get("step")) == ("Discover-C1-seed1", 600)
        else r
        for r in records()
    ]
    assert "on every seed for 1 of 2 optimizers with one group" in sentences(found)[0]


def test_the_changes_of_each_pair():
    table = changes_table(Results.of(records(), EXPERIMENT))
    assert table.headings == [
        "change of training loss",
        *("C = 1, step 100", "C = 1, end", "C = 8, step 100", "C = 8, end"),
    ]
    assert table.cells == [
        ["Discover against SGD", *[f"{MINUS}25{PERCENT}*"] * 2, *[f"+0{PERCENT}"] * 2],
        ["DiscoverOver(Adam) against Adam", *[f"{MINUS}10{PERCENT}*"] * 2, *[f"+0{PERCENT}"] * 2],
    ]


def test_the_variance_that_is_left():
    assert variance_left(Results.of(records(), EXPERIMENT)) == [
        f"Discover with {groups} in a step: over the second half of training its buffers leave "
        f"25{PERCENT} of the between-cluster variance that the plain gradient has at the same "
        "weights (median)."
        for groups in ("one group", "8 groups")
    ]


def searched(experiment=EXPERIMENT):
    search = {"learning_rate": (0.1, 0.2)}
    arms = tuple(
        dataclasses.replace(o, candidates=(), learning_rates={}, search=search)
        for o in experiment.optimizers
    )
    return dataclasses.replace(experiment, optimizers=arms, tuning_budget=2)


def test_after_a_search_the_rival_is_the_best_one():
    one, eight, accuracy, best = sentences(records(), searched())
    assert one == (
        "With one group in a step: against the best optimizer without a buffer for each cluster, "
        "on the same batches and with as many tuning runs, the final training loss is lower on "
        f"every seed for DiscoverOver(Adam) ({MINUS}10{PERCENT}) and higher on every seed for "
        f"Discover (+50{PERCENT}), of 2 forms."
    )
    assert "With 8 groups in a step" in eight
    assert "lower on every seed for none and higher on every seed for Discover (+100" in eight
    assert accuracy.startswith("Test accuracy")
    assert best.startswith("Lowest final")


def test_after_a_search_one_seed_gives_no_verdict():
    assert not any("every seed" in text for text in sentences(records(seeds=(0,)), searched()))


def test_least_squares_beside_their_predictions():
    problem = LeastSquares(num_clusters=2, num_features=2, examples_per_cluster=10)
    rates = {"4": 0.1}
    experiment = Experiment(
        title="risk",
        problem=problem,
        optimizers=(
            OptimizerChoice("SGD", learning_rates=rates),
            OptimizerChoice("Discover", base="SGD", learning_rates=rates),
        ),
        groups_per_batch=(4,),
        group_size=8,
        steps=2000,
        schedule="constant",
    )
    found = []
    for name, risk in (("SGD", 0.5), ("Discover", 0.01)):
        identity = {"run": name, "optimizer": name, "groups": 4, "seed": 0, "tunes": False}
        found += [
            {"kind": "evaluation", **identity, "step": step, "excess_risk": risk}
            for step in (100, 1500, 2000)
        ]
        found.append({"kind": "finished", **identity, "learning_rate": 0.1, "diverged": False})
    data = problem.data()
    within, between = data.noise_within(4, 8), data.noise_between(4)
    both, alone = (
        0.05 * (noise / (2 - 0.1 * data.curvatures)).sum() for noise in (within + between, within)
    )
    headline, detail, theory = sentences(found, experiment)
    assert headline == (
        "At the same learning rate, the steady excess risk with the control variate is 1/50 of "
        "that of SGD."
    )
    assert f"SGD stalls at an excess risk of 0.5, {0.5 / both:.2f} of the prediction" in detail
    assert f"Discover at 0.01, {0.01 / alone:.2f} of the prediction" in detail
    (risks,) = problem.predictor()("Discover", {}, 0.1, groups=4, group_size=8, steps=2000).values()
    predicted = risks[1001:].mean()
    first = np.flatnonzero(risks <= 2 * predicted)[0]
    assert theory == (
        f"Discover: a steady excess risk of 0.01 (predicted {predicted:.3g}), twice of which it "
        f"has reached at step 100 (predicted {first})."
    )
    worse = [
        {**r, "excess_risk": 1.0} if r["optimizer"] == "Discover" and "step" in r else r
        for r in found
    ]
    assert "is 2 times of that of SGD" in sentences(worse, experiment)[0]
