"""What cannot be trained on several devices, or continued on others, is refused at the start."""

import dataclasses

import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.running.device_rules import check_continues, check_devices, check_owned
from keras_apps.running.devices import Devices, trained_on
from keras_apps.running.workdir import Workdir, WorkdirError
from tf_gradvar import Discover

OWNED = OptimizerChoice("Discover", arguments={"buffers": "owned"}, learning_rates={"2": 0.1})
EXPERIMENT = Experiment("Any", Classification("digits"), (OWNED,), groups_per_batch=(2, 4))
MIRRORED = Devices("mirrored", 2, "CPU", backend="tensorflow")
ON_JAX = Devices("data_parallel", 2, "CPU", backend="jax")


def changed(**fields):
    return dataclasses.replace(EXPERIMENT, **fields)


RECLUSTERED = changed(optimizers=(dataclasses.replace(OWNED, clusters="gradients"),))


@pytest.mark.parametrize("devices", [Devices(), MIRRORED, ON_JAX])
def test_what_fits_is_not_refused(devices):
    check_devices(EXPERIMENT, devices)
    check_devices(changed(jit_compile=True), dataclasses.replace(devices, kind="GPU"))


@pytest.mark.parametrize(
    ("experiment", "devices", "message"),
    [
        (changed(groups_per_batch=(2, 3)), MIRRORED, r"multiples of the 2 replicas.*\(2, 3\)"),
        (changed(jit_compile=True), MIRRORED, "`jit_compile` must be False on several CPU"),
        (changed(gradient_variance=Trajectory()), ON_JAX, "`gradient_variance` must be None on"),
        (RECLUSTERED, ON_JAX, "must not be 'gradients' on the JAX backend.* for Discover"),
        (RECLUSTERED, MIRRORED, "on several replicas, whose .* for Discover with 2 replicas"),
    ],
)
def test_what_the_devices_cannot_train(experiment, devices, message):
    with pytest.raises(ValueError, match=message):
        check_devices(experiment, devices)


def owned(num_clusters):
    return Discover(0.1, num_clusters, buffers="owned")


@dataclasses.dataclass
class Shares:
    probabilities: np.ndarray


def test_clusters_that_replicas_cannot_own():
    even, empty = Shares(np.full(4, 0.25)), Shares(np.array([0.0, 0.0, 0.5, 0.5]))
    check_owned(owned(4), even, "random", MIRRORED)
    check_owned(owned(4), empty, "cycle", Devices())
    check_owned(Discover(0.1, 4), empty, "cycle", MIRRORED)
    with pytest.raises(ValueError, match="`order` must be 'random' for an optimizer with `buffers"):
        check_owned(owned(4), even, "cycle", MIRRORED)
    with pytest.raises(ValueError, match="must leave every replica a cluster"):
        check_owned(owned(4), empty, "random", MIRRORED)
    with pytest.raises(ValueError, match="must be at least the number of replicas"):
        check_owned(owned(1), Shares(np.ones(1)), "random", MIRRORED)


@pytest.fixture
def workdir(tmp_path):
    made = Workdir(tmp_path, {})
    yield made
    made.close()


def test_an_unfinished_run_is_continued_on_its_backend(workdir):
    check_continues(workdir, MIRRORED, [owned(2)])
    workdir.note_devices(Devices(backend="tensorflow").facts)
    check_continues(workdir, ON_JAX, [owned(2)])  # nothing is unfinished
    (workdir.checkpoints("Discover-C2-seed0") / "step-00000020").mkdir(parents=True)
    check_continues(workdir, MIRRORED, [Discover(0.1, 2)])
    with pytest.raises(WorkdirError, match=r"begun on, TensorFlow. Received: KERAS_BACKEND=jax"):
        check_continues(workdir, ON_JAX, [])


def test_owned_clusters_are_continued_on_as_many_replicas(workdir):
    workdir.note_devices(MIRRORED.facts)
    (workdir.checkpoints("Discover-C2-seed0") / "step-00000020").mkdir(parents=True)
    check_continues(workdir, MIRRORED, [owned(2)])
    with pytest.raises(
        WorkdirError, match=r"on as many replicas as they were begun on, 2: .* 1. Pa"
    ):
        check_continues(workdir, Devices(backend="tensorflow"), [Discover(0.1, 2), owned(2)])


def test_a_sentence_says_what_runs_were_trained_on():
    one = Devices(backend="tensorflow").facts
    assert trained_on([{}, one]) == ""
    assert trained_on([one, ON_JAX.facts, ON_JAX.facts, Devices(backend="jax").facts]) == (
        " Runs were trained on 2 replicas (data_parallel, on JAX) and on 1 device (one_device, on "
        "JAX)."
    )
