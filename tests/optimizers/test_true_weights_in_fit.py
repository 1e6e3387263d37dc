"""True weights of a model of IGT for all that looks at it within `fit`, on every backend."""

import keras
import numpy as np
import pytest

from tf_gradvar.optimizers import IGT, DiscoverIGT

pytestmark = pytest.mark.jax

RATE, MOMENTUM, TAIL, BATCH = 0.1, 0.5, 2.0, 4
rng = np.random.default_rng(0)
X = rng.normal(size=(12, 4)).astype("float32")
Y = X @ rng.normal(size=(4, 1)).astype("float32") + 0.5


def gamma(step):
    """The weight of the past at a step, of Arnold et al.'s tail averaging."""
    if step == 1:
        return 0.0
    c = 1 / TAIL
    return c * (step - 1) / (1 + c * (step - 1)) * (1 - np.sqrt((1 - c) / (step**2 - step)) / c)


def true_trajectory(kernel, bias, steps):
    """The true weights after each step on the squared error of a line, in float64."""
    true = np.concatenate([kernel.ravel(), bias]).astype(np.float64)
    shifted, average, momentum, found = true, 0.0, 0.0, []
    inputs = np.hstack([X, np.ones((len(X), 1))]).astype(np.float64)
    for t in range(1, steps + 1):
        rows = np.arange((t - 1) * BATCH, t * BATCH) % len(X)
        error = inputs[rows] @ shifted - Y[rows, 0]
        gradient = 2 * inputs[rows].T @ error / BATCH
        average = gamma(t) * average + (1 - gamma(t)) * gradient
        momentum = MOMENTUM * momentum + average
        new = true - RATE * momentum
        ahead = gamma(t + 1) / (1 - gamma(t + 1))
        shifted, true = new + ahead * (new - true), new
        found.append(true)
    return found


def loss_at(weights):
    return float(np.mean((X @ weights[:4] + weights[4] - Y[:, 0]) ** 2))


class Watch(keras.callbacks.Callback):
    """Keeps the weights and the prediction that callbacks see."""

    def __init__(self):
        super().__init__()
        self.at_epoch_end, self.at_batch_end, self.predicted = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        self.at_batch_end.append(np.concatenate([w.ravel() for w in self.model.get_weights()]))

    def on_epoch_end(self, epoch, logs=None):
        self.at_epoch_end.append(np.concatenate([w.ravel() for w in self.model.get_weights()]))
        self.predicted.append(keras.ops.convert_to_numpy(self.model(X))[:, 0])


OPTIMIZERS = {
    "IGT": lambda: IGT(RATE, MOMENTUM, TAIL),
    "DiscoverIGT": lambda: DiscoverIGT(RATE, 1, MOMENTUM, TAIL),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "how", [{}, {"run_eagerly": True}, {"steps_per_execution": 2}], ids=["fit", "eager", "steps"]
)
def test_validation_and_callbacks_see_the_true_weights(name, how):
    if keras.backend.backend() == "torch" and "steps_per_execution" in how:
        pytest.skip("Keras takes one step at a time on torch")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    truth = true_trajectory(*model.get_weights(), 6)
    model.compile(OPTIMIZERS[name](), "mse", **how)
    watch = Watch()
    history = model.fit(
        X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0,
        validation_data=(X, Y), callbacks=[watch],
    ).history  # fmt: skip
    ends = [truth[2], truth[5]]
    np.testing.assert_allclose(history["val_loss"], [loss_at(w) for w in ends], rtol=1e-5)
    np.testing.assert_allclose(watch.at_epoch_end, ends, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        watch.predicted, [X @ w[:4] + w[4] for w in ends], rtol=1e-4, atol=1e-5
    )
    if len(watch.at_batch_end) == 6:
        np.testing.assert_allclose(watch.at_batch_end, truth, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), loss_at(ends[-1]), rtol=1e-5)


def test_train_on_batch_leaves_the_true_weights():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    truth = true_trajectory(*model.get_weights(), 3)
    model.compile(IGT(RATE, MOMENTUM, TAIL), "mse")
    for step in range(3):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        model.train_on_batch(X[rows], Y[rows])
        seen = np.concatenate([w.ravel() for w in model.get_weights()])
        np.testing.assert_allclose(seen, truth[step], rtol=1e-5, atol=1e-6)
