"""The loss rule against Keras itself: its compiled loss of a batch that holds some examples only.

B = T = C on purpose: a weight of an example that lands on a position is then no crash.
"""

import ast
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tf_gradvar.keras_internals import set_mask
from tf_gradvar.losses import ModelLoss, overrides_compute_loss

N = 4
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=(N, *shape)).astype("float32")


def integers(*shape, low=0, high=N):
    return rng.integers(low, high, size=(N, *shape))


def one_hot(*shape):
    return np.eye(N, dtype="float32")[rng.integers(0, N, size=(N, *shape))]


def sparse(**arguments):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **arguments)


def cubed(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred) ** 3, axis=-1)


class Own(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.sum(ops.abs(y_true - y_pred), axis=-1)


def probabilities(*shape):
    values = rng.uniform(0.1, 1, (N, *shape)).astype("float32")
    return values / values.sum(-1, keepdims=True)


@dataclass(frozen=True)
class Case:
    name: str
    loss: Any
    y: Any
    outputs: Any
    weights: tuple = (None, ())  # shapes of the weights of an example
    mask: Any = None
    loss_weights: Any = None
    names: Any = field(default=None)


MASK = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], bool)
SEQUENCE = (None, (), (1,), (N,))
IMAGE = (None, (), (N, N))
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "none", None)
CASES = [
    Case("mse", "mse", normal(N), normal(N), (None, (), (1,))),
    Case("labels [B], outputs [B, 1]", "mse", normal(), normal(1)),
    Case("labels [B, 1], outputs [B]", "mse", normal(1), normal()),
    Case("cross-entropy by its short name", "crossentropy", integers(), probabilities(N)),
    Case("cross-entropy of labels [B, 1]", sparse(), integers(1), normal(N), (None, (), (1,))),
    Case("binary", "binary_crossentropy", integers(1, high=2), probabilities(2)[:, :1]),
    Case(
        "label smoothing",
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        one_hot(),
        probabilities(N),
    ),
    Case("huber of sequences", keras.losses.Huber(0.3), normal(N, N), normal(N, N), SEQUENCE),
    Case("function", cubed, normal(N), normal(N)),
    Case("function of sequences", cubed, normal(N, N), normal(N, N), SEQUENCE),
    Case("class", Own(), normal(N, N), normal(N, N), SEQUENCE),
    Case("sequence", sparse(), integers(N), normal(N, N), SEQUENCE),
    Case("image", sparse(), integers(N, N), normal(N, N, N), IMAGE),
    Case("dense image", "mae", normal(N, N, N), normal(N, N, N), (None, (), (N, N))),
    Case("masked", sparse(), integers(N), normal(N, N), SEQUENCE, MASK),
    Case("ignored class", sparse(ignore_class=0), integers(N), normal(N, N), SEQUENCE),
    Case("ignored class -1", sparse(ignore_class=-1), integers(N, low=-1), normal(N, N), SEQUENCE),
    Case(
        "ignored class of masked", sparse(ignore_class=0), integers(N), normal(N, N), SEQUENCE, MASK
    ),
    Case("weighted loss", "mse", normal(N), normal(N), loss_weights=[3.0]),
    Case(
        "two outputs",
        ["mse", sparse()],
        [normal(N), integers()],
        [normal(N), normal(N)],
        (None, ()),
        None,
        [2.0, 0.5],
    ),
    Case(
        "two named outputs",
        {"a": "mse", "b": sparse()},
        {"a": normal(N), "b": integers()},
        {"a": normal(N), "b": normal(N)},
        (None, ()),
        None,
        {"a": 2.0, "b": 0.5},
    ),
    Case("one loss for two outputs", "mse", [normal(N), normal(N)], [normal(N), normal(N)]),
    Case(
        "one of two outputs", ["mse", None], [normal(N), normal(N)], [normal(N), normal(N)], (None,)
    ),
    *(
        Case(f"reduction {r}", sparse(reduction=r), integers(N), normal(N, N), SEQUENCE, m)
        for r in REDUCTIONS
        for m in (None, MASK)
    ),
    *(
        Case(
            f"mean over the weights{' and mask' * (m is not None)}",
            sparse(reduction="mean_with_sample_weight"),
            integers(N),
            normal(N, N),
            (None, (N,)),
            m,
        )
        for m in (None, MASK)
    ),
]


