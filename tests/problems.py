"""Small problems for all tests, as data: a new layer is covered by adding one entry.

`PROBLEMS` are models, data and losses whose gradients are compared with a loop. `Enumerable` is
small enough for all its mini-batches, `clustered_mlp` and `clustered_convolutions` come with all
their gradients, and `training_mode_model` shows whoever changes a model.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.applications.convnext import LayerScale

from keras_apps.models import StandardizedConv2D
from tests.oracles import per_example_oracle

EXAMPLES = 5


@dataclass(frozen=True)
class Problem:
    """A model, data and a loss; models and losses are built anew for each precision."""

    name: str
    build: Callable[[], keras.Model]
    x: Callable[[np.random.Generator], Any]
    y: Callable[[np.random.Generator], Any]
    loss: Callable[[], Any] = lambda: keras.losses.MeanSquaredError()
    sample_weight: bool = False
    loss_weights: Any = None
    unknown: tuple[str, ...] = field(default=())  # layer classes that need the fallback
    float64_rtol: float = 1e-10  # larger where Keras keeps weights in float32


def normal(*shape):
    """Standard normal data."""
    return lambda rng: rng.normal(size=(EXAMPLES, *shape))


def integers(high, *shape):
    """Labels or ids."""
    return lambda rng: rng.integers(0, high, size=(EXAMPLES, *shape))


def sequential(shape, *stack):
    """A Sequential model with inputs of `shape`."""
    return keras.Sequential([keras.Input(shape), *stack])


def cross_entropy():
    """Cross-entropy of integer labels from logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def mlp():
    return sequential(
        (7,), layers.Dense(11, "relu"), layers.Dense(5, "tanh", use_bias=False), layers.Dense(3)
    )


def text():
    return sequential(
        (6,),
        layers.Embedding(9, 4, mask_zero=True),
        layers.LayerNormalization(),
        layers.Dense(5, "gelu"),
        layers.Dense(3),
    )


def text_ids(rng):
    ids = rng.integers(1, 9, size=(EXAMPLES, 6))
    ids[0, 4:] = 0
    ids[2, 1:] = 0
    return ids


def long_sequence():
    return sequential((23, 3), layers.Dense(2, "tanh"), layers.Dense(4))


def convolutions_1d():
    return sequential(
        (13, 4),
        layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="elu"),
        layers.Conv1D(4, 4, strides=3, padding="same"),
        layers.DepthwiseConv1D(2, depth_multiplier=2),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2),
    )


def convolutions_2d():
    return sequential(
        (9, 11, 3),
        layers.Conv2D(4, 3, strides=2, padding="same", activation="elu"),
        layers.Conv2D(6, (3, 2), strides=(1, 2)),
        layers.Conv2D(6, 2, dilation_rate=2, padding="same", groups=3),
        layers.Conv2D(5, 1, activation="tanh"),
        layers.Flatten(),
        layers.Dense(3),
    )


def cropping_convolutions():
    """Strides that leave inputs over, and a 1 x 1 kernel with a stride."""
    return sequential(
        (10, 8, 2),
        layers.Conv2D(3, 2, strides=3, use_bias=False),
        layers.Conv2D(4, 1, strides=2),
        layers.Flatten(),
        layers.Dense(1),
    )


def standardized_convolutions():
    """Standardized kernels: strided, in groups, shared by two calls, and 1 x 1."""
    twice = StandardizedConv2D(4, 2, padding="same", activation="tanh")
    return sequential(
        (6, 5, 2),
        StandardizedConv2D(4, 3, strides=2, padding="same"),
        layers.GroupNormalization(2),
        twice,
        twice,
        StandardizedConv2D(6, (2, 1), groups=2, use_bias=False),
        layers.GroupNormalization(2),
        StandardizedConv2D(3, 1, strides=2, activation="tanh"),
        layers.Flatten(),
    )


def few_positions():
    """A large kernel at two positions: the Gram form."""
    return sequential(
        (3, 4, 24), layers.Conv2D(40, 3, activation="tanh"), layers.Flatten(), layers.Dense(2)
    )


