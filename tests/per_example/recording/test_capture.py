"""Measuring leaves the model as it was, and holds in graphs, under XLA and in half precision."""

import logging
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.oracles import per_example_oracle as oracle
from tests.per_example.conftest import solve
from tests.problems import PROBLEMS, Swish, needs_mean_regularizers, sequential
from tf_gradvar import per_example
from tf_gradvar.per_example.recording import fallback

X = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(6, 2)).astype("float32")


def by_name(name):
    return solve(next(problem for problem in PROBLEMS if problem.name == name))


def noisy_model():
    return sequential(
        (8,),
        layers.Dense(6, "relu", kernel_regularizer="l2", activity_regularizer="l1"),
        layers.BatchNormalization(),
        layers.Dropout(0.5, seed=1),
        layers.Dense(2),
    )


def snapshot(model):
    """Everything that a measurement could have touched."""
    attributes = [dict(layer.__dict__) for layer in [model, *model.layers]]
    return model.get_weights(), attributes, len(model.losses)


def assert_unchanged(model, before):
    weights, attributes, losses = snapshot(model)
    for new, old in zip(weights, before[0], strict=True):
        np.testing.assert_array_equal(new, old)
    for new, old in zip(attributes, before[1], strict=True):
        assert new.keys() == old.keys()
        assert all(new[key] is old[key] for key in new if not isinstance(new[key], (int, float)))
    assert losses == before[2]


@needs_mean_regularizers
def test_the_model_is_not_changed():
    model = noisy_model()
    model(X)
    before = snapshot(model)
    per_example.statistics(model, X, Y, "mse", second_moments=True, sketch_size=8)
    per_example.inner_products(model, X, Y, "mse", [v + 1 for v in model.trainable_variables])
    assert_unchanged(model, before)


@needs_mean_regularizers
def test_the_model_is_not_changed_by_a_failure():
    model = noisy_model()
    model(X)
    before = snapshot(model)
    with pytest.raises(ValueError, match="`training` must be False"):
        per_example.squared_norms(model, X, Y, "mse", training=True)
    with pytest.raises(ValueError, match="one value per example"):
        per_example.squared_norms(model, X, Y, lambda y, p: tf.reduce_mean((y - p) ** 2))
    assert_unchanged(model, before)


def test_a_call_of_the_user_on_the_layer_survives():
    model = sequential((8,), layers.Dense(2))
    layer = model.layers[0]
    calls = []
    real = layer.call

    def counted(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    layer.call = counted
    norms = per_example.squared_norms(model, X, Y, "mse")
    assert calls
    assert layer.call is counted
    del layer.call
    np.testing.assert_allclose(norms, per_example.squared_norms(model, X, Y, "mse"), rtol=1e-6)


def test_another_thread_uses_the_layers_as_they_are():
    model = sequential((8,), layers.Dense(4, "relu"), layers.Dense(2))
    expected = model(X).numpy()
    seen = []

    def run_beside():
        thread = threading.Thread(target=lambda: seen.append(model(X).numpy()))
        thread.start()
        thread.join()

    class Interrupted(layers.Layer):
        def compute_output_shape(self, shape):
            return shape

        def call(self, x):
            run_beside()
            return x

    wrapped = keras.Sequential([keras.Input((8,)), model.layers[0], Interrupted(), model.layers[1]])
    per_example.squared_norms(wrapped, X, Y, "mse")
    np.testing.assert_array_equal(seen[0], expected)


def test_dropout_in_training_mode_uses_one_mask():
    """The seeds do not move, so that the same masks are drawn again."""
    model = sequential((8,), layers.Dropout(0.5, seed=3), layers.Dense(2))
    first = per_example.squared_norms(model, X, Y, "mse", training=True)
    again = per_example.squared_norms(model, X, Y, "mse", training=True)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - per_example.squared_norms(model, X, Y, "mse")).max() > 1e-3


@needs_mean_regularizers
def test_batch_normalization_with_stored_statistics_may_train_the_rest():
    model = noisy_model()
    model.layers[1].trainable = False
    per_example.squared_norms(model, X, Y, "mse", training=True)