def compiled(case):
    """A model that is only asked for its compiled loss."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    if isinstance(case.outputs, dict):
        inputs = keras.Input((1,))
        model = keras.Model(
            inputs, {n: keras.layers.Dense(1, name=n)(inputs) for n in case.outputs}
        )
    elif isinstance(case.outputs, list):
        inputs = keras.Input((1,))
        model = keras.Model(inputs, [keras.layers.Dense(1)(inputs) for _ in case.outputs])
    model.compile("sgd", case.loss, loss_weights=case.loss_weights)
    return model


def tensors(case, rows, weight):
    """Labels, outputs with their mask, and weights of some examples."""
    y, outputs, w = keras.tree.map_structure(
        lambda array: None if array is None else tf.constant(array[rows]),
        (case.y, case.outputs, weight),
    )
    if case.mask is not None:
        set_mask(outputs, tf.constant(case.mask[rows]))
    return y, outputs, w


def as_keras_wants(weight, case):
    """Weights [B] of a loss with positions: with the axes that Keras would not add itself."""
    if weight is None or weight.ndim > 1 or isinstance(case.outputs, dict | list):
        return weight
    if case.y.ndim == 1 or case.y.ndim == case.outputs.ndim == 2:
        return weight
    rank = len(case.outputs.shape) - 1
    return weight.reshape(-1, *[1] * (rank - 1))


@pytest.mark.parametrize(
    ("case", "shape"),
    [(c, s) for c in CASES for s in c.weights],
    ids=lambda v: v.name if isinstance(v, Case) else f"weights {v}",
)
def test_examples_and_groups(case, shape):
    model = compiled(case)
    loss = ModelLoss(model)
    weight = None if shape is None else rng.uniform(0.5, 2, (N, *shape)).astype("float32")
    y, outputs, w = tensors(case, slice(None), weight)
    found = loss.of_examples(None, y, outputs, w)
    terms = loss.terms(y, outputs, w)
    assert found.shape == (N,)
    for size in (1, 2, N):
        for rows in itertools.combinations(range(N), size):
            keras_weight = as_keras_wants(weight, case)
            some = tensors(case, list(rows), keras_weight)
            expected = tf.reduce_sum(model.compute_loss(None, *some))
            members = np.isin(np.arange(N), rows)
            group = sum(float(term.of_group(members)) for term in terms)
            assert group == pytest.approx(float(expected), rel=2e-5, abs=1e-6), rows
            if size == 1:
                assert float(found[rows[0]]) == pytest.approx(float(expected), rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("explicit", [False, True])
def test_half_and_double_precision(explicit):
    model = compiled(CASES[0])
    loss = ModelLoss(model, "mse" if explicit else None)
    for dtype, expected in (("float16", "float32"), ("float64", "float64")):
        outputs = tf.cast(CASES[0].outputs, dtype)
        assert loss.of_examples(None, tf.constant(CASES[0].y), outputs).dtype == expected


def test_a_loss_that_looks_at_no_labels():
    model = compiled(CASES[0])
    outputs = tf.constant(normal(N))
    found = ModelLoss(model, lambda y, p: ops.sum(p, -1)).of_examples(None, None, outputs)
    np.testing.assert_allclose(found, outputs.numpy().sum(-1), rtol=1e-6)


class WithLoss(keras.Model):
    """A model with a loss of its own that also looks at what layers added."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 3 * ops.mean(ops.abs(y - y_pred) ** 3) + 2 * ops.sum(self.losses)


def with_loss():
    inputs = keras.Input((3,))
    regularizer = keras.regularizers.L2(0.3)
    hidden = keras.layers.Dense(4, "tanh", activity_regularizer=regularizer)(inputs)
    model = WithLoss(inputs, keras.layers.Dense(2)(hidden))
    model.compile("sgd", "mse")
    return model


def test_a_compute_loss_of_its_own():
    model, x, y = with_loss(), normal(3), normal(2)
    loss = ModelLoss(model)
    assert loss.computes_itself
    assert overrides_compute_loss(model)
    assert not ModelLoss(model, "mse").computes_itself
    with keras.StatelessScope(collect_losses=True) as scope:
        outputs = model(x)
        added = list(scope.losses)
        whole = loss.of_batch(x, y, outputs, None, added)
        each = loss.of_examples(tf.constant(x), tf.constant(y), outputs, None, added)
    outputs = model(x)
    expected = model.compute_loss(x, y, outputs)
    assert float(whole) == pytest.approx(float(expected), rel=1e-6)
    errors = 3 * np.mean(np.abs(y - outputs.numpy()) ** 3, axis=1)
    np.testing.assert_allclose(each, errors + 2 * float(sum(model.losses)), rtol=1e-5)
    assert float(loss.total(each, added)) == pytest.approx(N * float(expected), rel=1e-5)