def depthwise():
    return sequential(
        (8, 7, 3),
        layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2),
        layers.DepthwiseConv2D(2, dilation_rate=2, activation="tanh"),
        layers.Flatten(),
        layers.Dense(2),
    )


def separable():
    return sequential(
        (9, 8, 3),
        layers.SeparableConv2D(4, 3, strides=2, padding="same", depth_multiplier=2),
        layers.SeparableConv2D(3, 2, dilation_rate=2, use_bias=False, activation="tanh"),
        layers.Reshape((6, 3)),
        layers.SeparableConv1D(4, 3, padding="same", activation="elu"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2),
    )


def transposed():
    """A decoder: from a vector to an image and a sequence."""
    return sequential(
        (6,),
        layers.Dense(24),
        layers.Reshape((2, 3, 4)),
        layers.Conv2DTranspose(3, 3, strides=2, padding="same", activation="tanh"),
        layers.Conv2DTranspose(2, (2, 3), use_bias=False),
        layers.Reshape((20, 4)),
        layers.Conv1DTranspose(2, 3, strides=3, padding="same", output_padding=1),
    )


def convolutions_3d():
    return sequential(
        (5, 6, 4, 2),
        layers.Conv3D(3, (2, 3, 2), strides=2, padding="same", activation="tanh"),
        layers.Conv3D(4, 2, padding="same"),
        layers.Conv3D(3, 1, use_bias=False),
        layers.Conv3DTranspose(2, 2, strides=(1, 2, 1), activation="elu"),
        layers.Flatten(),
        layers.Dense(2),
    )


def adapted_convolutions():
    """Low-rank adapters on frozen kernels."""
    model = sequential(
        (7, 6, 3),
        layers.Conv2D(4, 3, strides=2, padding="same", activation="tanh"),
        layers.Reshape((12, 4)),
        layers.Conv1D(3, 2, padding="causal", dilation_rate=2),
        layers.Dense(2),
    )
    for layer in model.layers:
        if isinstance(layer, layers.Conv1D | layers.Conv2D):
            layer.enable_lora(2, **scaled_adapter(layer))
    return model


def scaled_adapter(layer):
    """Keras before 3.9 has no scale."""
    return {"lora_alpha": 3.0} if hasattr(layer, "lora_alpha") else {}


