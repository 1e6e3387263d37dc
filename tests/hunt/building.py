"""Keras models and arrays from a `Problem`."""

import contextlib

import keras
import numpy as np
from keras import layers, ops

from keras_apps.models import StandardizedConv2D
from tests.hunt.objectives import make_labels, make_loss, make_weights


@contextlib.contextmanager
def policy_of(problem):
    """Layers and losses made inside have the precision of the problem."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    if problem.policy == "float64":
        keras.config.set_floatx("float64")
    keras.config.set_dtype_policy(problem.policy)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


class Noise(layers.Layer):
    """Draws in inference, too, as the sampling layer of an autoencoder does."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(7)

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), seed=self.generator, dtype=x.dtype)


class Scale(layers.Layer):
    """A layer without a rule, whose call takes no `training`."""

    def build(self, shape):
        self.slope = self.add_weight(shape=(shape[-1],), initializer="ones", name="slope")

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        return x * ops.sigmoid(self.slope * x)


class Penalty(layers.Layer):
    """Adds a loss of its own, the mean over the examples of each one's mean square."""

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        self.add_loss(0.3 * ops.mean(ops.square(ops.cast(x, "float32"))))
        return x


def swap_axes(x):
    """[B, T, ...] -> [T, B, ...]."""
    return ops.transpose(x, (1, 0, *range(2, len(x.shape))))


FUNCTIONS = {
    "transpose": lambda arguments: swap_axes,
    "flat": lambda arguments: lambda x: ops.reshape(x, (-1, x.shape[-1])),
    "unflat": lambda arguments: (
        lambda x: ops.reshape(x, (-1, *arguments["shape"][:-1], x.shape[-1]))
    ),
    "centre": lambda arguments: lambda x: x - 0.5 * ops.mean(x, axis=0, keepdims=True),
    "total": lambda arguments: lambda x: x * ops.tanh(0.1 * ops.sum(x * x)),
}


OWN = {"StandardizedConv2D": StandardizedConv2D}


class Block:
    """A step with its layers, which can be called on symbolic tensors and on real ones."""

    def __init__(self, step):
        self.step = step
        self.inner = [Block(inside) for inside in step.inside]
        self.layer = FORMS[step.name](step, self.inner) if step.name in FORMS else None
        self.function = None
        if step.name in FUNCTIONS:
            self.function = FUNCTIONS[step.name](step.arguments)
            if step.arguments.get("layer"):
                self.layer = layers.Lambda(self.function)
        elif step.name not in FORMS and step.name not in CALLS:
            layer_class = OWN.get(step.name) or getattr(layers, step.name)
            self.layer = layer_class(**step.arguments)

    def layers(self):
        """Return all layers of the step that a subclassed model must hold."""
        own = [] if self.layer is None else [self.layer]
        return own + [layer for block in self.inner for layer in block.layers()]

    def __call__(self, x):
        if self.step.name in CALLS:
            return CALLS[self.step.name](self, x)
        return self.function(x) if self.layer is None else self.layer(x)


def chain(blocks, x):
    """Apply blocks one after the other."""
    for block in blocks:
        x = block(x)
    return x


def _wrapped(step, inner):
    wrapper = getattr(layers, step.name)
    return wrapper(inner[0].layer, **step.arguments)


def _frozen(step, inner):
    inner[0].layer.trainable = False
    return inner[0].layer


def _nested(step, inner):
    if step.arguments.get("functional"):
        inputs = keras.Input(step.arguments["shape"])
        return keras.Model(inputs, chain(inner, inputs))
    return keras.Sequential([block.layer for block in inner])


# Forms that are one layer in the end.
FORMS = {
    "TimeDistributed": _wrapped,
    "Bidirectional": _wrapped,
    "SpectralNormalization": _wrapped,
    "frozen": _frozen,
    "lora": lambda step, inner: inner[0].layer,
    "nested": _nested,
    "noise": lambda step, inner: Noise(),
    "scale": lambda step, inner: Scale(),
    "penalty": lambda step, inner: Penalty(),
    "attention": lambda step, inner: layers.MultiHeadAttention(
        **{k: v for k, v in step.arguments.items() if k != "use_causal_mask"}
    ),
}

# Forms with calls of their own.
CALLS = {
    "residual": lambda block, x: x + chain(block.inner, x),
    "twice": lambda block, x: chain(block.inner, chain(block.inner, x)),
    "branches": lambda block, x: ops.concatenate([inner(x) for inner in block.inner], axis=-1),
    "attention": lambda block, x: (
        x + block.layer(x, x, use_causal_mask=block.step.arguments.get("use_causal_mask", False))
    ),
}


