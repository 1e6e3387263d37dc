"""One step of plain `fit` on stratified batches is the weighted sum of the examples' gradients.

All shapes collide on purpose: batch, positions, height and width are 4, so that weights which are
broadcast along the wrong axis fail by their value, not by their shape.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar.data import stratified_batches

B = T = H = W = 4
N, D, C = 12, 3, 5
IDS = np.array([1, 0, 2, 2, 1, 2, 3, 3, 3, 3, 3, 3])
RNG = np.random.default_rng(0)
START = RNG.normal(size=(D, C))
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def inputs(*positions):
    return RNG.normal(size=(N, *positions, D)).astype("float32")


def classes(*positions):
    return RNG.integers(0, C, (N, *positions))


def targets(*positions):
    return RNG.normal(size=(N, *positions, C)).astype("float32")


def loss_per_image(y, y_pred):
    """[B]: all positions of an image are reduced."""
    return tf.reduce_mean(
        keras.losses.sparse_categorical_crossentropy(y, y_pred, True), axis=(1, 2)
    )


@dataclass
class Case:
    x: Any
    y: Any
    shape: tuple  # of the weights of a batch
    loss: Any = SPARSE
    options: Any = None


CASES = {
    "classes": Case(inputs(), classes(), (B,)),
    "column of classes": Case(inputs(), classes(1), (B, 1)),
    "targets": Case(inputs(), targets(), (B,), "mse"),
    "tokens": Case(inputs(T), classes(T), (B, 1)),
    "targets of positions": Case(inputs(T), targets(T), (B, 1), "mse"),
    "images": Case(inputs(H, W), classes(H, W), (B, H, W)),
    "images with a channel": Case(inputs(H, W), classes(H, W, 1), (B, H, W, 1)),
    "targets of pixels": Case(inputs(H, W), targets(H, W), (B, H, W), "mse"),
    "images, loss of one axis": Case(
        inputs(H, W), classes(H, W), (B,), loss_per_image, {"loss_rank": 1}
    ),
    "images, loss of three axes": Case(
        inputs(H, W), classes(H, W), (B, 1, 1), options={"loss_rank": 3}
    ),
    "tokens as floats": Case(
        inputs(T), classes(T).astype("float32"), (B, 1), options={"loss_rank": 2}
    ),
}
OWN = {
    "none": None,
    "[N]": RNG.uniform(0.5, 2, N).astype("float32"),
    "[N, 1]": RNG.uniform(0.5, 2, (N, 1)).astype("float32"),
    "[N, T]": RNG.uniform(0.5, 2, (N, T)).astype("float32"),
}


def fitted(x, y, own, loss, options):
    """The weights after one step of `fit`, and the batch that it saw."""
    data = (x, y) if own is None else (x, y, own)
    batches = stratified_batches(data, IDS, seed=3, max_weight=None, **(options or {}))
    layer = keras.layers.Dense(C, use_bias=False)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    layer.kernel.assign(START)
    model.compile(keras.optimizers.SGD(1.0), loss, run_eagerly=True)
    model.fit(batches, steps_per_epoch=1, verbose=0)
    (batch,) = batches.take(1)
    return layer.kernel.numpy(), batch


def expected(x, y, own, batch):
    """W - 1/B sum_i w_k(i) g_i, with own weights of examples or positions in g_i."""
    total = np.zeros((D, C))
    for drawn in batch[0].numpy():
        (i,) = [i for i in range(N) if np.array_equal(x[i], drawn)]
        rows = x[i].astype(np.float64).reshape(-1, D)
        outputs = rows @ START
        if y.shape[-1] == C and y.ndim == x.ndim:
            residuals = 2 / C * (outputs - y[i].reshape(-1, C))
        else:
            exponentials = np.exp(outputs)
            residuals = exponentials / exponentials.sum(axis=1, keepdims=True)
            residuals[np.arange(len(rows)), y[i].reshape(-1).astype(int)] -= 1
        positions = np.ones(len(rows)) if own is None else np.broadcast_to(own[i], len(rows))
        gradient = (positions[:, None, None] * rows[:, :, None] * residuals[:, None]).mean(axis=0)
        total += 4 * np.mean(IDS[i] == IDS) * gradient
    return START - total / B


@pytest.mark.parametrize("name", CASES)
def test_every_rank_of_the_loss(name):
    case = CASES[name]
    found, batch = fitted(case.x, case.y, None, case.loss, case.options)
    assert batch[2].shape == case.shape
    np.testing.assert_allclose(found, expected(case.x, case.y, None, batch), rtol=2e-5, atol=2e-6)
    assert np.abs(found - START).max() > 0.05


@pytest.mark.parametrize("own", OWN)
def test_the_users_own_weights(own):
    case, own = CASES["tokens"], OWN[own]
    found, batch = fitted(case.x, case.y, own, case.loss, None)
    np.testing.assert_allclose(found, expected(case.x, case.y, own, batch), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("own", ["[N]", "[N, 1]"])
def test_own_weights_of_images(own):
    case, own = CASES["images"], OWN[own]
    found, batch = fitted(case.x, case.y, own, case.loss, None)
    assert batch[2].shape == (B, H, W)
    np.testing.assert_allclose(found, expected(case.x, case.y, own, batch), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("container", [tuple, list])
@pytest.mark.parametrize("given", [None, "one", "each"])
def test_outputs_of_different_ranks(container, given):
    """Two outputs, `[B, C]` and `[B, T, C]`, of inputs of the same names."""
    one, many = CASES["classes"], CASES["tokens"]
    own = {None: (None, None), "one": [OWN["[N]"]] * 2, "each": (OWN["[N]"], OWN["[N, T]"])}[given]
    layers = [keras.layers.Dense(C, use_bias=False) for _ in range(2)]
    tensors = [keras.Input(case.x.shape[1:]) for case in (one, many)]
    model = keras.Model(
        tensors, [layer(tensor) for layer, tensor in zip(layers, tensors, strict=True)]
    )
    for layer in layers:
        layer.kernel.assign(START)
    model.compile(keras.optimizers.SGD(1.0), [SPARSE, SPARSE], run_eagerly=True)
    weights = {None: (), "one": (OWN["[N]"],), "each": (container(own),)}[given]
    data = (container([one.x, many.x]), container([one.y, many.y]), *weights)
    batches = stratified_batches(data, IDS, seed=3, max_weight=None)
    model.fit(batches, steps_per_epoch=1, verbose=0)
    (batch,) = batches.take(1)
    for place, (case, layer) in enumerate(zip((one, many), layers, strict=True)):
        wanted = expected(case.x, case.y, own[place], (batch[0][place],))
        np.testing.assert_allclose(layer.kernel.numpy(), wanted, rtol=2e-5, atol=2e-6)


def test_one_tensor_of_weights_where_all_outputs_agree():
    data = (IDS, {"a": IDS, "b": IDS})
    (batch,) = stratified_batches(data, IDS, seed=3).take(1)
    assert batch[2].shape == (B,)
    assert batch[1]["a"].shape == (B,)


@pytest.mark.parametrize("loss_rank", [0, 1.5, [1, 2]], ids=str)
def test_bad_ranks(loss_rank):
    with pytest.raises(ValueError, match=r"`loss_rank` must be (an|one) integer"):
        stratified_batches((IDS, IDS), IDS, loss_rank=loss_rank, seed=0)
