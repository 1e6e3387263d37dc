"""With IGT, whatever looks at the model outside a step sees the true weights."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar import IGT, ClusterModel, DiscoverIGT, DiscoverOver

RATE, MOMENTUM, TAIL, EXAMPLES, BATCH = 0.1, 0.5, 2.0, 64, 16
STEPS_PER_EPOCH = EXAMPLES // BATCH

rng = np.random.default_rng(0)
X = rng.normal(size=(EXAMPLES, 4)).astype("float32")
Y = rng.integers(0, 3, EXAMPLES)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def plain_model(**compile_arguments):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(IGT(RATE, MOMENTUM, TAIL), LOSS, **compile_arguments)
    return model


def fit(model, epochs, **arguments):
    return model.fit(X, Y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, **arguments)


def cluster_dataset():
    """One cluster, so that the oracle without clusters holds; the batches of `fit` above."""
    ids = np.zeros(EXAMPLES, "int32")
    data = tf.data.Dataset.from_tensor_slices(({"inputs": X, "cluster_ids": ids}, Y))
    return data.batch(BATCH, drop_remainder=True).repeat()


def softmax_gradient(weights, x, y):
    logits = x @ weights[0] + weights[1]
    error = np.exp(logits - logits.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(len(y)), y] -= 1
    return [x.T @ error / len(y), error.mean(axis=0)]


def gamma(step):
    c = 1 / TAIL
    if step == 1:
        return 0.0
    return c * (step - 1) / (1 + c * (step - 1)) * (1 - math.sqrt((1 - c) / (step**2 - step)) / c)


def true_trajectory(initial, steps):
    """Return the true weights after each step: IGT on softmax regression, in float64."""
    true = [np.float64(w) for w in initial]
    shifted, average, momentum = true, [0.0, 0.0], [0.0, 0.0]
    trajectory = []
    for t in range(1, steps + 1):
        rows = slice((t - 1) % STEPS_PER_EPOCH * BATCH, ((t - 1) % STEPS_PER_EPOCH + 1) * BATCH)
        gradient = softmax_gradient(shifted, np.float64(X[rows]), Y[rows])
        average = [
            gamma(t) * u + (1 - gamma(t)) * g for u, g in zip(average, gradient, strict=True)
        ]
        momentum = [MOMENTUM * m + u for m, u in zip(momentum, average, strict=True)]
        new = [w - RATE * m for w, m in zip(true, momentum, strict=True)]
        ahead = gamma(t + 1) / (1 - gamma(t + 1))
        shifted = [n + ahead * (n - w) for n, w in zip(new, true, strict=True)]
        true = new
        trajectory.append(true)
    return trajectory


def loss_at(weights):
    logits = X @ weights[0] + weights[1]
    picked = logits[np.arange(EXAMPLES), Y]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - picked))


class Watch(keras.callbacks.Callback):
    """Keeps what `get_weights` says at the end of every batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self.model.get_weights())


