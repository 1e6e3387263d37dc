"""ClusterModel beside the rest of Keras: ways to build, to call `fit`, to average and to save."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import discover_oracle as oracle
from tf_gradvar import ClusterModel, Discover, DiscoverIGT, DiscoverOver, cluster_batches
from tf_gradvar.training import train_steps

K, SIZE, GROUPS, RATE, STEPS = 3, 4, 4, 0.1, 3
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype("float32")
Y = rng.integers(0, K, 60)


def batches(groups=GROUPS, x=X, **settings):
    return cluster_batches(
        (x, Y), Y, num_clusters=K, group_size=SIZE, groups_per_batch=groups, seed=0, **settings
    )


def linear(*layers):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(K)])


def compiled(model=None, optimizer=None, **arguments):
    model = ClusterModel.from_model(model or linear())
    model.compile(optimizer or Discover(RATE, K, gain=1.0), LOSS, jit_compile=False, **arguments)
    return model


def fit(model, data=None, steps=STEPS, **arguments):
    data = batches() if data is None else data
    model.fit(data, steps_per_epoch=steps, verbose=0, **arguments)
    return model.get_weights()


def assert_close(actual, expected, tolerance=1e-5):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


class EveryBatch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.get_weights())


def softmax_groups(weights, batch, labels):
    """The mean gradient of the loss of each group, for kernel and bias."""
    x, y = batch["inputs"].numpy().reshape(-1, SIZE, 4), labels.numpy().reshape(-1, SIZE)
    logits = np.float64(x) @ weights[0] + weights[1]
    error = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True) - np.eye(K)[y]
    return [np.einsum("cbi,cbo->cio", x, error) / SIZE, error.mean(axis=1)]


def oracle_history(base, initial, data, steps):
    variate = oracle.ControlVariate([w.shape for w in initial], K, 0.1)
    weights, history = [np.float64(w) for w in initial], []
    for batch, labels in data.take(steps):
        groups = softmax_groups(base.seen(weights), batch, labels)
        corrected = variate.correct(groups, batch["cluster_ids"].numpy()[::SIZE])
        weights = base.step(weights, corrected)
        history.append(weights)
    return history


@pytest.mark.parametrize("jit_compile", [False, True])
def test_igt_of_several_clusters_shows_its_true_weights(jit_compile):
    model, watch = ClusterModel.from_model(linear()), EveryBatch()
    model.compile(DiscoverIGT(RATE, K, momentum=0.5), LOSS, jit_compile=jit_compile)
    initial = model.get_weights()
    fit(model, callbacks=[watch], epochs=2)
    history = oracle_history(oracle.IGT(RATE, 0.5, 2.0), initial, batches(), 2 * STEPS)
    for seen, expected in zip(watch.weights, history, strict=True):
        assert_close(seen, expected)


def test_a_schedule_and_swapped_averages():
    schedule = keras.optimizers.schedules.PolynomialDecay(RATE, 4, 0.0)
    inner = keras.optimizers.SGD(schedule, use_ema=True, ema_momentum=0.5)
    models = [
        compiled(optimizer=Discover(schedule, K, gain=1.0, use_ema=True, ema_momentum=0.5)),
        compiled(optimizer=DiscoverOver(inner, K)),
    ]
    initial = models[0].get_weights()
    base = oracle.SGD(lambda taken: RATE * (1 - taken / 4))
    history = oracle_history(base, initial, batches(), STEPS)
    average = history[0]
    for weights in history[1:]:
        average = [0.5 * a + 0.5 * w for a, w in zip(average, weights, strict=True)]
    for model in models:
        watch, swap = EveryBatch(), keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        assert_close(fit(model, callbacks=[watch, swap]), average)
        assert_close(watch.weights[-1], history[-1])


class Subclass(ClusterModel):
    def __init__(self, normalized=False):
        super().__init__()
        self.dense = keras.layers.Dense(K)
        self.normalization = keras.layers.BatchNormalization() if normalized else None

    def call(self, inputs, training=None):
        outputs = self.dense(inputs)
        return self.normalization(outputs, training=training) if self.normalization else outputs


class Inner(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(K)

    def call(self, inputs):
        return self.dense(inputs)


UNBUILT = {
    "subclass": Subclass,
    "subclass with moving statistics": lambda: Subclass(normalized=True),
    "wrapped": lambda: ClusterModel.from_model(Inner()),
    "sequential without input": lambda: ClusterModel.from_model(
        keras.Sequential([keras.layers.Dense(K)])
    ),
}


@pytest.mark.parametrize("make", UNBUILT.values(), ids=list(UNBUILT))
def test_models_that_were_never_called_are_built_by_fit(make):
    results = []
    for called_before in (False, True):
        keras.utils.set_random_seed(1)
        model = make()
        model.compile(Discover(RATE, K, gain=1.0), LOSS, jit_compile=False, run_eagerly=True)
        if called_before:
            model(X[:1])
        results.append(fit(model))
    assert_close(*results, tolerance=1e-6)
    assert len(model.optimizer.cluster_gradients) == len(model.trainable_weights) > 0


@pytest.mark.parametrize("wrapped", [False, True])
def test_models_of_every_kind_export(tmp_path, wrapped):
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(K)(inputs)
    model = ClusterModel.from_model(Inner()) if wrapped else ClusterModel(inputs, outputs)
    expected = model(X).numpy()
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(served.serve(X), expected, rtol=1e-6)


def test_arguments_of_fit_by_position():
    model, watch = compiled(), EveryBatch()
    model.fit(batches(), None, None, 2, 0, [watch], steps_per_epoch=STEPS)
    assert len(watch.weights) == 2 * STEPS
    model.fit(batches(), callbacks=watch, steps_per_epoch=1, verbose=0)
    assert len(watch.weights) == 2 * STEPS + 1


def test_the_number_of_groups_is_forgotten_with_its_dataset():
    """Single examples after groups are not taken for groups; what the user set stays."""
    singles = batches().map(lambda *batch: batch)
    model = compiled()
    fit(model, steps=1)
    assert model.groups_per_batch == GROUPS
    fit(model, singles, steps=1)
    assert model.groups_per_batch is None
    model.groups_per_batch = GROUPS
    fit(model, singles, steps=1)
    assert model.groups_per_batch == GROUPS


def test_one_batch_at_a_time():
    model = compiled()
    model.groups_per_batch = GROUPS
    for x, y in batches().take(STEPS):
        logs = model.train_on_batch(x, y, return_dict=True)
    assert_close(model.get_weights(), fit(compiled()), tolerance=1e-6)
    assert set(logs) == {"loss"}
    assert model.predict_on_batch(x).shape == (GROUPS * SIZE, K)
    model.reset_metrics()
    plain = model.test_on_batch(x["inputs"], y)
    model.reset_metrics()
    assert model.test_on_batch(x, y) == pytest.approx(plain)


@pytest.mark.parametrize("groups", [1, 3, None], ids=["one group", "loop", "unknown groups"])
def test_moving_statistics_survive_a_group_of_nan(groups):
    x = X.copy()
    x[Y == 1] = np.nan
    data = batches(groups or 3, x=x, order="cycle")
    if groups is None:
        data = data.map(lambda *batch: batch)
    model = compiled(linear(keras.layers.BatchNormalization()))
    with pytest.warns(UserWarning, match="groups were left out"):
        fit(model, data)
    moving_mean = model.layers[1].moving_mean.numpy()
    assert all(np.isfinite(w).all() for w in model.get_weights())
    if groups:  # the other groups went on
        assert np.abs(moving_mean).max() > 0


def test_frozen_after_training_needs_a_new_optimizer():
    model = compiled(linear(keras.layers.Dense(5)))
    fit(model, steps=1)
    model.layers[1].trainable = False
    model.compile(model.optimizer, LOSS, jit_compile=False)
    way_out = "compile the model again with a new optimizer"
    with pytest.raises(ValueError, match=f"each of the 4 variables .*Received 2 .*{way_out}"):
        fit(model, steps=1)
    model.compile(Discover(RATE, K, gain=1.0), LOSS, jit_compile=False)
    before = model.get_weights()
    after = fit(model, steps=1)
    assert_close(after[:2], before[:2], tolerance=0)
    assert np.abs(after[2] - before[2]).max() > 0


def test_unfrozen_after_training_needs_a_new_optimizer():
    plain = linear(keras.layers.Dense(5))
    plain.layers[0].trainable = False
    model = compiled(plain)
    fit(model, steps=1)
    plain.layers[0].trainable = True
    model.compile(model.optimizer, LOSS, jit_compile=False)
    with pytest.raises(ValueError, match=r"Received 4 .* again with a new optimizer"):
        fit(model, steps=1)


@pytest.mark.parametrize("name", ["test_step", "predict_step", "compute_loss", "compute_metrics"])
def test_what_would_not_be_run_is_refused(name):
    own = type("Own", (keras.Model,), {name: lambda self, *args, **kwargs: None})
    with pytest.raises(ValueError, match=f"has a `{name}` of its own.*Subclass"):
        ClusterModel.from_model(own())
    changed = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    setattr(changed, name, lambda *args, **kwargs: None)
    with pytest.raises(ValueError, match=f"of type Sequential has a `{name}` of its own"):
        ClusterModel.from_model(changed)


def test_metrics_of_ones_own_are_refused():
    class Own(keras.Model):
        @property
        def metrics(self):
            return []

    with pytest.raises(ValueError, match="has a `metrics` of its own"):
        ClusterModel.from_model(Own())


@pytest.mark.parametrize("subclass", [False, True])
@pytest.mark.parametrize("data", ["groups", "one group", "own ids"])
def test_a_call_without_training(subclass, data):
    """As the same model whose `call` has that argument."""
    base = ClusterModel if subclass else keras.Model

    class With(base):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3, kernel_initializer="ones")

        def call(self, inputs, training=None):
            return self.dense(inputs)

    class Without(With):
        def call(self, inputs):
            return self.dense(inputs)

    found = []
    for kind in (With, Without):
        model = kind() if subclass else ClusterModel.from_model(kind())
        model.compile(Discover(RATE, K, gain=1.0), LOSS, run_eagerly=True)
        made = batches(groups=1) if data == "one group" else batches()
        fit(model, made.map(lambda *batch: batch) if data == "own ids" else made, steps=2)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.ptp(one) > 0


def test_a_loss_of_ones_own():
    class Own(Subclass):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return tf.reduce_mean(y_pred**2)

    model = Own()
    model.compile(Discover(RATE, K, gain=1.0), jit_compile=False)
    before = np.linalg.norm(model(X))
    fit(model)
    assert np.linalg.norm(model(X)) < before
    with pytest.raises(ValueError, match="`compute_loss` of Own cannot be told apart by cluster"):
        fit(model, batches().map(lambda *batch: batch))


def test_a_loop_without_fit_checks_the_clusters():
    for optimizer, match in (
        (Discover(RATE, K + 1), "have 3 clusters and the optimizer 4"),
        (Discover(RATE, K, cluster_probabilities=[0.5, 0.3, 0.2]), "other cluster probabilities"),
    ):
        with pytest.raises(ValueError, match=match):
            next(train_steps(compiled(optimizer=optimizer), batches(), 2, steps_per_call=2))
    model = compiled()
    for _ in train_steps(model, batches(), STEPS, steps_per_call=1):
        pass
    assert_close(model.get_weights(), fit(compiled()), tolerance=1e-6)


@pytest.mark.parametrize("steps", [0, 5])
def test_a_loop_without_fit_wants_whole_calls(steps):
    with pytest.raises(ValueError, match="`steps` must be"):
        next(train_steps(compiled(), batches(), steps, steps_per_call=2))


def test_fit_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(compiled(), epochs=2)
