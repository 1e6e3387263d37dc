"""ClusterModel: its step against the float64 oracle, every Keras feature, every sentence."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles.discover_oracle import ControlVariate
from tests.problems import needs_mean_regularizers
from tf_gradvar import ClusterModel, Discover, DiscoverOver, cluster_batches

K, GROUP, RATE, ALPHA, STEPS = 3, 4, 0.1, 0.3, 6
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype("float32")
Y = rng.integers(0, K, 60)


def network(*layers):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(K)])


def discover(**arguments):
    return Discover(RATE, K, alpha=ALPHA, gain=1.0, **arguments)


def batches(groups=4, **changes):
    settings = {"num_clusters": K, "group_size": GROUP, "groups_per_batch": groups, "seed": 0}
    return cluster_batches((X, Y), Y, **{**settings, **changes})


def train(model, optimizer=None, data=None, *, loss=LOSS, method="auto", fit=None, **compiled):
    model = ClusterModel.from_model(model)
    model.group_method = method
    model.compile(optimizer or discover(), loss, **compiled)
    data = batches() if data is None else data
    model.fit(data, epochs=1, steps_per_epoch=STEPS, verbose=0, **(fit or {}))
    return model


def softmax_gradients(weights, x, y, sample_weight=None):
    """Return the gradient of the mean loss of each group, [C, *shape] for kernel and bias."""
    x, y = np.float64(x).reshape(-1, GROUP, 4), y.reshape(-1, GROUP)
    logits = x @ weights[0] + weights[1]
    error = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True) - np.eye(K)[y]
    if sample_weight is not None:
        error *= sample_weight.reshape(-1, GROUP, 1)
    return [np.einsum("cbi,cbo->cio", x, error) / GROUP, error.mean(axis=1)]


def oracle_weights(initial, data, *, l2=0.0, class_weight=None):
    """Return weights and buffers after training softmax regression with Discover."""
    weights = [np.float64(w) for w in initial]
    variate = ControlVariate([w.shape for w in weights], K, ALPHA)
    for batch, y, *sample_weight in data.take(STEPS).as_numpy_iterator():
        weight = sample_weight[0] if sample_weight else None
        if class_weight:
            weight = np.vectorize(class_weight.get)(y)
        groups = softmax_gradients(weights, batch["inputs"], y, weight)
        corrected = variate.correct(groups, batch["cluster_ids"][::GROUP])
        corrected[0] = corrected[0] + 2 * l2 * weights[0]
        weights = [w - RATE * v for w, v in zip(weights, corrected, strict=True)]
    return weights, variate


def assert_close(actual, expected, rtol=1e-5, atol=1e-6):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a, "float64"), b, rtol=rtol, atol=atol)


def assert_trains_as_oracle(model, initial, data, **oracle_arguments):
    weights, variate = oracle_weights(initial, data, **oracle_arguments)
    assert_close(model.get_weights(), weights)
    for i, buffers in enumerate(model.optimizer.cluster_gradients):
        assert_close(buffers.numpy(), [variate.buffers[i][k] for k in range(K)])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("method", ["loop", "vectorized", "unknown groups"])
def test_step_equals_oracle(method, jit_compile):
    plain, data = network(), batches()
    initial = plain.get_weights()
    unknown = method == "unknown groups"
    model = train(
        plain,
        data=data.map(lambda *batch: batch) if unknown else data,  # hides the number of groups
        method="auto" if unknown else method,
        jit_compile=jit_compile,
    )
    assert model.groups_per_batch == (None if unknown else 4)
    assert_trains_as_oracle(model, initial, data)


@pytest.mark.parametrize("groups", [1, 2])
def test_other_numbers_of_groups(groups):
    plain, data = network(), batches(groups)
    initial = plain.get_weights()
    assert_trains_as_oracle(train(plain, data=data), initial, data)


def test_single_examples_with_mixed_ids():
    """Every example weighs alike, whatever the sizes of the clusters in the batch."""
    plain = network()
    weights = [np.float64(w) for w in plain.get_weights()]
    ids = np.array([0, 2, 2, 1, 0, 2, 2, 2], "int32")
    inputs = {"inputs": tf.constant(X[:8]), "cluster_ids": tf.constant(ids)}
    data = tf.data.Dataset.from_tensors((inputs, Y[:8])).repeat()
    model = train(plain, data=data)
    variate = ControlVariate([w.shape for w in weights], K, ALPHA)
    for _ in range(STEPS):
        logits = np.float64(X[:8]) @ weights[0] + weights[1]
        error = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(K)[Y[:8]]
        examples = [np.einsum("bi,bo->bio", X[:8], error), error]
        corrected = variate.correct(examples, ids)
        weights = [w - RATE * v for w, v in zip(weights, corrected, strict=True)]
    assert_close(model.get_weights(), weights)


@pytest.mark.parametrize("method", ["auto", "unknown groups"])
def test_sample_weights(method):
    sample_weight = np.linspace(0.5, 2.0, 60).astype("float32")
    data = cluster_batches(
        (X, Y, sample_weight), Y, num_clusters=K, group_size=GROUP, groups_per_batch=4, seed=0
    )
    plain = network()
    initial = plain.get_weights()
    given = data if method == "auto" else data.map(lambda *batch: batch)
    assert_trains_as_oracle(train(plain, data=given), initial, data)


def test_class_weights():
    class_weight = {0: 0.5, 1: 1.0, 2: 3.0}
    plain, data = network(), batches()
    initial = plain.get_weights()
    model = train(plain, data=data, fit={"class_weight": class_weight})
    assert_trains_as_oracle(model, initial, data, class_weight=class_weight)


@pytest.mark.parametrize("groups", [1, 4])
def test_regularizers_stay_outside_the_buffers(groups):
    regularizer = keras.regularizers.L2(0.01)
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense(K, kernel_regularizer=regularizer)
    plain, data = keras.Sequential([keras.Input((4,)), dense]), batches(groups)
    initial = plain.get_weights()
    assert_trains_as_oracle(train(plain, data=data), initial, data, l2=0.01)


def test_activity_regularizers_join_the_groups():
    def regularized():
        return network(keras.layers.Dense(5, activity_regularizer=keras.regularizers.L2(0.1)))

    by_loop, vectorized = (train(regularized(), method=m) for m in ("loop", "vectorized"))
    assert_close(by_loop.get_weights(), vectorized.get_weights())
    without = train(network(keras.layers.Dense(5)))
    assert np.abs(by_loop.get_weights()[0] - without.get_weights()[0]).max() > 1e-3


@needs_mean_regularizers
def test_losses_that_layers_add_need_known_groups():
    layers = keras.layers.Dense(5, activity_regularizer=keras.regularizers.L2(0.1))
    with pytest.raises(ValueError, match="add losses of their own"):
        train(network(layers), data=batches().map(lambda *batch: batch))


def test_moving_statistics_move_by_the_mean_over_groups():
    normalization = keras.layers.BatchNormalization(momentum=0.9)
    keras.utils.set_random_seed(1)
    model = ClusterModel.from_model(keras.Sequential([keras.Input((4,)), normalization,
                                                      keras.layers.Dense(K)]))  # fmt: skip
    model.compile(discover(), LOSS)
    data = batches()
    model.fit(data, steps_per_epoch=1, verbose=0)
    (batch, _) = next(iter(data))
    group_means = batch["inputs"].numpy().reshape(4, GROUP, 4).mean(axis=1)
    # A mean over the groups that nearly cancels keeps the rounding of its terms.
    expected = 0.1 * group_means.mean(axis=0)
    np.testing.assert_allclose(normalization.moving_mean, expected, rtol=1e-5, atol=1e-8)


def test_dropout_is_seeded_and_moves_on():
    def dropping():
        return network(keras.layers.Dense(8), keras.layers.Dropout(0.5, seed=3))

    first, again = train(dropping()), train(dropping())
    assert_close(first.get_weights(), again.get_weights(), rtol=0, atol=0)
    seeds = [v.numpy() for v in first.non_trainable_variables]
    first.fit(batches(), steps_per_epoch=1, verbose=0)
    assert any((a != b.numpy()).any() for a, b in zip(seeds, first.non_trainable_variables,
                                                      strict=True))  # fmt: skip


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    exact = train(network(keras.layers.Dense(8, activation="relu")))
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = train(network(keras.layers.Dense(8, activation="relu")))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    dynamic = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert dynamic == (policy == "mixed_float16")
    assert_close(model.get_weights(), exact.get_weights(), rtol=0.02, atol=0.02)


def test_an_overflow_skips_the_step_and_lowers_the_scale():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        plain = network()
        initial = plain.get_weights()
        optimizer = keras.optimizers.LossScaleOptimizer(discover(), initial_scale=2.0**30)
        with pytest.warns(UserWarning, match="groups were left out"):
            model = train(plain, optimizer)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert float(optimizer.dynamic_scale.numpy()) == 2.0 ** (30 - STEPS)
    assert_close(model.get_weights(), initial, rtol=0, atol=0)
    assert all(np.isfinite(b.numpy()).all() for b in optimizer.inner_optimizer.cluster_gradients)


def test_loss_scale_factor_changes_nothing():
    scaled = train(network(), discover(loss_scale_factor=1024.0))
    assert_close(scaled.get_weights(), train(network()).get_weights())
    for a, b in zip(
        scaled.optimizer.cluster_gradients,
        train(network()).optimizer.cluster_gradients,
        strict=True,
    ):
        assert_close(a.numpy(), b.numpy())


def test_steps_per_execution_and_eager_mode_change_nothing():
    expected = train(network()).get_weights()
    assert_close(train(network(), steps_per_execution=3).get_weights(), expected)
    assert_close(train(network(), run_eagerly=True).get_weights(), expected)


def test_accumulation_steps_with_the_mean_of_corrected_gradients():
    plain, data = network(), batches()
    weights = [np.float64(w) for w in plain.get_weights()]
    model = train(plain, discover(gradient_accumulation_steps=2), data)
    variate = ControlVariate([w.shape for w in weights], K, ALPHA)
    held = []
    for batch, y in data.take(STEPS).as_numpy_iterator():
        groups = softmax_gradients(weights, batch["inputs"], y)
        held.append(variate.correct(groups, batch["cluster_ids"][::GROUP]))
        if len(held) == 2:
            means = [(a + b) / 2 for a, b in zip(*held, strict=True)]
            weights = [w - RATE * v for w, v in zip(weights, means, strict=True)]
            held = []
    assert_close(model.get_weights(), weights)


def test_several_inputs_and_outputs():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((2,), name="b")}
    merged = keras.layers.Concatenate()([inputs["a"], inputs["b"]])
    label, value = keras.layers.Dense(K, name="label"), keras.layers.Dense(1, name="value")
    outputs = {"label": label(merged), "value": value(merged)}
    data = cluster_batches(
        ({"a": X, "b": X[:, :2]}, {"label": Y, "value": X[:, :1]}),
        Y,
        num_clusters=K,
        group_size=GROUP,
        groups_per_batch=2,
        seed=0,
    )
    keras.utils.set_random_seed(1)
    model = train(
        keras.Model(inputs, outputs),
        data=data,
        loss={"label": LOSS, "value": "mse"},
        metrics={"label": ["accuracy"]},
    )
    before = model.evaluate(data.take(2), verbose=0, return_dict=True)["loss"]
    model.fit(data, steps_per_epoch=50, verbose=0)
    assert model.evaluate(data.take(2), verbose=0, return_dict=True)["loss"] < before


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(K)

    def call(self, inputs):
        return self.dense(inputs)


class SubclassedClusterModel(ClusterModel):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(K)

    def call(self, inputs):
        return self.dense(inputs)


def test_functional_subclassed_and_wrapped_models_train_alike():
    expected = train(network()).get_weights()
    keras.utils.set_random_seed(1)
    functional = ClusterModel(*(lambda i: (i, keras.layers.Dense(K)(i)))(keras.Input((4,))))
    models = [functional, SubclassedClusterModel(), ClusterModel.from_model(Subclassed())]
    for model in models:
        model(X[:1])
        model.set_weights(network().get_weights())
        model.compile(discover(), LOSS)
        model.fit(batches(), steps_per_epoch=STEPS, verbose=0)
        assert_close(model.get_weights(), expected)


def test_from_model_shares_the_weights():
    plain = network()
    model = train(plain)
    assert_close(plain.get_weights(), model.get_weights(), rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_other_optimizers_see_the_mean_gradient(optimizer):
    clustered = train(network(), optimizer(RATE))
    plain = network()
    plain.compile(optimizer(RATE), LOSS)
    simple = batches().map(lambda batch, y: (batch["inputs"], y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.fit(simple, steps_per_epoch=STEPS, verbose=0)
    assert_close(clustered.get_weights(), plain.get_weights())


def test_reported_loss_and_metrics_are_of_the_whole_batch():
    plain = network()
    expected = LOSS(*(lambda b, y: (y, plain(b["inputs"])))(*next(iter(batches()))))
    model = ClusterModel.from_model(plain)
    model.compile(discover(), LOSS, metrics=["accuracy"])
    history = model.fit(batches(), steps_per_epoch=1, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-6)
    assert 0 <= history["accuracy"][0] <= 1


def test_evaluate_and_predict_take_plain_and_cluster_batches():
    model = train(network())
    on_clusters = model.evaluate(batches().take(2), verbose=0)
    plain = batches().take(2).map(lambda batch, y: (batch["inputs"], y))
    np.testing.assert_allclose(model.evaluate(plain, verbose=0), on_clusters, rtol=1e-6)
    predicted = model.predict(batches().take(2), verbose=0)
    np.testing.assert_allclose(predicted, model.predict(plain, verbose=0), rtol=1e-6)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [discover, lambda: DiscoverOver(keras.optimizers.AdamW(0.01), K)],
    ids=["Discover", "DiscoverOver"],
)
def test_saved_models_train_on_identically(tmp_path, wrapped, optimizer):
    if wrapped:
        inner = Subclassed()
        inner(X[:1])
    model = train(inner if wrapped else network(), optimizer())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, ClusterModel)
    for trained in (model, loaded):
        trained.fit(batches(), steps_per_epoch=3, verbose=0)
    assert_close(loaded.get_weights(), model.get_weights(), rtol=0, atol=0)


def test_second_step_compiles_nothing():
    model = ClusterModel.from_model(network(), groups_per_batch=4)
    model.compile(discover(), LOSS)
    traces = []

    @tf.function
    def step(data):
        traces.append(1)
        return model.train_step(data)

    for data in batches().take(3):
        step(data)
    assert len(traces) <= 2  # the first call of a function that makes variables traces twice


def hand_made(ids, examples=8):
    inputs = {"inputs": tf.constant(X[:examples]), "cluster_ids": ids}
    return tf.data.Dataset.from_tensors((inputs, Y[:examples])).repeat()


class OwnStep(keras.Model):
    def train_step(self, data):
        return {}


def with_groups(groups, data):
    model = ClusterModel.from_model(network(), groups_per_batch=groups)
    model.compile(discover(), LOSS)
    model.fit(data, steps_per_epoch=1, verbose=0)


def plain_fit(optimizer):
    model = network()
    model.compile(optimizer, LOSS)
    model.fit(batches(), steps_per_epoch=1, verbose=0)


def plain_fit_on_inputs(optimizer):
    model = network()
    model.compile(optimizer, LOSS)
    model.fit(X, Y, verbose=0)


IDS = tf.zeros([8], tf.int32)
BAD_CALLS = {
    "plain batch": (
        lambda: train(network(), data=tf.data.Dataset.from_tensors((X, Y)).repeat()),
        "ClusterModel trains on batches",
    ),
    "other keys": (
        lambda: train(network(), data=hand_made(IDS).map(lambda b, y: ({"a": b["inputs"]}, y))),
        r"a dict with the keys \['a'\]",
    ),
    "dtype of ids": (
        lambda: train(network(), data=hand_made(tf.zeros([8]))),
        "`cluster_ids` must be integers",
    ),
    "shape of ids": (
        lambda: train(network(), data=hand_made(tf.zeros([8, 2], tf.int32))),
        r"of shape \[B\]",
    ),
    "number of ids": (lambda: train(network(), data=hand_made(IDS[:4])), "4 ids for 8 examples"),
    "indivisible": (lambda: with_groups(3, hand_made(IDS)), "must divide into its groups"),
    "number of groups": (lambda: with_groups(0, hand_made(IDS)), "`groups_per_batch` must be"),
    "other number of clusters": (
        lambda: train(network(), Discover(RATE, K + 1)),
        "have 3 clusters and the optimizer 4",
    ),
    "other probabilities": (
        lambda: train(network(), Discover(RATE, K, cluster_probabilities=[0.5, 0.3, 0.2])),
        "other cluster probabilities",
    ),
    "own train_step": (
        lambda: ClusterModel.from_model(OwnStep()),
        "has a `train_step` of its own",
    ),
    "plain model, cluster batch": (lambda: plain_fit("sgd"), "structure of `inputs`"),
    "plain model, Discover": (
        lambda: plain_fit_on_inputs(discover()),
        "needs gradients that went through `correct_gradients",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_gets_a_sentence(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_from_model_wants_a_model():
    with pytest.raises(TypeError, match=r"`model` must be a keras\.Model"):
        ClusterModel.from_model(keras.layers.Dense(3))


@pytest.mark.parametrize("broken", ["NaN in the data", "two clusters in a group", "unknown id"])
def test_groups_that_cannot_be_used_are_left_out_and_reported(broken):
    inputs, ids = X[:8].copy(), np.repeat([0, 1], 4).astype("int32")
    if broken == "NaN in the data":
        inputs[0] = np.nan
    else:
        ids[0] = 2 if broken == "two clusters in a group" else 7
        ids[:4] = ids[0] if broken == "unknown id" else ids[:4]
    batch = ({"inputs": tf.constant(inputs), "cluster_ids": tf.constant(ids)}, Y[:8])
    model = ClusterModel.from_model(network(), groups_per_batch=2)
    model.compile(discover(), LOSS)
    with pytest.warns(UserWarning, match="In epoch 1, 3 groups were left out"):
        model.fit(tf.data.Dataset.from_tensors(batch).repeat(), steps_per_epoch=3, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    zeroth, first, second = model.optimizer.cluster_gradients[0].numpy()
    assert np.abs(first).max() > 0
    assert np.abs(zeroth).max() == np.abs(second).max() == 0