@pytest.mark.parametrize(
    ("name", "chunk_size"),
    [
        ("mlp", 2),
        ("masked_text", None),
        ("long_sequence", 2),
        ("conv_2d", None),
        ("depthwise", None),
        ("normalizations", None),
        ("einsum", None),
        ("shared", None),
        ("tied", None),
    ],
)
def test_xla(name, chunk_size):
    """`jit_compile=True` with static shapes; the second call compiles nothing."""
    if name == "tied" and not hasattr(layers, "ReversibleEmbedding"):
        pytest.skip("newer versions of Keras have it")
    solved = by_name(name)

    @tf.function(jit_compile=True)
    def compiled(x, y):
        return per_example.statistics(
            solved.model,
            x,
            y,
            solved.loss,
            second_moments=True,
            sketch_size=16,
            chunk_size=chunk_size,
            **solved.options,
        )

    data = keras.tree.map_structure(tf.constant, (solved.x, solved.y))
    result = compiled(*data)
    np.testing.assert_allclose(
        result.squared_norms, oracle.squared_norms(solved.gradients), rtol=3e-5
    )
    compiled(*data)
    assert compiled.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_measures_in_float32(policy):
    keras.utils.set_random_seed(0)
    half = sequential(
        (8,),
        layers.Dense(6, "relu", dtype=policy),
        layers.LayerNormalization(dtype=policy),
        layers.Dense(2, dtype=policy),
    )
    full = sequential((8,), layers.Dense(6, "relu"), layers.LayerNormalization(), layers.Dense(2))
    full.set_weights(half.get_weights())
    result = per_example.statistics(half, X, Y, "mse", second_moments=True, sketch_size=4)
    tensors = [result.losses, result.squared_norms, result.sketch, *result.mean_gradient]
    assert {t.dtype for t in tensors + result.second_moments} == {tf.float32}
    tolerance = 0.1 if policy == "mixed_bfloat16" else 0.02
    expected = per_example.squared_norms(full, X, Y, "mse")
    np.testing.assert_allclose(result.squared_norms, expected, rtol=tolerance)


def test_weight_regularizers_belong_to_no_example():
    """Those of activities do: see `test_independence.py`."""
    plain = sequential((8,), layers.Dense(2))
    decayed = sequential((8,), layers.Dense(2, kernel_regularizer="l2", bias_regularizer="l1"))
    decayed.set_weights(plain.get_weights())
    np.testing.assert_array_equal(
        per_example.squared_norms(plain, X, Y, "mse"),
        per_example.squared_norms(decayed, X, Y, "mse"),
    )


def test_an_output_without_a_loss_has_no_gradient():
    inputs = keras.Input((8,))
    hidden = layers.Dense(4)(inputs)
    model = keras.Model(inputs, [layers.Dense(2)(hidden), layers.Dense(3)(hidden)])
    result = per_example.statistics(
        model, X, [Y, None], ["mse", None], per_layer=True, on_unknown="raise"
    )
    norms = list(result.layer_squared_norms.values())
    assert norms[1].numpy().min() > 0
    np.testing.assert_array_equal(norms[2], np.zeros(6))
    assert not np.any(result.mean_gradient[-2])


class Hiding(layers.Layer):
    """Calls its part where the outer gradient cannot be watched."""

    def __init__(self):
        super().__init__()
        self.part = layers.Dense(4)

    def build(self, shape):
        self.part.build(shape)

    def call(self, x):
        return tf.function(self.part)(x)


class Alike(Hiding):
    """The same part, called plainly."""

    def call(self, x):
        return self.part(x)


def hidden_model(kind):
    return sequential((8,), layers.Dense(3), kind(), layers.Dense(2))


def test_a_layer_that_runs_in_a_graph_of_its_own(caplog):
    model, plain = hidden_model(Hiding), hidden_model(Alike)
    plain.set_weights(model.get_weights())
    with caplog.at_level(logging.WARNING, "tf_gradvar.per_example"):
        norms = per_example.squared_norms(model, X, Y, "mse")
        per_example.squared_norms(model, X, Y, "mse")
    np.testing.assert_allclose(norms, per_example.squared_norms(plain, X, Y, "mse"), rtol=1e-5)
    logged = [r.getMessage() for r in caplog.records if r.name == "tf_gradvar.per_example"]
    assert len(logged) == 1
    assert model.layers[1].part.name in logged[0]


