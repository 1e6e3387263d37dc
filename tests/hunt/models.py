"""Random problems: models, data and losses drawn with hypothesis, as data."""

import math
from dataclasses import replace

import hypothesis.strategies as st

from tests.hunt import layer_strategies as layer
from tests.hunt.layer_strategies import Drawing, plain_step
from tests.hunt.objectives import LOSSES
from tests.hunt.problem import Output, Problem, Source, Step

MOST_NUMBERS = 200  # in one example of a tensor; larger ones are pooled
POLICIES = (*["float32"] * 8, "float64", "mixed_float16", "mixed_bfloat16", "bfloat16", "float16")


@st.composite
def problems(draw):
    """Draw a `Problem`."""
    d = Drawing(draw, draw(st.sampled_from([2, 3, 3, 4])))
    kind = d.of("functional", "functional", "sequential", "subclassed")
    number = 1 if kind == "sequential" or not d.chance(20) else 2
    sources, shapes = zip(*(_source(d) for _ in range(number)), strict=True)
    shape = shapes[0] if number == 1 else (sum(math.prod(s) for s in shapes),)
    body, shape = _body(d, shape, plain=kind == "sequential")
    several = kind != "sequential" and d.chance(20)
    weights = d.of(None, None, None, "B", "B1", "BT")
    outputs = tuple(_output(d, shape, weights, several) for _ in range(2 if several else 1))
    problem = Problem(
        kind=kind,
        sources=sources,
        body=body,
        outputs=outputs,
        batch=d.of(d.common, d.common, 1, 2, 3, 5),
        structure=d.of("list", "dict"),
        policy=d.of(*POLICIES),
        call=d.of(*["plain"] * 8, "eager", "graph", "dynamic"),
        chunk_size=d.of(1, 2, 3),
        seed=draw(st.integers(0, 999)),
    )
    # A weak interaction is lost in the rounding of half precision.
    half = problem.policy not in ("float32", "float64")
    return replace(problem, policy="float32") if half and problem.may_be_refused else problem


def _source(d):
    """Draw an input, and the shape after its stem."""
    kind = d.of("vector", "sequence", "sequence", "ids", "ids", "image", "image", "volume", "int")
    if kind == "ids":
        high = d.of(d.common + 1, 6)
        table = Step(
            "Embedding",
            {"input_dim": high, "output_dim": d.size(), "mask_zero": d.chance(60)},
        )
        if d.chance(15):
            table = Step("lora", {"rank": 1}, (table,))
        length = d.size()
        return Source((length,), "ids", high, (table,)), (length, d_of(table))
    if kind == "int":
        shape = d.of((d.size(),), (d.size(), d.size()))
        first = d.of(layer.dense(d, shape), Step("Rescaling", {"scale": 0.5}))
        after = (*shape[:-1], first.arguments.get("units", shape[-1]))
        return Source(shape, d.of("int32", "uint8"), stem=(first,)), after
    rank = {"vector": 1, "sequence": 2, "image": 3, "volume": 4}[kind]
    shape = tuple(d.size(5 if rank < 4 else 3) for _ in range(rank))
    return Source(shape), shape


def d_of(table):
    """Return the length of the rows of a table."""
    table = table.inside[0] if table.inside else table
    return table.arguments["output_dim"]


def _body(d, shape, *, plain):
    steps = []
    for _ in range(d.of(1, 1, 2, 2, 3, 4)):
        if plain or d.chance(65):
            step, shape = plain_step(d, shape)
            steps.append(step)
        else:
            found, shape = _form(d, shape)
            steps += found
        if math.prod(shape) > MOST_NUMBERS:
            steps.append(layer.flatten(d, shape))
            steps.append(Step("Dense", {"units": d.size(), "activation": "tanh"}))
            shape = (steps[-1].arguments["units"],)
    return tuple(steps), shape


def _form(d, shape):
    """Draw a form that only functional and subclassed models can have."""
    forms = [_residual, _twice, _nested, _branches, _centre, _total, _noise]
    if len(shape) == 2:
        forms += [_attention, _attention]
    if len(shape) >= 2:
        forms += [_swap, _merge]
    return d.of(*forms)(d, shape)


def _residual(d, shape):
    return [Step("residual", {}, (_same(d, shape),))], shape