def normalizations():
    stack = [
        layers.Conv2D(4, 2, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.GroupNormalization(2),
        layers.LayerNormalization(axis=[2, 3]),
        layers.BatchNormalization(scale=False),
        layers.LayerNormalization(center=False),
        layers.Flatten(),
        layers.Dense(2),
    ]
    if hasattr(layers, "RMSNormalization"):
        stack.insert(-1, layers.RMSNormalization())
    return sequential((5, 6, 2), *stack)


def einsum():
    return sequential(
        (4, 6),
        layers.EinsumDense("abc,cde->abde", output_shape=(4, 3, 2), bias_axes="de"),
        layers.EinsumDense("abde,dec->abc", output_shape=(4, 5), bias_axes="c"),
        layers.EinsumDense("...x,xy->...y", output_shape=(5,), activation="tanh"),
        layers.EinsumDense("abc,bcd->abd", output_shape=(4, 3), bias_axes="bd"),
        layers.EinsumDense("abc,bce->ae", output_shape=(2,)),
    )


def adapted_dense():
    """Low-rank adapters, on the last axis of the outputs and of the inputs, and a frozen layer."""
    stack = [
        layers.Dense(6, "tanh"),
        layers.EinsumDense("abc,cde->abde", output_shape=(4, 3, 2), bias_axes="de"),
        layers.EinsumDense("abde,dec->abc", output_shape=(4, 5), activation="tanh"),
        layers.EinsumDense("abc,dc->abd", output_shape=(4, 5)),
        layers.EinsumDense("...x,xy->...y", output_shape=(3,)),
        layers.Dense(4, "tanh"),
        layers.Flatten(),
        layers.Dense(2),
    ]
    model = sequential((4, 6), *stack)
    for layer in model.layers:
        if isinstance(layer, layers.Dense | layers.EinsumDense):
            adapt(layer, 2)
    model.layers[5].trainable = False
    return model


def adapt(layer, rank):
    """Enable an adapter with a scale, which Keras before 3.9 does not have."""
    options = {"lora_alpha": 3.0} if hasattr(layer, "lora_alpha") else {}
    layer.enable_lora(rank, **options)


def adapted_embedding():
    model = text()
    for layer in (model.layers[0], model.layers[2]):
        adapt(layer, 2)
    return model


class Tied(keras.Model):
    """A language model: hidden states are compared with the table that embedded the tokens."""

    def __init__(self, adapter=False, **options):
        super().__init__()
        options = {"logit_soft_cap": 2.0} | options
        self.table = layers.ReversibleEmbedding(7, 4, **options)
        self.hidden = layers.Dense(4, "tanh")
        self.adapter = adapter

    def build(self, shape):
        self.table.build(shape)
        self.hidden.build((None, None, 4))
        if self.adapter:
            adapt(self.table, 2)

    def call(self, ids):
        hidden = self.hidden(self.table(ids))
        return self.table(hidden, reverse=True) + self.table(self.table(ids[:, ::-1]), reverse=True)


def tied(**options):
    def build():
        model = Tied(**options)
        model(np.zeros((2, 5), "int32"))
        return model

    return build


def scaled():
    return sequential(
        (4, 3),
        LayerScale(0.5, 3),
        layers.Dense(3, "tanh"),
        LayerScale(0.5, 3),
        layers.Flatten(),
        layers.Dense(2),
    )


def spectral():
    return sequential(
        (6, 5, 2),
        layers.SpectralNormalization(layers.Conv2D(3, 2, activation="tanh")),
        layers.Flatten(),
        layers.SpectralNormalization(layers.Dense(2)),
    )


def integer_inputs():
    inputs = keras.Input((4, 3), dtype="int32")
    position = layers.EinsumDense("abc,cd->abd", output_shape=(4, 5), bias_axes="d")(inputs)
    flat = layers.Flatten()(inputs)
    merged = layers.Concatenate()([layers.Flatten()(position), layers.Dense(3)(flat)])
    return keras.Model(inputs, layers.Dense(2)(merged))


def one_id():
    """One id for each example, some of them counted from the end."""
    return keras.Sequential(
        [keras.Input((), dtype="int32"), layers.Embedding(6, 4), layers.Dense(2)]
    )


def shared():
    """A Dense layer used twice in a row, and a convolution on two sizes of image."""
    inputs = {
        "small": keras.Input((6, 5, 2), name="small"),
        "large": keras.Input((8, 7, 2), name="large"),
    }
    convolution = layers.Conv2D(3, 2, activation="tanh")
    pooled = [layers.GlobalAveragePooling2D()(convolution(i)) for i in inputs.values()]
    square = layers.Dense(6, "tanh")
    merged = square(square(layers.Concatenate()(pooled)))
    return keras.Model(inputs, layers.Dense(2)(merged))


def two_outputs():
    inputs = keras.Input((5,))
    hidden = layers.Dense(6, "tanh")(inputs)
    return keras.Model(
        inputs,
        [layers.Dense(3, name="label")(hidden), layers.Dense(1, name="score")(hidden)],
    )


def nested():
    inner = sequential((4,), layers.Dense(5, "tanh"), layers.Dense(4))
    inputs = keras.Input((4,))
    outer = layers.Dense(2)(inner(inner(inputs)))
    return keras.Model(inputs, outer)


def frozen():
    model = sequential((4,), layers.Dense(5, "tanh"), layers.Dense(6, "tanh"), layers.Dense(2))
    model.layers[1].trainable = False
    return model


class Transformer(keras.Model):
    """Positions without a batch axis: their number equals the number of examples."""

    def __init__(self):
        super().__init__()
        self.tokens = layers.Embedding(7, 4)
        self.positions = layers.Embedding(EXAMPLES, 4)
        self.attention = layers.MultiHeadAttention(2, 3)
        self.blocks = [layers.LayerNormalization(), layers.Dense(4, "gelu")]
        self.head = layers.Dense(2)

    def call(self, inputs, training=False):
        x = self.tokens(inputs) + self.positions(keras.ops.arange(EXAMPLES))
        x = x + self.attention(x, x, training=training)
        for block in self.blocks:
            x = block(x)
        return self.head(keras.ops.mean(x, axis=1))


def transformer():
    model = Transformer()
    model(np.zeros((2, EXAMPLES), "int32"))
    return model


class OwnWeights(keras.Model):
    """A variable of its own, and a table that is used a second time as the output layer."""

    def __init__(self):
        super().__init__()
        self.table = layers.Embedding(6, 4)
        self.hidden = layers.Dense(4, "tanh")

    def build(self, shape):
        self.start = self.add_weight(shape=(4,), initializer="random_normal", name="start")
        self.table.build(shape)
        self.hidden.build((None, 4))

    def call(self, ids):
        x = self.hidden(self.table(ids) + self.start)
        return keras.ops.matmul(x, keras.ops.transpose(self.table.embeddings))


def own_weights():
    model = OwnWeights()
    model(np.zeros((2, 3), "int32"))
    return model


class Swish(layers.Layer):
    """A layer without a rule."""

    def build(self, shape):
        self.slope = self.add_weight(shape=(shape[-1],), initializer="ones", name="slope")

    def call(self, x):
        return x * keras.ops.sigmoid(self.slope * x)


def unknown():
    return sequential((5,), layers.Dense(6), Swish(), layers.Dense(2))


def learned_activations():
    return sequential(
        (5,),
        layers.Dense(12),
        layers.PReLU(),
        layers.Reshape((4, 3)),
        layers.PReLU(shared_axes=[1]),
        layers.Dense(2),
    )


def recurrent():
    return sequential(
        (4,),
        layers.Embedding(6, 3, mask_zero=True),
        layers.Bidirectional(layers.LSTM(2)),
        layers.Dense(2),
    )


def recurrent_states():
    """An encoder whose states start a decoder, as in translation."""
    inputs = {
        "source": keras.Input((4, 2), name="source"),
        "target": keras.Input((3, 2), name="target"),
    }
    _, hidden, carry = layers.LSTM(3, return_state=True)(inputs["source"])
    sequence, last = layers.GRU(3, return_sequences=True, return_state=True)(
        inputs["target"], initial_state=hidden
    )
    decoded = layers.LSTM(3)(sequence, initial_state=[last, carry])
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([decoded, carry])))


