"""Runs on clusters that are found in the gradients: refreshed, recorded, continued."""

import dataclasses

import h5py
import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.least_squares import LeastSquares
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment, GradientClusters
from keras_apps.reporting.comparison_results import Results
from keras_apps.running.training_run import TrainingRun
from keras_apps.running.workdir import Workdir
from tests.keras_apps.displays import Request, Shown

PROBLEM = Classification(source="digits", model_arguments={"hidden_units": [16]})
DISCOVER = OptimizerChoice(
    "DiscoverGradients",
    base="SGDGradients",
    rule="Discover",
    arguments={"alpha": 0.2},
    learning_rates={"2": 0.05},
    measures_variance=True,
    clusters="gradients",
)
EXPERIMENT = Experiment(
    title="Found, stopped and continued",
    problem=PROBLEM,
    optimizers=(DISCOVER,),
    groups_per_batch=(2,),
    group_size=4,
    seeds=(0,),
    steps=120,
    evaluate_every=20,
    checkpoint_every=60,
    steps_per_execution=5,
    variance_examples=5,
    gradient_clusters=GradientClusters(every=30, sketch_size=32, max_passes=3),
)


def train(folder, stop_at=None):
    """Whether the run reached its end."""
    workdir = Workdir(folder, {})
    request = Request(stop_at)
    (run,) = EXPERIMENT.runs({})
    shared = (PROBLEM.build(), workdir, Shown(request), request)
    try:
        return TrainingRun(run, EXPERIMENT, *shared).train()
    finally:
        workdir.close()


def outcome(folder):
    records = Workdir(folder, {}).records.read()
    weights = {}
    (path,) = folder.glob("checkpoints/*/final.weights.h5")
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                weights.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    # How long it took is nobody's result.
    plain = [{k: v for k, v in r.items() if "second" not in k} for r in records]
    return weights, plain


def test_a_stopped_run_goes_on_with_the_clusters_it_had(tmp_path):
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    assert train(alone)
    assert not train(stopped, stop_at=75)
    assert train(stopped)
    (weights, records), (others, other_records) = outcome(alone), outcome(stopped)
    assert len(weights) == 4
    for name, value in weights.items():
        np.testing.assert_array_equal(others[name], value, err_msg=name)
    assert other_records == records
    measured = [r for r in records if r["kind"] == "evaluation" and r["step"]]
    # Before the first step and at 30, 60, 90 and 120, in the logs of the segment around it.
    found = [record["step"] for record in measured if "recluster_variance_ratio" in record]
    assert found == [20, 40, 60, 100, 120]
    assert all(0 < r["recluster_variance_ratio"] < 1 for r in measured if r["step"] in found)
    assert all("between_cluster_variance_discover_exact" in record for record in measured)


def test_partitions_of_a_problem():
    problem = PROBLEM.build()
    for name in ("classes", "random", "gradients"):
        clustered = problem.clustered(name)
        sizes = np.bincount(clustered.clusters, minlength=10)
        np.testing.assert_allclose(clustered.probabilities, sizes / sizes.sum())
    assert problem.clustered(None) is problem
    assert (problem.clustered("random").clusters != problem.y).mean() > 0.5
    np.testing.assert_array_equal(problem.clustered("classes").clusters, problem.y)


def test_labels_name_the_clusters():
    assert DISCOVER.label == "Discover, gradients"
    over = OptimizerChoice("A", rule="DiscoverOver", arguments={"over": "Adam"}, clusters="random")
    assert over.label == "DiscoverOver(Adam), random"
    sgd = dataclasses.replace(DISCOVER, name="SGDGradients", rule="SGD", base=None)
    experiment = dataclasses.replace(EXPERIMENT, optimizers=(sgd, DISCOVER))
    records = []
    for name, loss in (("SGDGradients", 2.0), ("DiscoverGradients", 1.0)):
        identity = {"run": name, "optimizer": name, "groups": 2, "seed": 0, "tunes": False}
        values = {"training_loss": loss, "recluster_seconds": 1.0}
        records.append({"kind": "evaluation", **identity, "step": 120, **values})
        records.append({"kind": "finished", **identity, "learning_rate": 0.1, "diverged": False})
    results = Results.of(records, experiment)
    (pair,) = results.pairs(2, "training_loss")
    assert (pair.name, pair.base, pair.change) == ("Discover, gradients", "SGD, gradients", -0.5)
    assert results.measures("recluster_seconds")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradient_clusters": None}, "`gradient_clusters` must say how"),
        ({"problem": LeastSquares()}, "`clusters` of an optimizer needs a `Classification`"),
    ],
)
def test_what_does_not_go_together(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(EXPERIMENT, **changes).check()