@pytest.mark.skipif(not hasattr(keras, "RematScope"), reason="newer versions of Keras have it")
def test_rematerialized_layers_are_run_plainly():
    with keras.RematScope(mode="full"):
        model = hidden_model(Alike)
    plain = hidden_model(Alike)
    plain.set_weights(model.get_weights())
    before = snapshot(model)
    norms = per_example.squared_norms(model, X, Y, "mse", on_unknown="raise")
    np.testing.assert_allclose(norms, per_example.squared_norms(plain, X, Y, "mse"), rtol=1e-5)
    assert_unchanged(model, before)


def test_a_layer_that_recomputes_itself_is_refused():
    class Recomputed(Hiding):
        def call(self, x):
            return tf.recompute_grad(lambda inputs: self.part(inputs))(x)

    with pytest.raises(ValueError, match="must be visible"):
        per_example.squared_norms(hidden_model(Recomputed), X, Y, "mse")


def test_the_loop_where_nothing_can_be_vectorised(monkeypatch):
    def refuse(*args, **kwargs):
        raise ValueError("no converter")

    model = sequential((8,), layers.Dense(4), Swish(), layers.Dense(2))
    expected = per_example.squared_norms(model, X, Y, "mse")
    monkeypatch.setattr(fallback.tf, "vectorized_map", refuse)
    np.testing.assert_allclose(per_example.squared_norms(model, X, Y, "mse"), expected, rtol=1e-5)


def test_a_subclass_with_its_own_call_has_no_rule():
    class Doubled(layers.Dense):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs)

    class Named(layers.Dense):
        pass

    per_example.squared_norms(sequential((8,), Named(2)), X, Y, "mse", on_unknown="raise")
    model = sequential((8,), Doubled(2))
    with pytest.raises(ValueError, match="Doubled"):
        per_example.squared_norms(model, X, Y, "mse", on_unknown="raise")
    (kernel, _), (d,) = model.layers[0].get_weights(), [2 * (model(X) - Y)]
    expected = (X**2).sum(1) * (d.numpy() ** 2).sum(1) + (d.numpy() ** 2).sum(1)
    np.testing.assert_allclose(per_example.squared_norms(model, X, Y, "mse"), expected, rtol=1e-4)
    assert kernel.shape == (8, 2)


def test_adapters_without_a_rule():
    """A group as the last axis of the kernel: the factors' gradients are no outer products."""
    model = sequential(
        (4, 3),
        layers.EinsumDense("abc,bdc->adc", output_shape=(5, 3)),
        layers.Flatten(),
        layers.Dense(2),
    )
    model.layers[0].enable_lora(2)
    x = X.reshape(6, 2, 4)[:, :, :3]
    x = np.concatenate([x, x**2], 1)
    with pytest.raises(ValueError, match=r"\(EinsumDense\) need the fallback: there is no rule"):
        per_example.squared_norms(model, x, Y, "mse", on_unknown="raise")
    assert len(per_example.gradients(model, x, Y, "mse")) == len(model.trainable_variables)


def test_a_quantized_layer_has_no_rule():
    model = sequential((8,), layers.Dense(2))
    model.layers[0].quantize("int8")
    model.layers[0].enable_lora(1)
    with pytest.raises(ValueError, match="there is no rule"):
        per_example.squared_norms(model, X, Y, "mse", on_unknown="raise")
    assert len(per_example.gradients(model, X, Y, "mse")) == len(model.trainable_variables)


def test_a_batch_of_one_and_an_odd_chunk():
    model = sequential((8,), layers.Dense(2))
    whole = per_example.squared_norms(model, X, Y, "mse")
    parts = [per_example.squared_norms(model, X[i : i + 1], Y[i : i + 1], "mse") for i in range(6)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6)
    np.testing.assert_allclose(
        per_example.squared_norms(model, X, Y, "mse", chunk_size=4), whole, rtol=1e-6
    )
