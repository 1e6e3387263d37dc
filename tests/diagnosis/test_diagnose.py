"""`diagnose` from end to end: numbers, reports, the lines of code, and bad input."""

import csv
import json
import random

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tf_gradvar
from tests.diagnosis.tiny import CLASSES, FEATURES, data, network
from tests.oracles.noise_oracle import softmax_gradients, squared_mean, trace_of_covariance
from tf_gradvar import diagnose
from tf_gradvar.data.examples import StreamedExamples

X, Y = data(400)
SOURCE = np.where(np.arange(400) % 4 == 0, "phone", "web")


def gradients_of(model, x=X, y=Y):
    return softmax_gradients(x, y, *model.get_weights())


def diagnosed(model=None, x=X, y=Y, **options):
    return diagnose(model or network(), x, y, **{"verbose": False, "batch_size": 8} | options)


@pytest.fixture(scope="module")
def report():
    model = network()
    earlier = model.get_weights()
    model.set_weights([1.3 * w for w in earlier])
    metadata = {"source": SOURCE, "one": np.ones(400), "user": np.arange(400).astype(str)}
    return diagnosed(model, metadata=metadata, earlier_weights=earlier), model, earlier


def test_numbers(report):
    found, model, earlier = report
    matrix = gradients_of(model)
    variance, signal = trace_of_covariance(matrix), squared_mean(matrix)
    np.testing.assert_allclose(found.noise.noise.value, variance, rtol=1e-5)
    np.testing.assert_allclose(found.noise.signal.value, signal, rtol=1e-5)
    np.testing.assert_allclose(found.noise.noise_scale.value, variance / signal, rtol=1e-5)
    assert found.setting.method == "exact"
    assert found.setting.examined == found.setting.count == 400
    differences = matrix - softmax_gradients(X, Y, *earlier)
    (svrg,) = [option for option in found.options if option.kind == "svrg"]
    expected = trace_of_covariance(differences) / variance
    np.testing.assert_allclose(svrg.ratio.value, expected, rtol=1e-4)
    norms = found.who.scores["norm"]
    np.testing.assert_allclose(norms, np.linalg.norm(matrix, axis=1), rtol=1e-5)


def test_predictions_are_what_is_measured(report):
    found, model, _ = report
    batches = tf_gradvar.stratified_batches((X, Y), Y, batch_size=8, seed=0)
    measured = tf_gradvar.gradient_variance(
        model, X, Y, None, [tf_gradvar.MiniBatch(8), tf_gradvar.Stratified(batches, name="strata")]
    )
    exact = measured["strata"].variance / measured["SG-8"].variance
    (strata,) = [option for option in found.options if option.name == "strata by class"]
    assert strata.ratio.low <= exact <= strata.ratio.high
    assert strata.ratio.standard_error < 0.1
    gains = [option.gain for option in found.options]
    assert gains == sorted(gains, reverse=True)
    assert {"class", "source"} == set(found.groups)


def test_a_report_can_be_read_and_kept(report, tmp_path):
    found, _, _ = report
    text = str(found)
    for words in ("1. Noise", "2. Where", "3. Who", "4. What would help", "All 400 examples"):
        assert words in text
    assert "All examples have the same one" in text
    assert "'user' has 400 groups" in text
    plain = json.loads(found.to_json(tmp_path / "new" / "noise.json"))
    assert plain == json.loads((tmp_path / "new" / "noise.json").read_text("utf-8"))
    assert plain["noise"]["noise"]["value"] == found.noise.noise.value
    rows = list(csv.DictReader(found.to_csv(tmp_path / "scores.csv").open(encoding="utf-8")))
    assert len(rows) == 400
    assert rows[7]["index"] == "7"
    assert found.save(tmp_path / "noise.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_the_lines_that_turn_it_on_run(report):
    found, _, _ = report
    kinds = set()
    for option in found.options:
        if not option.code:
            continue
        lines = tf_gradvar.diagnosis.code.imports(option.code)
        namespace = {"model": network(), "x": X, "y": Y, "report": found}
        exec(compile(lines, option.name, "exec"), namespace)
        assert np.isfinite(namespace["model"].get_weights()[0]).all()
        kinds.add(option.kind)
    assert kinds == {"batch", "strata", "clusters", "discover"}
    assert len(lines.splitlines()) <= 8


@pytest.mark.parametrize("form", ["one-hot", "column of floats", "column"])
def test_the_code_of_other_forms_of_labels(form):
    binary = form == "column of floats"
    y = {
        "one-hot": np.eye(CLASSES)[Y],
        "column of floats": (Y > 0).astype("float32")[:, None],
        "column": Y[:, None],
    }[form]
    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(1 if binary else 3)])
    losses = {"one-hot": "CategoricalCrossentropy", "column": "SparseCategoricalCrossentropy"}
    loss = getattr(keras.losses, losses.get(form, "BinaryCrossentropy"))(from_logits=True)
    model.compile("sgd", loss)
    found = diagnosed(model, y=y)
    (option,) = [option for option in found.options if option.kind == "strata"]
    namespace = {"model": model, "x": X, "y": y}
    exec(tf_gradvar.diagnosis.code.imports(option.code), namespace)
    expected = (Y > 0) if binary else Y
    np.testing.assert_array_equal(namespace["groups"], expected)


def test_subsets_data_sets_and_data_frames():
    model = network()
    frame = pd.DataFrame({"source": SOURCE, "age": np.linspace(0, 1, 400)})
    arrays = diagnosed(model, metadata=frame)
    stream = tf.data.Dataset.from_tensor_slices((X, Y)).batch(50)
    streamed = diagnosed(model, x=stream, y=None, metadata=frame)
    np.testing.assert_allclose(streamed.noise.noise.value, arrays.noise.noise.value, rtol=1e-6)
    assert set(streamed.groups) == {"class", "source", "age"}
    assert len(np.unique(streamed.groups["age"])) == 10


