"""Layers of KerasHub, which need not be installed: by their look-alikes, and where it is by them.

A class is found by its package and name, so a look-alike is one that says it belongs to KerasHub.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.oracles import per_example_oracle as oracle
from tests.problems import sequential
from tf_gradvar import per_example

IDS = np.random.default_rng(0).integers(1, 9, size=(5, 6)).astype("int32")
MASK = np.tril(np.ones((6, 6), "int32"))[1:]
Y = np.random.default_rng(1).normal(size=(5, 6, 2)).astype("float32")


def of_keras_hub(layer_class):
    """Say that a class belongs to the package."""
    layer_class.__module__ = "keras_hub.src.somewhere"
    return layer_class


@of_keras_hub
class PositionEmbedding(layers.Layer):
    """A table of more rows than a sequence uses."""

    def build(self, shape):
        self.table = self.add_weight(shape=(9, shape[-1]), initializer="random_normal")

    def call(self, inputs, start_index=0, positions=None):
        shape = ops.shape(inputs)
        if positions is not None:
            return ops.take(self.table, positions, axis=0)
        rows = ops.slice(self.table, (start_index, 0), (shape[-2], shape[-1]))
        return ops.broadcast_to(rows, shape)


@of_keras_hub
class RMSNormalization(layers.Layer):
    """One plus the scale."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="zeros")

    def call(self, x):
        return x / ops.sqrt(ops.mean(x**2, -1, keepdims=True) + 1e-3) * (1 + self.scale)


@of_keras_hub
class T5LayerNorm(RMSNormalization):
    """The scale itself."""

    def call(self, x):
        return self.scale * x / ops.sqrt(ops.mean(x**2, -1, keepdims=True) + 1e-3)


@of_keras_hub
class ViTPatchingAndEmbedding(layers.Layer):
    """A class token and patches, with positions."""

    def __init__(self, use_class_token=True):
        super().__init__()
        self.use_class_token = use_class_token
        self.patch_embedding = layers.Conv2D(3, 2, strides=2)
        self.position_embedding = layers.Embedding(6 + use_class_token, 3)

    def build(self, shape):
        if self.use_class_token:
            self.class_token = self.add_weight(shape=(1, 1, 3), initializer="random_normal")
        self.patch_embedding.build(shape)
        self.position_embedding.build(None)

    def call(self, inputs):
        patches = ops.reshape(self.patch_embedding(inputs), (-1, 6, 3))
        positions = self.position_embedding(ops.arange(6 + self.use_class_token)[None])
        if self.use_class_token:
            token = ops.tile(self.class_token, (ops.shape(patches)[0], 1, 1))
            patches = ops.concatenate([token, patches], 1)
        return patches + positions


@pytest.mark.parametrize("use_class_token", [True, False])
def test_patches_with_positions(use_class_token):
    keras.utils.set_random_seed(0)
    model = sequential(
        (4, 6, 2),
        ViTPatchingAndEmbedding(use_class_token),
        layers.Dense(3, "tanh"),
        layers.Flatten(),
        layers.Dense(2),
    )
    x = np.random.default_rng(3).normal(size=(5, 4, 6, 2)).astype("float32")
    check(model, x, Y[:, 0])


class Positions(keras.Model):
    """Two windows of one table, and rows that each example chooses."""

    def __init__(self):
        super().__init__()
        self.tokens, self.table = layers.Embedding(10, 3), PositionEmbedding()
        self.norms = [RMSNormalization(), T5LayerNorm()]
        self.head = layers.Dense(2)

    def call(self, ids):
        x = self.tokens(ids)
        x = x + self.table(x) * self.table(x, start_index=2)
        x = x + self.table(x, positions=ids)
        for norm in self.norms:
            x = norm(x)
        return self.head(x)


class OneWindow(Positions):
    """One window of the table."""

    def call(self, ids):
        x = self.tokens(ids)
        return self.head(self.norms[0](x + self.table(x, start_index=1)))


def built(model_class):
    keras.utils.set_random_seed(0)
    model = model_class()
    model(IDS)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.3)
    return model


