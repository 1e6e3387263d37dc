"""What cannot be measured or trained where examples differ from visit to visit."""

import dataclasses

import keras
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.running.visit_rules import check_visits

NOISY = Classification(
    source="digits", model_arguments={"hidden_units": [4]}, label_noise=0.2, crop="pad"
)
DISCOVER = OptimizerChoice("Discover", candidates=(0.1,), measures_variance=True)
MEASURED = Experiment("measured", NOISY, (DISCOVER,))


def check(experiment):
    check_visits(experiment, experiment.problem.build())


def test_classes_are_measured_under_noise():
    check(MEASURED)
    fixed = dataclasses.replace(NOISY, label_noise_kind="fixed", crop=None)
    check(dataclasses.replace(MEASURED, problem=fixed, gradient_variance=Trajectory()))


@pytest.mark.parametrize("clusters", ["labels", "augmentations"])
def test_clusters_of_visits_are_not_measured(clusters):
    optimizer = dataclasses.replace(DISCOVER, clusters=clusters)
    with pytest.raises(ValueError, match=r"(?s)`measures_variance` must be False.*Discover"):
        check(dataclasses.replace(MEASURED, optimizers=(optimizer,)))
    carried = OptimizerChoice(
        "Carried", rule="CarriedBuffers", arguments={"alphas": [0.1]}, clusters=clusters
    )
    with pytest.raises(ValueError, match=r"(?s)no buffers carried along.*'CarriedBuffers'"):
        check(dataclasses.replace(MEASURED, optimizers=(carried,)))
    unmeasured = dataclasses.replace(optimizer, measures_variance=False)
    check(dataclasses.replace(MEASURED, optimizers=(unmeasured,)))


def test_a_group_of_one_has_nothing_to_mix():
    mixed = dataclasses.replace(NOISY, clusters="augmentations")
    optimizer = dataclasses.replace(DISCOVER, measures_variance=False)
    experiment = dataclasses.replace(MEASURED, problem=mixed, optimizers=(optimizer,))
    with pytest.raises(ValueError, match=r"(?s)`group_size` must be at least 2.*group_size=1\."):
        check(dataclasses.replace(experiment, group_size=1))
    check(dataclasses.replace(experiment, group_size=2))


def test_a_trajectory_goes_along_visits_of_examples_that_have_clusters():
    check(dataclasses.replace(MEASURED, gradient_variance=Trajectory()))


@pytest.mark.jax
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs the JAX backend")
def test_tf_data_makes_the_examples():
    with pytest.raises(ValueError, match=r"(?s)need the TensorFlow backend.*KERAS_BACKEND=jax"):
        check(MEASURED)
    fixed = dataclasses.replace(
        NOISY, label_noise_kind="fixed", crop=None, label_smoothing=0.1
    )  # fmt: skip
    check(dataclasses.replace(MEASURED, problem=fixed))