def test_a_data_set_is_read_once_for_the_examples_that_are_shown(monkeypatch):
    read = []
    select = StreamedExamples.select
    monkeypatch.setattr(
        StreamedExamples, "select", lambda self, rows: read.append(rows) or select(self, rows)
    )
    stream = tf.data.Dataset.from_tensor_slices((X, Y)).batch(50)
    found = diagnosed(network(), x=stream, y=None)
    assert len(read) == 1
    assert found.inputs
    for row, inputs in found.inputs.items():
        np.testing.assert_allclose(inputs, X[row, : len(inputs)])


def test_a_subset_where_the_budget_is_small(monkeypatch):
    monkeypatch.setitem(tf_gradvar.diagnosis.limits.BUDGETS, "economy", 100)
    model = network()
    found = diagnosed(model, budget="economy")
    assert (found.setting.examined, found.setting.reason) == (100, "budget")
    assert not found.noise.noise_scale.exact
    matrix = gradients_of(model)
    exact = trace_of_covariance(matrix) / squared_mean(matrix)
    assert found.noise.noise_scale.low < exact < found.noise.noise_scale.high
    assert "100 of 400 examples" in str(found)


def test_gradients_that_are_not_finite_are_named_and_left_out():
    x = X.copy()
    x[[5, 300], 1] = np.nan
    kept = np.setdiff1d(np.arange(400), [5, 300])
    model = network()
    found = diagnosed(model, x=x)
    assert found.setting.left_out == (5, 300)
    assert "were left out: 5, 300 (counted from 0)" in str(found)
    expected = trace_of_covariance(gradients_of(model, X[kept], Y[kept]))
    np.testing.assert_allclose(found.noise.noise.value, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="NaN in `x`, `y` and the weights"):
        diagnosed(model, x=np.full_like(X, np.nan))


def test_one_class_makes_no_strata():
    found = diagnosed(y=np.zeros(400, int))
    assert "All examples have the same class" in str(found)
    assert {option.kind for option in found.options} == {"batch", "clusters"}


def test_targets_that_are_no_classes():
    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    found = diagnosed(model, y=X[:, :1] * 0.37)
    assert "no classes" in str(found)


def test_equal_gradients_have_no_noise():
    model = network()
    x, y = np.repeat(X[:1], 64, axis=0), np.repeat(Y[:1], 64)
    found = diagnosed(model, x=x, y=y)
    assert "There is no noise at all" in str(found)


def test_measuring_changes_nothing():
    model = network()
    before = [np.array(v) for v in model.variables]
    keras.utils.set_random_seed(3)
    expected = random.random()
    keras.utils.set_random_seed(3)
    diagnosed(model)
    assert random.random() == expected
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, new)


def noisy(layer, in_inference=False):
    class Noise(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(0)

        def call(self, x):
            return x + 0.1 * keras.random.normal(keras.ops.shape(x), seed=self.seed)

    middle = Noise() if in_inference else layer
    model = keras.Sequential([keras.Input((FEATURES,)), middle, keras.layers.Dense(CLASSES)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize(
    ("model", "training", "words"),
    [
        (lambda: noisy(None, in_inference=True), False, "draws random numbers there"),
        (lambda: noisy(keras.layers.Dropout(0.5)), True, "layers that draw noise and was"),
        (lambda: noisy(keras.layers.BatchNormalization()), True, "batch normalization and was"),
    ],
    ids=["noise in inference", "dropout", "batch normalization"],
)
def test_what_only_draws_can_measure(model, training, words, tmp_path):
    found = diagnosed(model(), training=training)
    assert found.setting.method == "draws"
    assert found.setting.examined == 56 * 8
    assert words in str(found)
    assert found.options == ()
    assert found.noise.noise_scale.value > 0
    assert "3. Who" not in found.save(tmp_path / "noise.html").read_text("utf-8")
    with pytest.raises(ValueError, match="`to_csv` writes the scores"):
        found.to_csv(tmp_path / "scores.csv")


def test_inference_mode_is_said():
    assert "measured in inference mode" in str(diagnosed(noisy(keras.layers.Dropout(0.5))))


def uncompiled():
    return keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])


BAD = {
    "no loss": (lambda: diagnosed(uncompiled()), "compiled without one"),
    "no labels": (lambda: diagnosed(y=None), "`y` must hold the labels that the loss"),
    "metadata of another length": (
        lambda: diagnosed(metadata={"day": [1, 2]}),
        r"one entry for each of the 400 examples.*'day' of shape \(2,\)",
    ),
    "fewer examples than a batch": (
        lambda: diagnosed(batch_size=401),
        "`batch_size` must be at most.*batch_size=401 and 400 examples",
    ),
    "no time at all": (
        lambda: diagnosed(time_limit=0.001),
        r"`time_limit` must leave time.*Received: time_limit=0.001 s. Allow at least \d+ s",
    ),
    "no time for draws": (
        lambda: diagnosed(noisy(keras.layers.Dropout(0.5)), training=True, time_limit=0.001),
        "`time_limit` must leave time",
    ),
    "another budget": (lambda: diagnosed(budget="first"), "`budget` must be one of"),
    "negative time": (lambda: diagnosed(time_limit=-1), r"`time_limit` must be a number in \(0"),
    "weights of another model": (
        lambda: diagnosed(earlier_weights=[np.zeros(3)]),
        "`earlier_weights` must be what `model.get_weights.*2 arrays. Received: 1 arrays",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
