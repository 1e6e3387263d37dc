"""Random layers for tensors of a given shape (without the batch axis), as `Step`s."""

import math
import random

import hypothesis.strategies as st
import keras

from tests.hunt.building import Block
from tests.hunt.problem import Step

ACTIVATIONS = (None, "tanh", "relu", "gelu", "sigmoid", "softmax")


class Drawing:
    """What is drawn with, and the size that most axes have, so that they collide."""

    def __init__(self, draw, common):
        self.draw = draw
        self.common = common

    def of(self, *choices):
        """Draw one of the choices."""
        return self.draw(st.sampled_from(choices))

    def chance(self, percent):
        """Draw whether something happens."""
        return self.draw(st.integers(0, 99)) < percent

    def size(self, most=5):
        """Draw the length of an axis."""
        n = min(self.common, most)
        return self.of(n, n, n, *range(1, most + 1))

    def activation(self):
        return self.of(None, *ACTIVATIONS)

    def divisor(self, number):
        return self.of(*(d for d in range(1, number + 1) if number % d == 0))


def shape_after(step, shape):
    """Return the shape of the step's result, without the batch axis."""
    state = random.getstate()  # layers draw seeds from it, which hypothesis does not allow
    layer = Block(step).layer
    random.setstate(state)
    if isinstance(layer, keras.layers.EinsumDense):
        # Older versions of Keras ask for more than the shape.
        layer.build((None, *shape))
    return tuple(layer.compute_output_shape((None, *shape))[1:])


def dense(d, shape):
    return Step(
        "Dense", {"units": d.size(), "activation": d.activation(), "use_bias": d.chance(80)}
    )


def square(d, shape):
    return Step("Dense", {"units": shape[-1], "activation": d.of("tanh", "gelu")})


def regularized(d, shape):
    """A layer that adds to the loss, or whose kernel is scaled before each use."""
    step = square(d, shape)
    kind = d.of("penalty", "activity", "spectral")
    if kind == "penalty":
        return Step("penalty")
    if kind == "spectral":
        return Step("SpectralNormalization", {}, (step,))
    return Step("Dense", {**step.arguments, "activity_regularizer": "l2"})


def frozen(d, shape):
    return Step("frozen", {}, (d.of(dense, normalization)(d, shape),))


def lora(d, shape):
    return Step("lora", {"rank": d.of(1, 2)}, (dense(d, shape),))


def normalization(d, shape):
    name = d.of(
        "LayerNormalization",
        "BatchNormalization",
        "GroupNormalization",
        *(["RMSNormalization"] if hasattr(keras.layers, "RMSNormalization") else []),
    )
    arguments = {}
    if name == "GroupNormalization":
        arguments["groups"] = d.divisor(shape[-1])
    if name == "LayerNormalization" and len(shape) > 1 and d.chance(40):
        arguments["axis"] = d.of([-2, -1], [1], [-1])
    if name != "RMSNormalization":
        arguments |= {"center": d.chance(75), "scale": d.chance(75)}
    if name == "BatchNormalization" and len(shape) > 1:
        arguments["axis"] = d.of(-1, -1, 1)
    return Step(name, arguments)


def pointwise(d, shape):
    name = d.of("PReLU", "scale", "LeakyReLU", "Dropout", "Activation", "Rescaling")
    if name == "PReLU":
        axes = list(range(1, len(shape)))
        shared = d.of(None, axes) if axes else None
        return Step(name, {"shared_axes": shared, "alpha_initializer": "random_normal"})
    arguments = {"Dropout": {"rate": 0.5}, "Activation": {"activation": "elu"}}
    return Step(name, arguments.get(name, {"scale": 0.5} if name == "Rescaling" else {}))


def einsum_vector(d, shape):
    units = d.size()
    bias = d.of(None, "c")
    equation = d.of("ab,bc->ac", "...b,bc->...c")
    return Step("EinsumDense", {"equation": equation, "output_shape": (units,), "bias_axes": bias})


def einsum_sequence(d, shape):
    t, u, v = shape[0], d.size(), d.size(3)
    equation, output, bias = d.of(
        ("abc,cd->abd", (t, u), "d"),
        ("abc,cd->abd", (t, u), "bd"),
        ("abc,bcd->abd", (t, u), "bd"),
        ("abc,cde->abde", (t, u, v), "de"),
        ("abc,bcd->ad", (u,), "d"),
        ("abc,bd->adc", (u, shape[1]), "d"),
        ("...c,cd->...d", (t, u), None),
        ("abc,cb->ab", (t,), None),
    )
    return Step("EinsumDense", {"equation": equation, "output_shape": output, "bias_axes": bias})