def stacked_cells():
    """A loop over cells that have no rule together."""
    cells = [layers.LSTMCell(3), layers.GRUCell(2)]
    return sequential((4, 3), layers.RNN(cells), layers.Dense(2))


def time_distributed():
    return sequential((3, 4), layers.TimeDistributed(layers.Dense(3, "tanh")), layers.Dense(2))


PROBLEMS = [
    Problem("mlp", mlp, normal(7), integers(3), cross_entropy),
    Problem("weighted", mlp, normal(7), integers(3), cross_entropy, sample_weight=True),
    Problem("named_loss", mlp, normal(7), normal(3), lambda: keras.losses.mean_squared_error),
    Problem("masked_text", text, text_ids, integers(3, 6), cross_entropy),
    Problem("long_sequence", long_sequence, normal(23, 3), normal(23, 4)),
    Problem("conv_1d", convolutions_1d, normal(13, 4), normal(2)),
    Problem("conv_2d", convolutions_2d, normal(9, 11, 3), integers(3), cross_entropy),
    Problem("conv_cropping", cropping_convolutions, normal(10, 8, 2), normal(1)),
    Problem("conv_few_positions", few_positions, normal(3, 4, 24), normal(2)),
    Problem("conv_standardized", standardized_convolutions, normal(6, 5, 2), normal(6)),
    Problem("depthwise", depthwise, normal(8, 7, 3), normal(2)),
    Problem("separable", separable, normal(9, 8, 3), normal(2)),
    Problem("transposed", transposed, normal(6), normal(59, 2)),
    Problem("conv_3d", convolutions_3d, normal(5, 6, 4, 2), normal(2)),
    Problem("conv_lora", adapted_convolutions, normal(7, 6, 3), normal(12, 2)),
    Problem("normalizations", normalizations, normal(5, 6, 2), normal(2)),
    Problem("einsum", einsum, normal(4, 6), normal(2)),
    Problem(
        "shared",
        shared,
        lambda rng: {"small": normal(6, 5, 2)(rng), "large": normal(8, 7, 2)(rng)},
        normal(2),
    ),
    Problem(
        "two_outputs",
        two_outputs,
        normal(5),
        lambda rng: {"label": integers(3)(rng), "score": normal(1)(rng)},
        lambda: {"label": cross_entropy(), "score": keras.losses.MeanSquaredError()},
        sample_weight=True,
        loss_weights={"label": 1.0, "score": 0.25},
    ),
    Problem("lora", adapted_dense, normal(4, 6), normal(2), float64_rtol=1e-6),
    Problem(
        "lora_text", adapted_embedding, text_ids, integers(3, 6), cross_entropy, float64_rtol=1e-6
    ),
    Problem("layer_scale", scaled, normal(4, 3), normal(2)),
    Problem("spectral", spectral, normal(6, 5, 2), normal(2)),
    Problem("integer_inputs", integer_inputs, integers(6, 4, 3), normal(2)),
    Problem("negative_ids", one_id, lambda rng: rng.integers(-6, 6, size=EXAMPLES), normal(2)),
    Problem("nested", nested, normal(4), normal(2)),
    Problem("frozen", frozen, normal(4), normal(2)),
    Problem("transformer", transformer, integers(7, EXAMPLES), normal(2), unknown=("Embedding",)),
    Problem(
        "own_weights",
        own_weights,
        integers(6, 3),
        integers(6, 3),
        cross_entropy,
        unknown=("OwnWeights", "Embedding"),
    ),
    Problem("unknown", unknown, normal(5), normal(2), unknown=("Swish",)),
    Problem("learned_activations", learned_activations, normal(5), normal(4, 2)),
    Problem(
        "recurrent",
        recurrent,
        lambda rng: np.array(
            [[1, 2, 0, 0], [3, 1, 5, 2], [4, 0, 0, 0], [2, 2, 2, 0], [5, 4, 3, 1]]
        ),
        normal(2),
    ),
    Problem(
        "recurrent_states",
        recurrent_states,
        lambda rng: {"source": normal(4, 2)(rng), "target": normal(3, 2)(rng)},
        normal(2),
    ),
    Problem("stacked_cells", stacked_cells, normal(4, 3), normal(2), unknown=("RNN",)),
    Problem("time_distributed", time_distributed, normal(3, 4), normal(3, 2)),
]
if hasattr(layers, "ReversibleEmbedding"):  # since Keras 3.13
    PROBLEMS += [
        Problem("tied", tied(), integers(7, 5), integers(7, 5), cross_entropy),
        Problem(
            "tied_lora",
            tied(adapter=True, reverse_dtype="float64"),
            integers(7, 5),
            integers(7, 5),
            cross_entropy,
            float64_rtol=1e-6,
        ),
        Problem(
            "untied",
            tied(tie_weights=False, logit_soft_cap=None, mask_zero=True),
            integers(7, 6),
            integers(7, 6),
            cross_entropy,
        ),
    ]