class Graph:
    """The blocks of a problem, and what becomes of its inputs."""

    def __init__(self, problem):
        self.problem = problem
        self.stems = [[Block(step) for step in source.stem] for source in problem.sources]
        self.body = [Block(step) for step in problem.body]
        self.heads = [[Block(step) for step in output.head] for output in problem.outputs]
        self.flatten = layers.Flatten()

    def blocks(self):
        """Return all blocks."""
        return [b for part in [*self.stems, self.body, *self.heads] for b in part]

    def __call__(self, inputs):
        tensors = [chain(b, x) for b, x in zip(self.stems, in_order(inputs), strict=True)]
        if len(tensors) > 1:
            tensors = [ops.concatenate([self.flatten(x) for x in tensors], axis=-1)]
        x = chain(self.body, tensors[0])
        return self.packed("out", [chain(head, x) for head in self.heads])

    def packed(self, name, values):
        """Return one value, or several in the structure of the problem."""
        return packed(self.problem, name, values)


def packed(problem, name, values):
    """Return one value, or several as a list or a dictionary."""
    if len(values) == 1:
        return values[0]
    if problem.structure == "dict":
        return {f"{name}_{i}": value for i, value in enumerate(values)}
    return list(values)


def in_order(structure):
    """Return the values of what `packed` made."""
    if isinstance(structure, dict):
        return [structure[key] for key in sorted(structure)]
    return list(structure) if isinstance(structure, list | tuple) else [structure]


class Subclass(keras.Model):
    """Calls the blocks in its own `call`, which does not take `training`."""

    def __init__(self, graph):
        super().__init__()
        self.graph = graph
        self.held = [layer for block in graph.blocks() for layer in block.layers()]

    def call(self, inputs):
        return self.graph(inputs)


def build(problem, x):
    """Return the model, with weights that are neither all ones nor all zeros."""
    keras.utils.set_random_seed(problem.seed)
    graph = Graph(problem)
    model = _assembled(problem, graph)
    model(x)
    rng = np.random.default_rng(problem.seed)
    for block in _everywhere(graph.blocks()):
        if block.step.name == "lora":
            block.layer.enable_lora(**block.step.arguments)
    for weight in model.weights:
        if "seed" not in weight.path:
            moved = np.asarray(weight, "float64") + 0.3 * rng.normal(size=weight.shape)
            weight.assign(np.abs(moved) + 0.3 if "variance" in weight.path else moved)
    return model


def _assembled(problem, graph):
    if problem.kind == "subclassed":
        return Subclass(graph)
    inputs = [
        keras.Input(source.shape, name=f"in_{i}", dtype=_dtype(source))
        for i, source in enumerate(problem.sources)
    ]
    if problem.kind == "sequential":
        return keras.Sequential([inputs[0], *(block.layer for block in graph.blocks())])
    inputs = packed(problem, "in", inputs)
    return keras.Model(inputs, graph(inputs))


def _everywhere(blocks):
    for block in blocks:
        yield block
        yield from _everywhere(block.inner)


def _dtype(source):
    return {"normal": None, "ids": "int32", "int32": "int32", "uint8": "uint8"}[source.kind]


def make_inputs(problem):
    """Return the inputs, arrays [B, ...] in the structure of the problem."""
    rng = np.random.default_rng([problem.seed, 1])
    return packed(problem, "in", [_input(source, problem, rng) for source in problem.sources])


def _input(source, problem, rng):
    shape = (problem.batch, *source.shape)
    if source.kind == "normal":
        return rng.normal(size=shape).astype(
            "float64" if problem.policy == "float64" else "float32"
        )
    if source.kind == "ids":
        ids = rng.integers(1, source.high, size=shape)
        lengths = rng.integers(1, shape[-1] + 1, size=shape[:-1])
        return np.where(np.arange(shape[-1]) < lengths[..., None], ids, 0).astype("int32")
    low, high = (-2, 3) if source.kind == "int32" else (0, 4)
    return rng.integers(low, high, size=shape).astype(source.kind)


def make_targets(problem, outputs):
    """Return labels, losses, sample weights and loss weights in the structure of the outputs."""
    rng = np.random.default_rng([problem.seed, 2])
    flat = in_order(outputs)
    shapes = [tuple(int(n) for n in output.shape) for output in flat]
    pairs = list(zip(problem.outputs, shapes, strict=True))
    labels = [make_labels(output, shape, rng) for output, shape in pairs]
    weights = [make_weights(output, shape, rng) for output, shape in pairs]
    losses = [make_loss(output) for output in problem.outputs]
    factors = [output.factor for output in problem.outputs]
    several = [
        None if all(v is None for v in values) else packed(problem, "out", values)
        for values in (weights, factors)
    ]
    if len(pairs) == 1 and factors[0] is not None:
        several[1] = factors
    return packed(problem, "out", labels), packed(problem, "out", losses), *several