def convolution(d, shape, prefix="Conv"):
    rank = len(shape) - 1
    padding = d.of("valid", "same", "same", *(["causal"] if rank == 1 else []))
    most = 3 if padding != "valid" else min(3, *shape[:-1])
    arguments = {
        "filters": d.size(4),
        "kernel_size": tuple(d.of(*range(1, most + 1)) for _ in range(rank)),
        "padding": padding,
        "activation": d.activation(),
        "use_bias": d.chance(75),
    }
    if d.chance(30):
        # TensorFlow wants equal strides where there is a depth to be kept apart.
        arguments["strides"] = d.of(1, 2, 3) if rank != 3 else d.of(1, 2)
    elif d.chance(30) and padding != "valid" and rank < 3:
        arguments["dilation_rate"] = 2
    if d.chance(25) and rank < 3:
        arguments["groups"] = math.gcd(arguments["filters"], shape[-1])
    weights = math.prod(arguments["kernel_size"]) * shape[-1] // arguments.get("groups", 1)
    # Of one or two weights nothing is left but rounding.
    if rank == 2 and weights > 4 and d.chance(25):
        return Step("StandardizedConv2D", arguments)
    return Step(f"Conv{rank}D", arguments)


def _kernel(d, shape, padding):
    rank = len(shape) - 1
    most = 3 if padding != "valid" else min(3, *shape[:-1])
    return tuple(d.of(*range(1, most + 1)) for _ in range(rank))


def depthwise(d, shape):
    padding = d.of("valid", "same")
    name = d.of("Depthwise", "Separable")
    arguments = {
        "kernel_size": _kernel(d, shape, padding),
        "padding": padding,
        "depth_multiplier": d.of(1, 2),
        "strides": d.of(1, 1, 2),
        "use_bias": d.chance(75),
        "activation": d.of(None, "tanh", "relu"),
    }
    if name == "Separable":
        arguments["filters"] = d.size(4)
    return Step(f"{name}Conv{len(shape) - 1}D", arguments)


def transposed(d, shape):
    padding = d.of("valid", "same")
    rank = len(shape) - 1
    return Step(
        f"Conv{rank}DTranspose",
        {
            "filters": d.size(3),
            "kernel_size": tuple(d.of(1, 2, 3) for _ in range(rank)) if rank < 3 else 2,
            "padding": padding,
            "strides": d.of(1, 2),
            "activation": d.of(None, "tanh"),
            "use_bias": d.chance(75),
        },
    )


def pooling(d, shape):
    rank = len(shape) - 1
    padding = d.of("valid", "same")
    size = d.of(1, 2) if min(shape[:-1]) > 1 else 1
    name = f"{d.of('Max', 'Average')}Pooling{rank}D"
    return Step(name, {"pool_size": size, "padding": padding, "strides": d.of(1, 2)})


def global_pooling(d, shape):
    return Step(f"Global{d.of('Max', 'Average')}Pooling{len(shape) - 1}D")


def flatten(d, shape):
    return Step("Flatten")


def permute(d, shape):
    axes = list(range(1, len(shape) + 1))
    return Step("Permute", {"dims": tuple(d.draw(st.permutations(axes)))})


def reshape(d, shape):
    total = math.prod(shape)
    first = d.divisor(total)
    second = d.divisor(total // first)
    target = d.of((first, -1), (first, total // first), (total,), (first, second, -1))
    return Step("Reshape", {"target_shape": target})


def repeat(d, shape):
    return Step("RepeatVector", {"n": d.size()})


def recurrent(d, shape):
    cell = d.of("LSTM", "GRU", "SimpleRNN")
    arguments = {"units": d.size(3), "return_sequences": d.chance(60)}
    if d.chance(20):
        arguments["go_backwards"] = True
    if cell == "GRU" and d.chance(30):
        arguments["reset_after"] = False
    if d.chance(20):
        arguments["use_bias"] = False
    step = Step(cell, arguments)
    if d.chance(25) and "go_backwards" not in arguments:
        return Step("Bidirectional", {"merge_mode": d.of("concat", "sum", "ave")}, (step,))
    return step


def time_distributed(d, shape):
    inner = [dense, normalization] if len(shape) == 2 else [dense, convolution, flatten]
    return Step("TimeDistributed", {}, (d.of(*inner)(d, shape[1:]),))


def attention(d, shape):
    arguments = {"num_heads": d.of(1, 2), "key_dim": d.size(3)}
    if d.chance(25):
        arguments["use_causal_mask"] = True
    if d.chance(25):
        arguments["use_bias"] = False
    return Step("attention", arguments)


def up_sampling(d, shape):
    rank = len(shape) - 1
    name = d.of(f"UpSampling{rank}D", f"ZeroPadding{rank}D")
    return Step(name, {"size": 2} if name.startswith("Up") else {"padding": 1})


# By the rank without the batch axis.
PLAIN = {
    1: [dense, dense, square, normalization, pointwise, einsum_vector, reshape, repeat, frozen,
        lora, regularized],
    2: [dense, dense, normalization, pointwise, einsum_sequence, einsum_sequence, convolution,
        depthwise, transposed, pooling, recurrent, recurrent, time_distributed, permute, reshape,
        flatten, global_pooling, frozen, lora, regularized],
    3: [dense, normalization, pointwise, convolution, convolution, depthwise, depthwise,
        transposed, pooling, time_distributed, permute, reshape, flatten, global_pooling,
        up_sampling],
    4: [dense, normalization, convolution, convolution, transposed, pooling, flatten, reshape,
        global_pooling],
}  # fmt: skip


def plain_step(d, shape):
    """Draw one layer, and the shape of its result."""
    step = d.of(*PLAIN[len(shape)])(d, shape)
    return step, shape_after(step, shape)
