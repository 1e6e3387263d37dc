"""Files that version 0.1 wrote, when the Discover forms were mix-ins, load and go on.

Each entry of the folder is what `trained` below saved there after three steps: NAME.keras, and
`tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(NAME)`.
"""

import json
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tf_gradvar.optimizers import Discover, DiscoverIGT, DiscoverOver, DiscoverQHM

SAVED = Path(__file__).parent / "saved_by_0_1"
K = 3
CLUSTERS = {"alpha": 0.3, "cluster_probabilities": [0.5, 0.3, 0.2]}
MAKE = {
    "Discover": lambda: Discover(
        0.05, K, **CLUSTERS, gain=1.0, momentum=0.9, use_ema=True, weight_decay=0.01
    ),
    "DiscoverQHM": lambda: DiscoverQHM(
        0.05, K, momentum=0.9, nu=0.7, **CLUSTERS, gradient_accumulation_steps=2
    ),
    "DiscoverIGT": lambda: DiscoverIGT(
        keras.optimizers.schedules.CosineDecay(0.05, 20), K, momentum=0.8, **CLUSTERS
    ),
    "DiscoverOver": lambda: DiscoverOver(keras.optimizers.Adam(0.05, beta_2=0.9), K, **CLUSTERS),
}


def compiled_model(name):
    model = keras.Sequential(
        [keras.Input((3,), name="x"), keras.layers.Dense(2, name="dense")], name="saved"
    )
    rng = np.random.default_rng(7)
    model.set_weights([rng.normal(size=w.shape).astype("float32") for w in model.get_weights()])
    model.compile(MAKE[name](), loss="mse")
    return model


def take_steps(model, start, stop):
    optimizer = model.optimizer
    cases.use_shifted_weights(optimizer)
    for t in range(start, stop):
        rng = np.random.default_rng(t)
        groups = [
            ops.convert_to_tensor(rng.normal(size=(2, *v.shape)), "float32")
            for v in model.trainable_variables
        ]
        clusters = ops.convert_to_tensor(rng.integers(K, size=2), "int32")
        optimizer.apply(optimizer.correct_gradients(groups, clusters))
    cases.use_true_weights(optimizer)


def trained(name, steps):
    model = compiled_model(name)
    model.optimizer.build(model.trainable_variables)
    take_steps(model, 0, steps)
    return model


def check(model, name):
    """The state is that of three steps of today's code, and the next steps are the same."""
    for steps in (3, 5):
        if steps == 5:
            take_steps(model, 3, 5)
        expected = trained(name, steps)
        for a, b in zip(
            [*model.weights, *model.optimizer.variables],
            [*expected.weights, *expected.optimizer.variables],
            strict=True,
        ):
            np.testing.assert_allclose(*cases.values([a, b]), rtol=1e-6, atol=1e-6, err_msg=a.path)


def keras_that_wrote(path):
    """The version of Keras in a `.keras` file, whose layers older ones may not know."""
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("metadata.json"))["keras_version"]


def parts(version):
    return [int(part) for part in version.split(".")[:2]]


@pytest.mark.jax
@pytest.mark.parametrize("name", MAKE)
def test_keras_file(name):
    version = keras_that_wrote(SAVED / f"{name}.keras")
    if parts(keras.__version__) < parts(version):
        pytest.skip(f"Keras {version} wrote the layers of the file")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras warns where it skips a state
        model = keras.models.load_model(SAVED / f"{name}.keras")
    check(model, name)


@pytest.mark.parametrize("built_before", [True, False])
@pytest.mark.parametrize("name", MAKE)
def test_checkpoint(name, built_before):
    import tensorflow as tf

    model = compiled_model(name)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    if built_before:
        model.optimizer.build(model.trainable_variables)
    status = tf.train.Checkpoint(model=model, optimizer=model.optimizer).read(str(SAVED / name))
    model.optimizer.build(model.trainable_variables)
    status.assert_consumed()
    check(model, name)