@dataclass(frozen=True)
class Enumerable:
    """6 examples and a network of 17 weights; gradients `[N, P]` in float64, also at a snapshot."""

    N: ClassVar[int] = 6
    INPUTS: ClassVar[int] = 3
    HIDDEN: ClassVar[int] = 3
    ASSIGNMENTS: ClassVar[np.ndarray] = np.array([1, 0, 1, 2, 0, 1])

    model: keras.Model
    x: np.ndarray
    y: np.ndarray
    loss: str
    gradients: np.ndarray
    snapshot: list
    at_snapshot: np.ndarray

    @classmethod
    def make(cls, precision="float64", count=N):
        """The model and data in a precision; the gradients are those of float64."""
        rng = np.random.default_rng(3)
        x, y = rng.normal(size=(count, cls.INPUTS)), rng.normal(size=(count, 1))
        x, y = (a.astype("float32").astype("float64") for a in (x, y))
        with per_example_oracle.float64():
            exact = cls._build()
            snapshot = [w.astype("float32").astype("float64") for w in exact.get_weights()]
            at_snapshot = cls._gradients(exact, x, y)
            weights = [w + 0.3 * rng.normal(size=w.shape) for w in snapshot]
            weights = [w.astype("float32").astype("float64") for w in weights]
            exact.set_weights(weights)
            gradients = cls._gradients(exact, x, y)
        with per_example_oracle.float64() if precision == "float64" else contextlib.nullcontext():
            model = cls._build()
        model.set_weights(weights)
        x, y = x.astype(precision), y.astype(precision)
        return cls(model, x, y, "mse", gradients, snapshot, at_snapshot)

    @classmethod
    def _build(cls):
        keras.utils.set_random_seed(1)
        hidden = layers.Dense(cls.HIDDEN, "tanh", name="hidden")
        return sequential((cls.INPUTS,), hidden, layers.Dense(1))

    @staticmethod
    def _gradients(model, x, y):
        rows = per_example_oracle.loop_gradients(model, x, y, keras.losses.MeanSquaredError())
        return per_example_oracle.flat(rows)

    @property
    def data(self):
        return self.model, self.x, self.y, self.loss

    def split(self, flat):
        """A vector [..., P] as a list of arrays [..., *shape], in the order of the variables."""
        parts, start = [], 0
        for variable in self.model.trainable_variables:
            size = int(np.prod(variable.shape))
            part = flat[..., start : start + size]
            parts.append(part.reshape(*flat.shape[:-1], *variable.shape))
            start += size
        return parts


