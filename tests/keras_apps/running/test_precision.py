"""The precision of a run: its layers compute in it, and nothing else does."""

import dataclasses

import keras

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.running.precision import dtype_policy
from keras_apps.running.training_run import TrainingRun
from keras_apps.running.workdir import Workdir
from tests.keras_apps.displays import Request, Shown


def test_layers_inside_compute_in_it():
    before = keras.config.dtype_policy().name
    with dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    with dtype_policy(None):
        assert keras.config.dtype_policy().name == before
    assert keras.config.dtype_policy().name == before


def test_a_run_in_bfloat16_on_augmented_examples(tmp_path):
    problem = Classification(source="digits", model="convnet", clusters="augmentations", l2=1e-4)
    problem.model_arguments = {"filters": [4], "dense_units": 8}
    experiment = Experiment(
        "mixed precision", problem, (OptimizerChoice("Discover", learning_rates={"2": 0.2}),)
    )
    experiment.precision = "mixed_bfloat16"
    experiment.groups_per_batch = (2,)
    experiment.steps = experiment.evaluate_every = experiment.checkpoint_every = 60
    built = problem.build()
    policies = []

    def build_model():
        network = built.build_model()
        policies.extend({layer.compute_dtype for layer in network.layers})
        return network

    watched = dataclasses.replace(built, build_model=build_model)
    workdir = Workdir(tmp_path / "run", {})
    request = Request(None)
    (run,) = [run for run in experiment.runs({}) if run.seed == 0]
    assert TrainingRun(run, experiment, watched, workdir, Shown(request), request).train()
    first, last = (r for r in workdir.records.read() if r["kind"] == "evaluation")
    workdir.close()
    assert policies == ["bfloat16"]
    assert last["training_loss"] < first["training_loss"]