def check(model, x, y, rtol=1e-4):
    """Norms, sums, squares and differences against the loop, without the fallback."""
    loss = keras.losses.MeanSquaredError()
    options = {"on_unknown": "raise", "second_moments": True}
    gradients = oracle.loop_gradients(model, x, y, loss)
    result = per_example.statistics(model, x, y, loss, **options)
    largest = max(np.abs(g).max() for g in gradients)
    np.testing.assert_allclose(result.squared_norms, oracle.squared_norms(gradients), rtol=rtol)
    for mean, g in zip(result.mean_gradient, gradients, strict=True):
        np.testing.assert_allclose(mean, g.mean(0), rtol=rtol, atol=rtol * largest)
    squares = oracle.second_moments(gradients)
    for found, expected in zip(result.second_moments, squares, strict=True):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * largest**2)

    own = [v.numpy() for v in model.trainable_variables]
    others = [1.1 * w + 0.02 for w in own]
    for variable, value in zip(model.trainable_variables, others, strict=True):
        variable.assign(value)
    other_gradients = oracle.loop_gradients(model, x, y, loss)
    for variable, value in zip(model.trainable_variables, own, strict=True):
        variable.assign(value)
    products = per_example.inner_products(model, x, y, loss, others, on_unknown="raise")
    expected = oracle.inner_products(gradients, other_gradients)
    np.testing.assert_allclose(products, expected, rtol=10 * rtol)
    norms = per_example.squared_norms(model, x, y, loss, other_weights=others)
    differences = [g - h for g, h in zip(gradients, other_gradients, strict=True)]
    np.testing.assert_allclose(norms, oracle.squared_norms(differences), rtol=10 * rtol)


@pytest.mark.parametrize("model_class", [Positions, OneWindow])
def test_look_alikes(model_class):
    model = built(model_class)
    check(model, IDS, Y)


def test_gradients_and_sketches_of_a_window():
    model = built(OneWindow)
    arguments = (model, IDS, Y, "mse")
    (table,) = (g for g in per_example.gradients(*arguments) if g.shape[1:] == (9, 3))
    assert not np.any(table[:, :1])
    assert not np.any(table[:, 7:])
    assert np.abs(table[:, 1:7]).min() > 0
    sketch = per_example.sketch(*arguments, 16)
    np.testing.assert_allclose(per_example.sketch(*arguments, 16, chunk_size=2), sketch, rtol=1e-3)


def test_a_subclass_with_another_call_has_no_rule():
    class Doubled(RMSNormalization):
        def call(self, x):
            return 2 * super().call(x)

    with pytest.raises(ValueError, match="Doubled"):
        per_example.squared_norms(
            sequential((3,), Doubled()), Y[:, 0, :1] * np.ones(3), Y[:, 0, :1], "mse",
            on_unknown="raise",
        )  # fmt: skip


def bert(models):
    backbone = models.BertBackbone(9, 1, 2, 4, 6, max_sequence_length=8)
    pooled = layers.Dense(2)(backbone.output["sequence_output"])
    x = {"token_ids": IDS, "segment_ids": IDS % 2, "padding_mask": MASK}
    return keras.Model(backbone.input, pooled), x


def gpt2(models):
    return language_model(models.GPT2Backbone(9, 1, 2, 4, 6, max_sequence_length=8))


def llama(models):
    return language_model(models.LlamaBackbone(9, 1, 2, 4, 6, num_key_value_heads=1))


def gemma(models):
    backbone = models.GemmaBackbone(9, 1, 2, 1, 4, 6, 4, final_logit_soft_cap=3.0)
    return language_model(backbone)


def vit(models):
    backbone = models.ViTBackbone(
        image_shape=(4, 10, 3), patch_size=2, num_layers=1, num_heads=2, hidden_dim=4, mlp_dim=6
    )
    x = np.random.default_rng(3).normal(size=(5, 4, 10, 3)).astype("float32")
    return keras.Model(backbone.input, layers.Dense(2)(backbone.output[:, 1:7])), x


def language_model(backbone):
    """Logits by the table that embedded the tokens; the first two are looked at."""
    logits = backbone.token_embedding(backbone.output, reverse=True)
    x = {"token_ids": IDS, "padding_mask": MASK}
    return keras.Model(backbone.input, logits[..., :2]), x


@pytest.mark.parametrize("build", [bert, gpt2, llama, gemma, vit])
def test_models_of_keras_hub(build):
    keras_hub = pytest.importorskip("keras_hub")
    keras.utils.set_random_seed(0)
    model, x = build(keras_hub.models)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * np.random.default_rng(2).normal(size=variable.shape))
    check(model, x, Y, rtol=1e-3)