def test_added_losses_count_once_for_each_example():
    model = compiled(CASES[0])
    losses, added = tf.constant([1.0, 2.0]), [tf.constant(5.0), tf.constant([1.0, 1.0])]
    loss = ModelLoss(model)
    assert float(loss.total(losses, added)) == 3 + 2 * 7
    assert float(loss.weighted_total(losses, added, tf.constant([0.5, 0.25]))) == 1 + 0.75 * 7


BAD = [
    ({"loss": 3.0}, TypeError, "`loss` must be a Keras loss"),
    ({"loss": lambda y, p: ops.mean(p)}, ValueError, "`loss` must give one value per example"),
    ({"loss": [None]}, ValueError, "at least one output"),
    ({"loss": ["mse", "mse"]}, ValueError, "one entry for each of the 1 outputs"),
    ({"loss": {"b": "mse"}}, ValueError, "names of the model's outputs"),
    ({"weight": normal(N, N)}, ValueError, "`sample_weight` must match the leading axes"),
    (
        {"loss": sparse(reduction="mean_with_sample_weight"), "weight": normal()},
        ValueError,
        "must be None, or one weight for each position",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_losses_are_refused(arguments, error, message):
    model = compiled(CASES[0])
    loss = ModelLoss(model, arguments.get("loss", "mse"))
    y = integers() if isinstance(loss.loss, keras.losses.Loss) else CASES[0].y
    with pytest.raises(error, match=message):
        loss.of_examples(None, tf.constant(y), tf.constant(normal(N)), arguments.get("weight"))


@pytest.mark.parametrize("channels", [1, N])
def test_a_mask_of_fewer_axes_than_the_loss(channels):
    """Keras lays it along the last axes: fine for one channel, another mask for B = T = C."""
    case = Case(
        "", lambda y, p: ops.abs(y - p), normal(N, channels), normal(N, channels), mask=MASK
    )
    y, outputs, _ = tensors(case, slice(None), None)
    loss = ModelLoss(compiled(case))
    if channels == 1:
        each = np.abs(case.y - case.outputs)[..., 0] * MASK
        expected = each.sum(1) / MASK.sum(1)
        np.testing.assert_allclose(loss.of_examples(None, y, outputs), expected, rtol=1e-5)
        return
    with pytest.raises(
        ValueError, match="`loss` must give one value for each position of the mask"
    ):
        loss.of_examples(None, y, outputs)


def test_losses_that_are_missing():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)], name="net")
    with pytest.raises(ValueError, match="`loss` must be given for the model 'net'"):
        ModelLoss(model)
    with pytest.raises(ValueError, match="`loss_weights` must come with a `loss`"):
        ModelLoss(model, None, [1.0])
    model.compile("sgd", loss=None)
    with pytest.raises(ValueError, match="`loss` must be given for the model 'net'"):
        ModelLoss(model)


def test_one_loss_rule():
    """No other room reduces, weighs or masks the values of a loss."""
    root = Path(__file__).parent.parent / "tf_gradvar"
    own = {"resolve_loss", "compiled_loss_weights", "get_loss", "reduce_weighted_values"}
    for path in root.rglob("*.py"):
        if path.parent.name == "losses" or path.name == "keras_internals.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            place = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"reduction"}, place
                whole = ast.unparse(node)
                assert whole not in {"keras.losses.get", "loss.call", "loss.fn"}, place
            if isinstance(node, ast.ImportFrom):
                assert not own & {alias.name for alias in node.names}, place


def test_when_two_are_the_same():
    model = compiled(CASES[0])
    assert ModelLoss(model).has("mse", None)
    assert ModelLoss(model, cubed).has(cubed, None)
    assert not ModelLoss(model, cubed).has(lambda y, p: p, None)
    assert not ModelLoss(model, "mse", [2.0]).has("mse", [1.0])
    assert ModelLoss.of(model, loss := ModelLoss(model, "mse")) is loss