@functools.cache
def clustered_mlp():
    """A small MLP, 41 examples and their gradients [N, P]."""
    keras.utils.set_random_seed(0)
    stack = [layers.Dense(8, "relu", name="hidden"), layers.Dense(3, name="head")]
    model = keras.Sequential([keras.Input((6,)), *stack], name="net")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(41, 6)).astype("float32")
    return _with_gradients(model, x, rng.integers(0, 3, 41))


@functools.cache
def clustered_convolutions():
    """Convolutions, inference-mode batch normalization and pooling; 23 examples."""
    keras.utils.set_random_seed(1)
    model = sequential(
        (7, 8, 2),
        layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(5, 3),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    )
    rng = np.random.default_rng(1)
    x = rng.normal(size=(23, 7, 8, 2)).astype("float32")
    return _with_gradients(model, x, rng.integers(0, 3, 23))


def _with_gradients(model, x, y):
    rows = per_example_oracle.loop_gradients(model, x, y, cross_entropy())
    return model, x, y, np.concatenate([row.reshape(len(x), -1) for row in rows], axis=1)


def activity_regularizers_are_means():
    """Keras before 3.14 sums them over the batch, which is refused where it is measured."""
    layer = layers.Dense(1, use_bias=False, activity_regularizer="l2")
    found = []
    for count in (1, 2):
        layer(np.ones((count, 1), "float32"))
        found.append(float(layer.losses[-1]))
    return abs(found[0] - found[1]) < 1e-6 * found[0]


needs_mean_regularizers = pytest.mark.skipif(
    not activity_regularizers_are_means(), reason="activity regularizers are sums over the batch"
)


def activity_l2(strength):
    """An activity regularizer, or None where Keras sums it over the batch."""
    return keras.regularizers.L2(strength) if activity_regularizers_are_means() else None


def flattens_any_lengths():
    """Older versions of Keras cannot flatten where neither the examples nor a length are known."""
    import tensorflow as tf

    flatten = tf.function(layers.Flatten(), input_signature=[tf.TensorSpec([None, None, 2])])
    try:
        return tuple(flatten(tf.zeros((1, 3, 2))).shape) == (1, 6)
    except tf.errors.InvalidArgumentError:
        return False


def training_mode_model():
    """A compiled model in which a careless callback would leave traces while it measures."""
    keras.utils.set_random_seed(2)
    model = sequential(
        (4,),
        layers.Dense(8),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dropout(0.3),
        layers.Dense(1),
    )
    model.compile(keras.optimizers.Adam(0.01), loss="mse")
    return model
