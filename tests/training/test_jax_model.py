"""ClusterModel on JAX: groups apart, layers with state, what is left out, files, every sentence."""

import importlib

import keras
import numpy as np
import pytest

from tests.training.jax_cases import LOSS, K, X, Y, batches, make_model, state_of
from tf_gradvar import ClusterModel, Discover, cluster_batches
from tf_gradvar.keras_internals import keeps_batches_in_order

pytestmark = [
    pytest.mark.jax,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs the JAX backend"),
]


SIZES = {"a": 3, "b": 1}  # of two outputs


def fit(model, data=None, steps=3, **arguments):
    model.fit(batches() if data is None else data, steps_per_epoch=steps, verbose=0, **arguments)
    return model


def assert_close(actual, expected, tolerance=1e-6):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=1e-5)


def one_step(x, y, ids, dropout=0.5):
    """A step of alpha 1: the buffers are the gradients of the groups."""
    model = make_model(Discover(0.1, K, alpha=1.0, gain=1.0), dropout=dropout)
    model.groups_per_batch = len(ids)
    model.train_on_batch({"inputs": x, "cluster_ids": np.repeat(ids, len(x) // len(ids))}, y)
    return model


def test_one_group_after_the_other_equals_all_at_once():
    found = []
    for method in ("loop", "vectorized"):
        model = make_model(Discover(0.1, K), normalized=True, dropout=0.5)
        model.group_method = method
        found.append(state_of(fit(model)))
    assert_close(*found)


def test_batch_statistics_are_those_of_each_group():
    """Two groups as one batch move the statistics by the mean over the groups."""
    rows = np.arange(8)
    model = make_model(Discover(0.1, K), normalized=True)
    hidden = keras.Model(model.inputs, model.layers[1].output).predict(X[rows], verbose=0)
    model.groups_per_batch = 2
    ids = np.repeat([0, 1], 4)
    model.train_on_batch({"inputs": X[rows], "cluster_ids": ids}, Y[rows])
    layer = model.layers[2]
    groups = np.float64(hidden).reshape(2, 4, -1)
    np.testing.assert_allclose(layer.moving_mean, 0.01 * groups.mean((0, 1)), atol=1e-6)
    variance = 0.99 + 0.01 * groups.var(axis=1).mean(axis=0)
    np.testing.assert_allclose(layer.moving_variance, variance, atol=1e-6)


def test_groups_draw_noise_of_their_own():
    x, y = np.tile(X[:4], (2, 1)), np.tile(Y[:4], 2)
    model = one_step(x, y, [0, 1])
    first, second = np.asarray(model.optimizer.cluster_gradients[2])[:2]
    assert np.abs(first - second).max() > 1e-3
    without = one_step(x, y, [0, 1], dropout=0.0)
    first, second = np.asarray(without.optimizer.cluster_gradients[2])[:2]
    np.testing.assert_allclose(first, second, atol=1e-7)


def test_several_outputs_with_metrics_and_layer_losses():
    """What Keras keeps of the loss of each output is that of the whole batch."""
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, activity_regularizer=keras.regularizers.L2(0.1))(inputs)
    outputs = {name: keras.layers.Dense(size, name=name)(hidden) for name, size in SIZES.items()}
    model = ClusterModel.from_model(keras.Model(inputs, outputs), groups_per_batch=4)
    model.compile(
        Discover(1e-6, K),  # which leaves the weights nearly as they are
        {"a": LOSS, "b": "mse"},
        metrics={"a": "accuracy"},
        loss_weights={"a": 1.0, "b": 0.5},
    )
    batch, labels = batches()[0]
    targets = {"a": labels, "b": labels[:, None].astype("float32")}
    found = model.train_on_batch(batch, targets, return_dict=True)
    expected = model.evaluate(batch["inputs"], targets, verbose=0, return_dict=True)
    assert set(found) == set(expected) == {"loss", "a_loss", "b_loss", "a_accuracy"}
    for name in ("a_loss", "b_loss", "a_accuracy"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3)


def test_a_group_that_is_not_finite_is_left_out_and_reported():
    model = make_model(Discover(0.1, K, alpha=1.0), normalized=True)
    x = X[:12].copy()
    x[4:8] = np.nan
    data = ({"inputs": x, "cluster_ids": np.repeat([0, 1, 2], 4)}, Y[:12])
    model.groups_per_batch = 3

    def generator():
        while True:
            yield data

    with pytest.warns(UserWarning, match="1 groups were left out"):
        fit(model, generator(), steps=1, shuffle=False)
    assert int(model.optimizer.skipped_groups) == 1
    assert all(np.isfinite(values).all() for values in state_of(model))
    held = np.abs(np.asarray(model.optimizer.cluster_gradients[0])).max(axis=(1, 2))
    assert held[1] == 0.0 < min(held[0], held[2])


def test_mixed_groups_are_left_out():
    model = one_step(X[:8], Y[:8], [0, 1])
    assert int(model.optimizer.skipped_groups) == 0
    ids = np.array([0, 0, 0, 1, 2, 2, 2, 2])
    model.train_on_batch({"inputs": X[:8], "cluster_ids": ids}, Y[:8])
    assert int(model.optimizer.skipped_groups) == 1


def test_dynamic_loss_scale_learns_of_an_overflow():
    optimizer = keras.optimizers.LossScaleOptimizer(Discover(0.1, K), initial_scale=8.0)
    model = make_model(optimizer)
    model.groups_per_batch = 2
    before, x = model.get_weights(), X[:8].copy()
    x[0] = np.inf
    model.train_on_batch({"inputs": x, "cluster_ids": np.repeat([0, 1], 4)}, Y[:8])
    assert float(optimizer.dynamic_scale) == 4.0
    assert_close(model.get_weights(), before)


def test_a_saved_model_trains_on(tmp_path):
    model = fit(make_model(Discover(0.1, K), normalized=True), batches(2))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    resumed = batches(2).sampling.state(3)
    for each in (model, loaded):
        fit(each, batches(2, state=resumed))
    assert_close(state_of(loaded), state_of(model), 0.0)
    predicted = loaded.predict(batches(2), steps=2, verbose=0)
    assert predicted.shape == (16, K)
    np.testing.assert_allclose(predicted, model.predict(batches(2), steps=2, verbose=0))


class Wrapped(keras.Model):
    """A model that is called as a whole, and built by its first batch."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(K, kernel_initializer="zeros")

    def call(self, inputs):
        return self.dense(inputs)


def test_subclassed_models_and_other_optimizers():
    model = ClusterModel.from_model(Wrapped())
    model.compile(keras.optimizers.SGD(0.1), LOSS, metrics=["accuracy"])
    fit(model, steps=1)
    plain = Wrapped()
    plain.compile(keras.optimizers.SGD(0.1), LOSS)
    batch, labels = batches()[0]
    plain.train_on_batch(batch["inputs"], labels)
    assert_close(model.get_weights(), plain.get_weights())
    # The first step of gain 1 and empty buffers is that of SGD.
    other = ClusterModel.from_model(Wrapped())
    other.compile(Discover(0.1, K, gain=1.0), LOSS)
    assert_close(fit(other, steps=1).get_weights(), plain.get_weights())


def test_the_number_of_groups_is_learnt_from_each_dataset():
    model = make_model(Discover(0.1, K, alpha=1.0, gain=1.0))
    for groups in (1, 4, 2):
        fit(model, batches(groups), steps=1)
        assert model.groups_per_batch == groups
        assert int(model.optimizer.skipped_groups) == 0  # groups of two clusters would be


def test_a_second_fit_traces_nothing():
    traces = []

    def loss(y_true, y_pred):
        traces.append(1)
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)

    model = make_model(Discover(0.1, K))
    model.compile(Discover(0.1, K), loss)
    fit(model)
    count = len(traces)
    fit(model, steps=2)
    assert len(traces) == count > 0


def test_owned_buffers_stay_on_their_devices():
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    try:
        model = ClusterModel.from_model(Wrapped())
        model.compile(Discover(0.1, 8, buffers="owned"), LOSS)
        ids = np.arange(len(X)) % 8
        data = cluster_batches(
            (X, Y), ids, num_clusters=8, group_size=4, groups_per_batch=4, owned_by=4, seed=0
        )
        if not keeps_batches_in_order():
            with pytest.raises(ValueError, match=r"on several devices of JAX needs Keras 3\.10"):
                fit(model, data)
            return
        fit(model, data)
        assert int(model.optimizer.skipped_groups) == 0  # as those of another's clusters would be
        held = model.optimizer.cluster_gradients[0].value
        assert {shard.data.shape for shard in held.addressable_shards} == {(2, 4, K)}
        assert np.abs(held).max() > 0
    finally:
        keras.distribution.set_distribution(None)


def unknown_groups():
    batch, labels = batches()[0]
    make_model(Discover(0.1, K)).train_on_batch(batch, labels)


def uneven_groups():
    model = make_model(Discover(0.1, K))
    model.groups_per_batch = 3
    model.train_on_batch({"inputs": X[:8], "cluster_ids": np.zeros(8, "int32")}, Y[:8])


def uneven_devices():
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    try:
        fit(make_model(Discover(0.1, K)), batches(1, group_size=5))
    finally:
        keras.distribution.set_distribution(None)


SENTENCES = {
    "unknown groups": (unknown_groups, r"must be known on JAX.*set `model\.groups_per_batch`"),
    "uneven groups": (uneven_groups, "must divide into its groups: 3 equal groups"),
    "uneven devices": (uneven_devices, "a multiple of 4. Received: groups_per_batch=1"),
    "plain inputs": (
        lambda: make_model(Discover(0.1, K)).train_on_batch(X[:8], Y[:8]),
        "Received inputs of another form",
    ),
    "no end": (lambda: fit(make_model(Discover(0.1, K)), steps=None), "`steps_per_epoch` must be"),
    "other clusters": (
        lambda: fit(make_model(Discover(0.1, K + 1))),
        "The batches have 3 clusters and the optimizer 4",
    ),
}


@pytest.mark.parametrize("what", SENTENCES)
def test_what_does_not_work_is_refused_in_a_sentence(what):
    action, words = SENTENCES[what]
    with pytest.raises(ValueError, match=words):
        action()


def test_loops_of_tf_distribute_need_tensorflow():
    with pytest.raises(ImportError, match=r"call `keras\.distribution\.set_distribution"):
        from tf_gradvar.training import train_steps  # noqa: F401


def test_other_backends_are_refused_at_import(monkeypatch):
    from tf_gradvar.training import backend

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ImportError, match=r"Received: KERAS_BACKEND=torch\. Set"):
        importlib.reload(backend)
