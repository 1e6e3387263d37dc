"""A tiny classifier whose gradients the oracle knows, and what was seen of them."""

import keras
import numpy as np

from tests.oracles.noise_oracle import softmax_gradients
from tf_gradvar.diagnosis.examples_seen import Seen
from tf_gradvar.diagnosis.limits import Choice
from tf_gradvar.moments import Layout, Sums

FEATURES, CLASSES = 4, 3
LAYOUT = Layout(("dense",), (0, 0), (FEATURES * CLASSES, CLASSES))


def data(count, seed=0):
    """Features of three overlapping classes, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(CLASSES, size=count)
    x = rng.normal(size=(count, FEATURES)) + 0.7 * np.eye(CLASSES, FEATURES)[y]
    return x.astype("float32"), y


def network(seed=0, **layer):
    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES, **layer)])
    rng = np.random.default_rng(seed)
    model.set_weights([0.3 * rng.normal(size=np.shape(w)) for w in model.get_weights()])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def gradients(count=600, seed=0):
    x, y = data(count, seed)
    rng = np.random.default_rng(seed)
    kernel, bias = 0.3 * rng.normal(size=(FEATURES, CLASSES)), 0.3 * rng.normal(size=CLASSES)
    return softmax_gradients(x, y, kernel, bias), y


def seen_of(matrix, chosen, sketch_size=256, seed=0):
    """What a pass over some rows of a matrix of gradients would have found."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(matrix.shape[1], sketch_size)) / np.sqrt(sketch_size)
    rows = matrix[chosen]
    cut = FEATURES * CLASSES
    parts = [rows[:, :cut].reshape(-1, FEATURES, CLASSES), rows[:, cut:]]
    sums = Sums(
        len(rows),
        np.array([np.square(rows).sum()]),
        [part.sum(axis=0) for part in parts],
        [np.square(part).sum(axis=0) for part in parts],
    )
    return Seen(
        count=len(matrix),
        choice=Choice(len(rows), "budget"),
        indices=np.asarray(chosen),
        squared_norms=np.square(rows).sum(axis=1),
        sketches=(rows @ signs).astype("float32"),
        losses=np.zeros(len(rows)),
        outputs=None,
        sums=sums,
        layout=LAYOUT,
        left_out=np.array([], int),
        seconds=1e-4,
    )
