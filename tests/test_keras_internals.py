"""Every private name of Keras stands in `keras_internals`, and still means what we think."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar import keras_internals

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path
    for folder in ("tf_gradvar", "keras_apps", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path.name != "keras_internals.py"
)
KERAS_CLASSES = (
    keras.Model,
    keras.layers.Layer,
    keras.optimizers.Optimizer,
    keras.callbacks.Callback,
    keras.losses.Loss,
)


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def own_names():
    """Private names that our own code defines."""
    names = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names.update(t.id for t in targets if isinstance(t, ast.Name))
    return names


OWN = own_names() | {"_replace", "_exit"}  # of named tuples, of `os`


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_private_name_of_keras_elsewhere(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.module.startswith("keras.src"), node.lineno
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            assert node.attr in OWN, f"line {node.lineno}: {node.attr}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not node.value.startswith("_keras"), f"line {node.lineno}: {node.value}"
        if isinstance(node, ast.ClassDef) and node.bases:
            methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            for name in filter(is_private, methods):
                overridden = [c.__name__ for c in KERAS_CLASSES if hasattr(c, name)]
                assert not overridden, f"{node.name}.{name} overrides that of {overridden}"


def test_every_name_is_public_and_explained():
    for name in keras_internals.__all__:
        value = getattr(keras_internals, name)
        if callable(value) and value.__module__ == keras_internals.__name__:
            explained = "Why: " in value.__doc__
            assert explained or name.startswith("set_"), name


def small_model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])


def test_flatten_layers():
    inner = small_model()
    outer = keras.Sequential([keras.Input((3,)), inner])
    assert {outer, inner, *inner.layers} <= set(keras_internals.flatten_layers(outer))
    one_down = keras_internals.flatten_layers(outer, include_self=False, recursive=False)
    assert inner in one_down
    assert not set(inner.layers) & set(one_down)


def test_managed_attributes():
    model = small_model()
    model.own, model.layers[0].own = 1, 2
    model.compile("sgd", "mse")
    x, y = np.zeros((4, 3)), np.zeros((4, 2))
    model.fit(x, y, validation_data=(x, y), verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    managed = keras_internals.managed_attributes()
    left = {name for name in vars(model) if not name.startswith("_self_")} - managed
    assert left == {"own"}
    assert {"units", "activation", "use_bias", "own"} <= set(vars(model.layers[0])) - managed


def test_functional():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    assert isinstance(model, keras_internals.Functional)
    assert not isinstance(keras.layers.Dense(2), keras_internals.Functional)


def test_stored_kernel():
    dense, table = keras.layers.Dense(2), keras.layers.Embedding(4, 2)
    for layer, x in ((dense, np.ones((1, 3))), (table, np.ones((1, 3), "int32"))):
        layer(x)
        stored = keras_internals.stored_kernel(layer)
        assert stored is layer.variables[0]
        layer.enable_lora(1)
        assert keras_internals.stored_kernel(layer) is stored


def test_added_losses():
    class Adds(keras.layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.sum(x))
            return x

    layer = Adds()
    layer(np.ones((2, 3), "float32"))
    (loss,) = keras_internals.added_losses(layer)
    assert float(loss) == 6.0


@pytest.mark.skipif(not hasattr(keras, "RematScope"), reason="Keras has none yet")
def test_remat_mode():
    with keras.RematScope(mode="full"):
        layer = keras.layers.Dense(2)
    assert keras_internals.remat_mode(layer) is not None
    keras_internals.set_remat_mode(layer, None)
    assert keras_internals.remat_mode(layer) is None
    assert keras_internals.remat_mode(keras.layers.Dense(2)) is None


def test_is_seed():
    model = small_model()
    assert sum(map(keras_internals.is_seed, model.non_trainable_variables)) == 1
    assert not any(map(keras_internals.is_seed, model.trainable_variables))


def test_masks():
    x = keras.layers.Embedding(4, 2, mask_zero=True)(np.array([[1, 0]]))
    assert keras.ops.convert_to_numpy(keras_internals.get_mask(x)).tolist() == [[True, False]]
    y = keras.ops.ones((1, 2))
    assert keras_internals.get_mask(y) is None
    keras_internals.set_mask(y, keras_internals.get_mask(x))
    loss = keras.losses.MeanAbsoluteError()(keras.ops.zeros((1, 2, 1)), y[..., None] * 0 + 1)
    assert float(loss) == 1.0
    assert keras_internals.get_mask(y) is not None


def test_compiled_loss():
    model = small_model()
    assert keras_internals.compiled_loss(model) is None
    model.compile("sgd", "mse", loss_weights=[3.0])
    y = keras.ops.ones((1, 2))
    assert float(keras_internals.compiled_loss(model)(y, 0 * y)) == 3.0


def built_sgd(**arguments):
    variable = keras.Variable([1.0, 2.0], name="kernel")
    optimizer = keras.optimizers.SGD(**arguments)
    optimizer.build([variable])
    return optimizer, variable


def test_optimizer_functions():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer, variable = built_sgd(learning_rate=schedule, weight_decay=0.1)
    assert keras_internals.variable_index(optimizer, variable) == 0
    assert keras_internals.decays_weight(optimizer, variable)
    assert keras_internals.learning_rate_setting(optimizer) is schedule
    assert keras_internals.own_variables(optimizer) == optimizer.variables


def test_without_all_reduce(monkeypatch):
    reduced = []

    def doubled(optimizer, pairs):
        reduced.append(optimizer)
        return [(2.0 * gradient, variable) for gradient, variable in pairs]

    monkeypatch.setattr(keras.optimizers.SGD, "_all_reduce_sum_gradients", doubled)
    optimizer, variable = built_sgd(learning_rate=1.0)
    with keras_internals.without_all_reduce(optimizer):
        optimizer.apply([keras.ops.ones(2)])
    assert not reduced
    assert keras.ops.convert_to_numpy(variable).tolist() == [0.0, 1.0]
    optimizer.apply([keras.ops.ones(2)])
    assert reduced == [optimizer]
    assert keras.ops.convert_to_numpy(variable).tolist() == [-2.0, -1.0]


def test_exclusion_from_weight_decay():
    variable = keras.Variable([1.0], name="bias")
    optimizer = keras.optimizers.SGD(weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build([variable])
    assert not keras_internals.decays_weight(optimizer, variable)


def test_given_losses():
    model = small_model()
    with keras_internals.given_losses(model, ["of the call"]):
        assert model.losses == ["of the call"]
    assert model.losses == []


def test_build_for_training():
    model = small_model()
    model.compile("adam", "mse", metrics=["mae"])
    spec = [tf.TensorSpec((None, size), "float32") for size in (3, 2)]
    keras_internals.build_for_training(model, tuple(spec))
    assert model.optimizer.built
    assert len(model.metrics_variables) == 4  # total and count of each, before any step


def test_an_optimizer_around_another():
    inner, variable = built_sgd(learning_rate=0.5, momentum=0.9, use_ema=True)
    outer = keras.optimizers.Optimizer(learning_rate=0.25)
    keras_internals.build_around(outer, inner, [variable])
    assert outer.built
    assert len(outer.variables) == 2  # no average of its own
    assert outer._trainable_variables == [variable]
    assert outer._model_variables_moving_average is inner._model_variables_moving_average

    keras_internals.share_state(outer, inner)
    inner.apply([keras.ops.ones(2)])
    assert int(outer.iterations) == 1
    assert float(inner.learning_rate) == 0.25
    assert keras.ops.convert_to_numpy(variable).tolist() == [0.75, 1.75]
    store = {}
    inner.save_own_variables(store)
    assert not store
    inner.load_own_variables(store)

    slots = inner.momentums
    keras_internals.track_variables(outer, slots)
    assert outer.variables[2:] == slots


@pytest.mark.parametrize("takes", [False, True])
def test_training_argument(takes):
    class Plain(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    layer = keras.layers.Dropout(0.5) if takes else Plain()
    expected = {"training": True} if takes else {}
    assert keras_internals.training_argument(layer, True) == expected
    zeros = (keras_internals.call_model(layer, np.ones(99, "float32"), True) == 0).numpy()
    assert zeros.any() == takes


def test_distribution_strategy():
    optimizer, _ = built_sgd()
    assert keras_internals.distribution_strategy(optimizer).num_replicas_in_sync == 1


@pytest.mark.parametrize("decays", [False, True])
def test_hooked_optimizer(decays):
    calls = []

    class Hooked(keras_internals.HookedOptimizer):
        decays_in_update_step = decays

        def before_updates(self):
            calls.append("before")

        def update_step(self, gradient, variable, learning_rate):
            calls.append("update")

        def after_updates(self, learning_rate):
            calls.append(float(learning_rate))

    variables = [keras.Variable([1.0]), keras.Variable([1.0])]
    optimizer = Hooked(learning_rate=0.5, weight_decay=0.5)
    optimizer.apply([keras.ops.ones(1)] * 2, variables)
    assert calls == ["before", "update", "update", 0.5]
    assert float(variables[0][0]) == (1.0 if decays else 0.75)


def test_stateless_scope():
    assert not keras_internals.in_stateless_scope()
    with keras.StatelessScope():
        assert keras_internals.in_stateless_scope()
