"""A tuning run is evaluated less often than the others, which changes nothing else."""

import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment, Run
from keras_apps.experiments.search import Candidate
from keras_apps.running.training_run import TrainingRun
from keras_apps.running.workdir import Workdir
from tests.keras_apps.displays import Request, Shown

DISCOVER = OptimizerChoice(
    "Discover", search={"learning_rate": (0.05, 0.1), "gain": (1.0, 0.3), "alpha": (0.1, 0.2)}
)
EXPERIMENT = Experiment(
    title="Tuned",
    problem=Classification(source="digits", model_arguments={"hidden_units": [16]}),
    optimizers=(DISCOVER,),
    group_size=4,
    steps=120,
    evaluate_every=20,
    checkpoint_every=60,
    steps_per_execution=5,
    tuning_budget=2,
)


def train(folder, tunes, stop_at=None):
    """Whether the run reached its end, and its records without how long it took."""
    workdir = Workdir(folder, {})
    request = Request(stop_at)
    candidate = Candidate(0.1, {"gain": 0.3, "alpha": 0.2})
    run = Run(DISCOVER, 1, 1000, candidate, tunes=tunes)
    try:
        shared = (EXPERIMENT.problem.build(), workdir, Shown(request), request)
        done = TrainingRun(run, EXPERIMENT, *shared).train()
        records = workdir.records.read()
    finally:
        workdir.close()
    return done, [{k: v for k, v in r.items() if k != "steps_per_second"} for r in records]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return train(tmp_path_factory.mktemp("tuned"), tunes=True)[1]


def test_the_record_of_a_tuning_run_holds_what_was_tried(tuned):
    end = tuned[-1]
    assert end["run"] == "tuning-Discover-C1-seed1000-lr0.1-gain0.3-alpha0.2"
    assert (end["learning_rate"], end["arguments"]) == (0.1, {"gain": 0.3, "alpha": 0.2})
    assert [r["step"] for r in tuned if r["kind"] == "evaluation"] == [60, 120]


def test_more_evaluations_give_the_same_score(tuned, tmp_path):
    _, compared = train(tmp_path, tunes=False)
    steps = [r["step"] for r in compared if r["kind"] == "evaluation"]
    assert steps == list(range(0, 121, 20))
    assert compared[-1]["score"] == tuned[-1]["score"]


@pytest.mark.parametrize("step", [30, 75])
def test_a_stopped_tuning_run_ends_with_the_same_score(step, tuned, tmp_path):
    assert not train(tmp_path, tunes=True, stop_at=step)[0]
    done, records = train(tmp_path, tunes=True)
    assert done
    assert records == tuned