def assert_same(weights, expected, rtol=1e-5):
    for got, want in zip(weights, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a plain model after three epochs, its watcher, history and checkpoints."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model, watch = plain_model(), Watch()
    initial = model.get_weights()
    callbacks = [
        watch,
        keras.callbacks.ModelCheckpoint(folder / "epoch{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.ModelCheckpoint(folder / "step{batch}.keras", save_freq=2),
    ]
    history = fit(model, 3, validation_data=(X, Y), callbacks=callbacks)
    return model, watch, history.history, folder, true_trajectory(initial, 3 * STEPS_PER_EPOCH)


def test_every_batch_end_sees_the_true_weights(trained):
    _, watch, _, _, truth = trained
    assert len(watch.seen) == len(truth)
    for seen, expected in zip(watch.seen, truth, strict=True):
        assert_same(seen, expected)


def test_validation_evaluate_and_predict_use_the_true_weights(trained):
    model, _, history, _, truth = trained
    expected = [loss_at(truth[(e + 1) * STEPS_PER_EPOCH - 1]) for e in range(3)]
    np.testing.assert_allclose(history["val_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), expected[-1], rtol=1e-5)
    logits = X @ truth[-1][0] + truth[-1][1]
    np.testing.assert_allclose(model.predict(X, verbose=0), logits, rtol=1e-4, atol=1e-5)


def test_checkpoints_hold_the_true_weights(trained):
    model, _, _, folder, truth = trained
    for epoch in (1, 2, 3):
        other = keras.models.clone_model(model)
        other.load_weights(folder / f"epoch{epoch}.weights.h5", skip_mismatch=False)
        assert_same(other.get_weights(), truth[epoch * STEPS_PER_EPOCH - 1])
    by_step = sorted(folder.glob("step*.keras"))
    assert by_step
    loaded = keras.models.load_model(by_step[-1])
    assert any(
        np.allclose(loaded.get_weights()[0], expected[0], rtol=1e-5, atol=1e-6)
        for expected in truth[1::2]
    )


def test_saved_model_and_export_hold_the_true_weights(trained, tmp_path):
    model, _, _, _, truth = trained
    model.save(tmp_path / "model.keras")
    assert_same(keras.models.load_model(tmp_path / "model.keras").get_weights(), truth[-1])
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    logits = X @ truth[-1][0] + truth[-1][1]
    np.testing.assert_allclose(served.serve(X), logits, rtol=1e-4, atol=1e-5)


def test_two_epochs_are_one_and_one_bit_for_bit_with_looks_in_between():
    at_once, in_two = plain_model(), plain_model()
    fit(at_once, 2)
    fit(in_two, 1, validation_data=(X, Y))
    in_two.evaluate(X, Y, verbose=0)
    in_two.predict(X, verbose=0)
    fit(in_two, 1)
    for a, b in zip(at_once.get_weights(), in_two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(at_once.optimizer.variables, in_two.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_loaded_model_trains_on_bit_for_bit(tmp_path):
    model = plain_model()
    fit(model, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    fit(model, 1)
    fit(loaded, 1)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_set_between_fits_are_trained_on():
    model = plain_model()
    fit(model, 1)
    model.set_weights([w + 10.0 for w in model.get_weights()])
    fit(model, 1)
    assert model.get_weights()[0].min() > 5.0


@pytest.mark.parametrize("arguments", [{"steps_per_execution": 2}, {"run_eagerly": True}])
def test_train_on_batch_and_other_ways_to_run(arguments):
    model = plain_model(**arguments)
    truth = true_trajectory(model.get_weights(), STEPS_PER_EPOCH)
    fit(model, 1)
    assert_same(model.get_weights(), truth[-1])


def test_train_on_batch():
    model = plain_model()
    truth = true_trajectory(model.get_weights(), 2)
    for step in range(2):
        model.train_on_batch(X[step * BATCH : (step + 1) * BATCH], Y[step * BATCH :][:BATCH])
        assert_same(model.get_weights(), truth[step])


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: DiscoverIGT(RATE, 1, MOMENTUM, TAIL),
        lambda: DiscoverOver(IGT(RATE, MOMENTUM, TAIL), num_clusters=1),
    ],
    ids=["DiscoverIGT", "DiscoverOver(IGT)"],
)
def test_cluster_model(optimizer):
    keras.utils.set_random_seed(1)
    model = ClusterModel.from_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    model.groups_per_batch = 1
    model.compile(optimizer(), LOSS)
    truth = true_trajectory(model.get_weights(), 2 * STEPS_PER_EPOCH)
    watch = Watch()
    history = model.fit(
        cluster_dataset(),
        epochs=2,
        steps_per_epoch=STEPS_PER_EPOCH,
        verbose=0,
        validation_data=(X, Y),
        callbacks=[watch],
    )
    for seen, expected in zip(watch.seen, truth, strict=True):
        assert_same(seen, expected)
    np.testing.assert_allclose(history.history["val_loss"][-1], loss_at(truth[-1]), rtol=1e-5)


def test_a_loop_of_ones_own_swaps_by_hand():
    model = plain_model()
    truth = true_trajectory(model.get_weights(), 6)
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    for step in range(6):
        rows = slice(step % STEPS_PER_EPOCH * BATCH, (step % STEPS_PER_EPOCH + 1) * BATCH)
        with tf.GradientTape() as tape:
            loss = LOSS(Y[rows], model(X[rows]))
        optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        shifted = model.get_weights()
        optimizer.use_true_weights()
        optimizer.use_true_weights()  # twice is once
        assert_same(model.get_weights(), truth[step])
        optimizer.use_shifted_weights()
        optimizer.use_shifted_weights()
        assert_same(model.get_weights(), shifted)


def test_models_with_other_optimizers_train_as_before():
    IGT(RATE)  # wraps keras.Model.make_train_function
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(RATE), LOSS)
    expected = [np.float64(w) for w in model.get_weights()]
    fit(model, 1)
    for step in range(STEPS_PER_EPOCH):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        gradient = softmax_gradient(expected, np.float64(X[rows]), Y[rows])
        expected = [w - RATE * g for w, g in zip(expected, gradient, strict=True)]
    assert_same(model.get_weights(), expected)
    assert model.train_function.__name__ == "function"


def test_refuses_ema():
    with pytest.raises(ValueError, match="`use_ema` would average the shifted weights"):
        IGT(RATE, use_ema=True)


def test_refuses_constraints():
    constraint = keras.constraints.NonNeg()
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, kernel_constraint=constraint)]
    )
    with pytest.raises(ValueError, match="IGT cannot keep a constraint"):
        IGT(RATE).build(model.trainable_variables)
