"""TensorFlow alone: XLA as an option, traces, float64, loss scaling with state."""

import keras
import numpy as np
import pytest

from tests.optimizers import cases
from tests.optimizers.cases import BY_NAME, CASES, CLUSTERED, RATE, SHIFTING, assert_close
from tf_gradvar.optimizers import Discover

STEPS = 4


def function_of_steps(case, optimizer, **kwargs):
    """A tf.function that takes a step, and a list that grows with every trace."""
    import tensorflow as tf

    traces = []

    @tf.function(**kwargs)
    def take(*arguments):
        traces.append(1)
        gradients = optimizer.correct_gradients(*arguments) if case.clustered else arguments[0]
        optimizer.apply(gradients)

    return take, traces


@pytest.mark.parametrize(
    ("case", "num_groups"),
    [(case, 2) for case in CASES] + [(BY_NAME["Discover"], 1), (BY_NAME["Discover"], 5)],
    ids=str,
)
def test_xla_gives_the_same_and_compiles_once(case, num_groups):
    draw = cases.draws(num_groups)
    weights, optimizer = cases.variables(), case.optimizer(weight_decay=0.1, clipnorm=1.0)
    optimizer.build(weights)
    take, traces = function_of_steps(case, optimizer, jit_compile=True)
    for t in range(STEPS):
        take(*cases.tensors(case, *draw(t, cases.values(weights))))
    cases.use_true_weights(optimizer)
    assert len(traces) == 1
    base = case.base(RATE, decay=0.1)
    clip = {"clipnorm": 1.0}
    expected = cases.oracle.train(base, case.variate(), cases.initial_weights(), draw, STEPS, clip)[
        -1
    ]
    assert_close(cases.values(weights), expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_second_step_traces_nothing(case):
    weights, optimizer = cases.variables(), case.optimizer()
    optimizer.build(weights)
    take, traces = function_of_steps(case, optimizer)
    for t in range(3):
        take(*cases.tensors(case, *cases.draws(2)(t, cases.values(weights))))
        cases.use_true_weights(optimizer)
        cases.use_shifted_weights(optimizer)
    assert len(traces) == 1


@pytest.mark.parametrize("case", CASES, ids=str)
def test_float64_variables(case):
    weights = [keras.Variable(w, dtype="float64") for w in cases.initial_weights()]
    optimizer = case.optimizer()
    optimizer.build(weights)
    for t in range(STEPS):
        cases.use_shifted_weights(optimizer)
        cases.step(case, optimizer, *cases.draws(2)(t, cases.values(weights)))
        cases.use_true_weights(optimizer)
    expected = cases.oracle.train(
        case.base(RATE), case.variate(), cases.initial_weights(), cases.draws(2), STEPS
    )[-1]
    assert_close(cases.values(weights), expected)
    assert {w.dtype for w in cases.values(weights)} == {np.dtype("float64")}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_scaling_skips_infinite_gradients(case):
    """On JAX, Keras' loss scaling exists in its stateless form only."""
    optimizer, weights = case.optimizer(clipnorm=0.7), cases.variables()
    scaled = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1024.0)
    scaled.build(weights)
    base, variate = case.base(RATE), case.variate()
    expected = [np.float64(w) for w in cases.initial_weights()]
    for t in range(4):
        scale = float(scaled.scale_loss(1.0))
        assert scale == (1024.0 if t < 2 else 512.0)
        gradients = cases.corrected(case, optimizer, *cases.draws(2)(t, cases.values(weights)))
        scaled.apply([g * (scale if t != 1 else float("inf")) for g in gradients])
        gradients = variate.correct(*cases.draws(2)(t, base.seen(expected)))
        if t != 1:
            expected = base.step(expected, cases.oracle.clipped(gradients, clipnorm=0.7))
    assert int(optimizer.iterations) == 3
    assert_close(cases.values(weights), base.seen(expected))
    cases.use_true_weights(optimizer)
    assert_close(cases.values(weights), expected)


@pytest.mark.parametrize("case", SHIFTING, ids=str)
def test_models_of_other_optimizers_keep_their_train_function(case):
    """The first IGT of a process wraps `make_train_function`; others pass through."""
    case.optimizer()
    case.optimizer()
    wrapped = keras.Model.make_train_function
    case.optimizer()
    assert keras.Model.make_train_function is wrapped
    assert not hasattr(wrapped.__wrapped__, "__wrapped__")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    model.make_train_function()
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    plain.compile("sgd", loss="mse")
    wrapped.__wrapped__(plain)
    assert model.train_function.__qualname__ == plain.train_function.__qualname__


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_a_correction_in_one_function_and_the_step_in_another(case):
    """Python runs a traced function's body once only; the check must not go by that."""
    import tensorflow as tf

    weights, optimizer = cases.variables(), case.optimizer()
    optimizer.build(weights)
    correct = tf.function(optimizer.correct_gradients)
    for t in range(3):
        optimizer.apply(correct(*cases.tensors(case, *cases.draws(2)(t, cases.values(weights)))))
    cases.use_true_weights(optimizer)
    expected = cases.oracle.train(
        case.base(RATE), case.variate(), cases.initial_weights(), cases.draws(2), 3
    )[-1]
    assert_close(cases.values(weights), expected)


@pytest.mark.parametrize("settings", [{"gain": 1.0}, {"gain": 0.4}, {"alpha": 1.0}], ids=str)
@pytest.mark.parametrize("sizes", [None, [2, 0, 5]], ids=str)
def test_groups_taken_in_one_after_the_other(monkeypatch, settings, sizes):
    """As large variables are; clusters repeat within a step, and a group is not finite."""
    import tensorflow as tf

    from tf_gradvar.optimizers.backend import tensorflow as backend

    calls = []

    def small_ones_too(rows, buffers):
        calls.append(rows.shape)
        return True

    monkeypatch.setattr(backend, "_goes_row_by_row", small_ones_too)
    settings = {"alpha": cases.ALPHA, "gain": 1.0, **settings}
    optimizer = Discover(RATE, cases.K, cluster_probabilities=cases.PROBABILITIES, **settings)
    optimizer.build(cases.variables())
    correct = tf.function(optimizer.correct_gradients)
    expected = cases.oracle.ControlVariate(
        cases.SHAPES, cases.K, settings["alpha"], cases.PROBABILITIES, gain=settings["gain"]
    )
    draw, repeats = cases.draws(3), 0
    for t in range(8):
        groups, clusters, _ = draw(t, cases.initial_weights())
        repeats += len(set(clusters)) < 3
        if t == 4:
            groups[0][1, 0, 0] = np.nan
        found = correct(*cases.tensors(BY_NAME["Discover"], groups, clusters, sizes))
        assert_close(cases.values(found), expected.correct(groups, clusters, sizes))
    assert repeats
    assert calls
    buffers = [np.stack([held[k] for k in range(cases.K)]) for held in expected.buffers]
    assert_close(cases.values(optimizer.cluster_gradients), buffers)
    averages = [expected.average(i) for i in range(len(cases.SHAPES))]
    assert_close(cases.values(optimizer.mean_cluster_gradients), averages)