def _twice(d, shape):
    return [Step("twice", {}, (_same(d, shape),))], shape


def _same(d, shape):
    """A step that keeps the shape."""
    choices = [layer.square, layer.normalization]
    if len(shape) == 2:
        choices.append(
            lambda d, shape: Step(
                d.of("GRU", "LSTM"), {"units": shape[-1], "return_sequences": True}
            )
        )
    if 2 <= len(shape) <= 3:
        name = f"Conv{len(shape) - 1}D"
        choices.append(
            lambda d, shape: Step(
                name, {"filters": shape[-1], "kernel_size": d.of(1, 2, 3), "padding": "same"}
            )
        )
    return d.of(*choices)(d, shape)


def _nested(d, shape):
    before = shape
    inside = []
    for _ in range(d.of(1, 2)):
        step, shape = plain_step(d, shape)
        inside.append(step)
    arguments = {"functional": True, "shape": before} if d.chance(50) else {}
    step = Step("nested", arguments, tuple(inside))
    if shape == before and d.chance(50):
        step = Step("twice", {}, (step,))
    return [step], shape


def _branches(d, shape):
    steps = tuple(layer.dense(d, shape) for _ in range(2))
    units = sum(step.arguments["units"] for step in steps)
    return [Step("branches", {}, steps)], (*shape[:-1], units)


def _attention(d, shape):
    return [layer.attention(d, shape)], shape


def _noise(d, shape):
    return ([Step("noise")] if d.chance(30) else [layer.square(d, shape)]), shape


def _mixing(d, name, arguments=None):
    """A step that moves, merges or mixes the batch axis, as an operation or a Lambda layer."""
    as_layer = {"layer": True} if d.chance(30) else {}
    return Step(name, {**(arguments or {}), **as_layer})


def _centre(d, shape):
    return [_mixing(d, "centre")], shape


def _total(d, shape):
    return [_mixing(d, "total")], shape


def _swap(d, shape):
    inner = layer.dense(d, shape)
    steps = [_mixing(d, "transpose"), inner, _mixing(d, "transpose")]
    return steps, (*shape[:-1], inner.arguments["units"])


def _merge(d, shape):
    inner = layer.dense(d, shape)
    after = (*shape[:-1], inner.arguments["units"])
    return [_mixing(d, "flat"), inner, _mixing(d, "unflat", {"shape": after})], after


def _output(d, shape, weights, several):
    """Draw the layers before a loss, the loss, and the form of labels and weights."""
    loss = d.of(*LOSSES)
    logits = d.chance(60)
    activation = LOSSES[loss].activation
    arguments = _loss_arguments(d, loss, several)
    if activation in ("sigmoid", "softmax") and loss != "dice" and logits:
        arguments["from_logits"], activation = True, None
    # The cosine of single numbers is a sign, whose gradient is rounding.
    several_classes = LOSSES[loss].labels in ("classes", "one_hot") or loss == "cosine"
    classes = d.of(2, 3, 4) if several_classes else d.size(4)
    head = [] if len(shape) == 1 or d.chance(50) else [Step("Flatten")]
    if LOSSES[loss].labels == "classes" and d.chance(40):
        arguments["ignore_class"] = d.of(0, -1, 255)
    if loss == "sparse" and d.chance(10) and "ignore_class" not in arguments:
        arguments["axis"] = -1
    head.append(Step("Dense", {"units": classes, "activation": activation}))
    return Output(
        head=tuple(head),
        loss=loss,
        arguments=arguments,
        labels=d.of("same", "same", "squeezed", "expanded"),
        sample_weight=weights,
        factor=d.of(0.25, 2.0) if several or d.chance(10) else None,
    )


def _loss_arguments(d, loss, several):
    """Reduction and label smoothing, where they differ from what Keras has by default."""
    if not isinstance(LOSSES[loss].make, type):
        return {}
    arguments = {}
    # With several outputs Keras broadcasts the number of one against the array of another.
    none = [] if several else ["none"]
    reduction = d.of(*[None] * 8, "sum", "sum", "mean", "mean_with_sample_weight", *none)
    if reduction is not None:
        arguments["reduction"] = reduction
    if loss in ("binary", "focal", "categorical") and d.chance(30):
        arguments["label_smoothing"] = 0.2
    return arguments
