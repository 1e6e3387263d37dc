"""The callback: what it measures and when, where it goes, and that it changes nothing."""

import csv
import logging
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.problems import training_mode_model
from tf_gradvar import ClusterModel, Discover, cluster_batches
from tf_gradvar.callbacks import GradientVarianceLogger, at, every, log_spaced
from tf_gradvar.estimators import (
    SVRG,
    DiscoverEstimate,
    MiniBatch,
    Stratified,
    gradient_variance,
)
from tf_gradvar.records import RecordFile

N = 40
LABELS = np.arange(N) % 3


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 4)).astype("float32")
    return x, (x[:, :1] - 0.5 * LABELS[:, None]).astype("float32")


def linear_model(**options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="head")])
    model.compile(keras.optimizers.SGD(0.05), loss="mse", **options)
    return model


def fit(model, callbacks, epochs=1, **options):
    """Four steps an epoch."""
    return model.fit(
        *data(), batch_size=10, epochs=epochs, verbose=0, callbacks=callbacks, **options
    )


def logger_of(estimators=None, **options):
    return GradientVarianceLogger(*data(), estimators or MiniBatch(8), **options)


class Kept(keras.callbacks.Callback):
    """The weights after every step."""

    def __init__(self):
        super().__init__()
        self.weights = {}

    def on_train_batch_end(self, batch, logs=None):
        self.weights[int(self.model.optimizer.iterations)] = self.model.get_weights()


def test_values_are_those_at_the_weights_of_the_step():
    model, kept = linear_model(), Kept()
    estimators = [MiniBatch(8), SVRG(8), Stratified(LABELS, name="labels")]
    logger = logger_of(estimators, every=at([3, 6]), snapshot_every=2, per_layer=True)
    fit(model, [kept, logger], epochs=2)
    assert [record["step"] for record in logger.history] == [3, 6]
    for record, snapshot in zip(logger.history, (2, 6), strict=True):
        model.set_weights(kept.weights[record["step"]])
        again = [MiniBatch(8), SVRG(8, snapshot=kept.weights[snapshot]), estimators[2]]
        expected = gradient_variance(model, *data(), "mse", again)
        for name, values in record["estimators"].items():
            assert values["average_variance"] == expected[name].average_variance
            assert values["normalized_variance"] == expected[name].normalized_variance
            assert next(iter(values["per_layer"])).endswith("head")
    assert logger.history[1]["estimators"]["SVRG-8"]["variance"] == 0.0


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"every": 3}, [3, 6]),
        ({"every": at([0, 5])}, [0, 5]),
        ({"every_epochs": 1}, [4, 8]),
        ({"every_epochs": 2}, [8]),
        ({"every": log_spaced(2)}, [1, 3]),
        ({"every": lambda step: step == 7}, [7]),
        ({"every": 6, "every_epochs": 2}, [6, 8]),
    ],
)
def test_schedules(options, steps):
    logger = logger_of(normalized=False, **options)
    fit(linear_model(), [logger], epochs=2)
    assert [record["step"] for record in logger.history] == steps


@pytest.mark.parametrize(
    ("old", "instead", "steps"),
    [
        ({"every_steps": 3}, "every=...", [3, 6]),
        ({"at_steps": [0, 5]}, "every=at(...)", [0, 5]),
        ({"schedule": log_spaced(2)}, "every=...", [1, 3]),
        ({"every_steps": 6, "every": 5}, "every=...", [5, 6]),
    ],
)
def test_names_of_version_0_1_measure_and_warn_at_the_line_that_has_them(old, instead, steps):
    name = next(iter(old))
    message = f"`{name}` is deprecated since 0.2.0 .* Use `{re.escape(instead)}`"
    with pytest.warns(DeprecationWarning, match=message) as warned:
        logger = GradientVarianceLogger(*data(), MiniBatch(8), normalized=False, **old)
    assert [warning.filename for warning in warned] == [__file__]
    fit(linear_model(), [logger], epochs=2)
    assert [record["step"] for record in logger.history] == steps


@pytest.mark.parametrize(
    ("preset", "steps", "has_layers", "is_normalized"),
    [
        ("economy", [1, 2, 3, 4, 6], False, False),
        ("business", [1, 2, 3, 4, 5, 6, 8], True, True),
        ("full", [1, 2, 3, 4, 5, 6, 7, 8], True, True),
    ],
)
def test_presets(preset, steps, has_layers, is_normalized):
    logger = logger_of(preset=preset)
    fit(linear_model(), [logger], epochs=2)
    assert [record["step"] for record in logger.history] == steps
    values = logger.history[-1]["estimators"]["SG-8"]
    assert ("per_layer" in values) == has_layers
    assert ("normalized_variance" in values) == is_normalized


def test_what_is_given_beside_a_preset_holds():
    logger = logger_of(preset="economy", every=4, normalized=True)
    fit(linear_model(), [logger], epochs=2)
    assert [record["step"] for record in logger.history] == [4, 8]
    assert logger.history[0]["estimators"]["SG-8"]["normalized_variance"] > 0
    by_epoch = logger_of(preset="economy", every_epochs=1)
    fit(linear_model(), [by_epoch], epochs=2)
    assert [record["step"] for record in by_epoch.history] == [4, 8]


def test_functions_of_a_step():
    assert [step for step in range(9) if every(4)(step)] == [4, 8]
    assert [step for step in range(9) if at([0, 4])(step)] == [0, 4]
    spaced = [step for step in range(100_001) if log_spaced(10)(step)]
    assert spaced[:8] == [1, 2, 3, 4, 5, 6, 8, 10]
    assert len([step for step in spaced if step > 10_000]) == 10


def test_several_steps_in_one_execution():
    logger = logger_of(every=3, normalized=False)
    fit(linear_model(steps_per_execution=4), [logger], epochs=3)
    assert [record["step"] for record in logger.history] == [4, 8, 12]


def test_keras_logs_and_csv(tmp_path):
    logger = logger_of([MiniBatch(8), SVRG(8)], every=at([2, 6, 7]))
    written = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = fit(linear_model(), [logger, written], epochs=3).history
    for name in ("SG-8", "SVRG-8"):
        values = [logger.history[i]["estimators"][name]["average_variance"] for i in (0, 2)]
        key = f"gradient_variance/{name}/average_variance"
        np.testing.assert_array_equal(history[key], [*values, np.nan])
        with open(tmp_path / "log.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [float(row[key]) for row in rows[:2]] == values
    assert "gradient_variance/SG-8/normalized_variance" in history
    assert not any("standard_error" in key for key in history)


def test_records_in_a_file(tmp_path):
    path = tmp_path / "run" / "records.jsonl"
    options = {"every": 2, "path": path, "method": "subset", "subset_size": 20}
    logger = logger_of([MiniBatch(8), Stratified(LABELS)], **options)
    fit(linear_model(), [logger])
    records = RecordFile(path).read()
    assert records == logger.history
    assert {record["method"] for record in records} == {"subset"}
    assert records[0]["estimators"]["SG-8"]["standard_error"] > 0
    assert sum(records[0]["norm_histogram"]["examples"]) == pytest.approx(N)
    assert records[1]["measuring_seconds"] >= records[1]["seconds"] > 0
    # Each measurement draws its own subset.
    assert records[0]["norm_histogram"] != records[1]["norm_histogram"]


def test_clustering_again():
    calls, stratified = [], Stratified(LABELS, name="clusters")

    def recluster(model, step):
        calls.append(step)
        return (np.arange(N) + step) % 4

    logger = logger_of(stratified, every=at([1, 8]), recluster=recluster, recluster_every=3)
    fit(linear_model(), [logger], epochs=2)
    assert calls == [3, 6]
    np.testing.assert_array_equal(stratified.assignments, (np.arange(N) + 6) % 4)
    both = [stratified, Stratified(LABELS, name="labels")]
    hooks = {"labels": recluster}
    logger = logger_of(both, every=at([4]), recluster=hooks, recluster_every=2)
    fit(linear_model(), [logger])
    assert both[1].assignments.max() == 3


def test_line_and_cost(capsys):
    logger = logger_of([MiniBatch(8), SVRG(8)], every=4, verbose=True)
    fit(linear_model(), [logger])
    line, cost = capsys.readouterr().out.splitlines()
    assert line.startswith("step 4  SG-8 ")
    assert "SVRG-8" in line
    assert "noise scale" in line
    assert cost.startswith("1 measurements of gradient variance took ")
    assert logger.cost["measurements"] == 1
    assert logger.cost["measuring_seconds"] > 0
    assert logger.cost["training_seconds"] > 0
    seconds = logger.cost["training_seconds"]
    assert logger.cost["training_seconds"] == seconds  # the clock has stopped


@pytest.mark.parametrize(
    "options",
    [
        {"method": "exact"},
        {"method": "monte_carlo", "num_draws": 2, "training": True},
    ],
    ids=lambda options: options["method"],
)
def test_measuring_changes_nothing(options):
    """100 steps with batch normalization and dropout, bit by bit."""
    runs = []
    for measured in (False, True):
        model = training_mode_model()
        estimators = [MiniBatch(8), SVRG(8), Stratified(LABELS)]
        logger = logger_of(estimators, every=25, snapshot_every=50, **options)
        fit(model, [logger] if measured else [], epochs=25)
        runs.append([np.array(v) for v in [*model.variables, *model.optimizer.variables]])
    assert len(logger.history) == 4
    for plain, with_callback in zip(*runs, strict=True):
        np.testing.assert_array_equal(plain, with_callback)


def test_cluster_model():
    keras.utils.set_random_seed(0)
    model = ClusterModel.from_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))
    optimizer = Discover(0.05, num_clusters=3, alpha=0.5, gain=1.0)
    model.compile(optimizer, loss="mse")
    optimizer.build(model.trainable_variables)
    options = {"num_clusters": 3, "group_size": 4, "groups_per_batch": 2, "seed": 0}
    batches = cluster_batches(data(), LABELS, **options)
    discover = DiscoverEstimate(optimizer, LABELS, group_size=4, groups_per_batch=2)
    logger = logger_of([MiniBatch(8), discover], every=at([0, 60]))
    model.fit(batches, steps_per_epoch=60, epochs=1, verbose=0, callbacks=[logger])
    parts = [record["estimators"]["Discover-2x4"]["parts"] for record in logger.history]
    # Zero buffers remove nothing; buffers that have learnt remove what is between clusters.
    assert parts[0]["between"] > 10 * parts[1]["between"]


def test_a_diverging_run_is_reported_and_goes_on(caplog):
    model = linear_model()
    model.optimizer.learning_rate = 1e30
    logger = logger_of(every=4)
    with caplog.at_level(logging.WARNING):
        fit(model, [logger], epochs=2)
    assert int(model.optimizer.iterations) == 8
    last = logger.history[-1]["estimators"]["SG-8"]
    assert np.isnan(last["average_variance"])
    assert last["not_finite_layers"][0].endswith("head")
    assert "head" in caplog.text


def test_another_fit_goes_on():
    model, logger = linear_model(), logger_of(every=3)
    fit(model, [logger])
    fit(model, [logger])
    assert [record["step"] for record in logger.history] == [3, 6]
    other = linear_model()
    fit(other, [logger])
    assert logger.history[-1]["step"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "When to measure must be given"),
        ({"preset": "cheap"}, "`preset` must be one of .*Received: preset='cheap'"),
        ({"every_steps": 0}, "`every_steps` must be an integer of at least 1"),
        ({"every": 0}, "`every` must be an integer of at least 1"),
        ({"every_epochs": 0}, "`every_epochs` must be an integer of at least 1"),
        ({"at_steps": []}, "`steps` must be at least one number"),
        ({"at_steps": [-1]}, "`steps` must be at least one number"),
        (
            {"every": 1, "snapshot_every": 0},
            "`snapshot_every` must be an integer",
        ),
        ({"every": 1, "recluster": print}, "must be given together"),
        ({"every": 1, "recluster_every": 2}, "must be given together"),
        (
            {"every": 1, "recluster": print, "recluster_every": 2},
            "`recluster` must be a dictionary",
        ),
        (
            {"every": 1, "recluster": {"SG-8": print}, "recluster_every": 2},
            "`recluster` must use the names",
        ),
        ({"every": 1, "method": "guess"}, "`method` must be one of"),
        ({"every": 1, "num_draws": 1}, "`num_draws` must be at least 2"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        logger_of(**options)


def test_an_option_that_does_not_exist():
    with pytest.raises(TypeError, match="num_draw"):
        logger_of(every=1, num_draw=3)


def test_bad_rate():
    with pytest.raises(ValueError, match="`per_decade` must be a number in"):
        log_spaced(0)


def test_a_model_without_a_loss():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd")
    logger = logger_of(every=1)
    logger.set_model(model)
    with pytest.raises(ValueError, match="`loss` must be given for the model"):
        logger.on_train_begin()


MIRRORED = """
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from tf_gradvar.callbacks import GradientVarianceLogger, at
from tf_gradvar.estimators import MiniBatch, SVRG, Stratified, gradient_variance

x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
y = x.sum(1, keepdims=True)
def build():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "relu"),
                              keras.layers.BatchNormalization(), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), loss="mse")
    return model
def fit(model, callbacks):
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    model.fit(batches, epochs=2, verbose=0, callbacks=callbacks)
    return model.get_weights()
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    plain, model = build(), build()
expected = fit(plain, [])
estimators = [MiniBatch(8), SVRG(8), Stratified(np.arange(32) % 3)]
loggers = [GradientVarianceLogger(x, y, estimators, every=at([3, 8]), snapshot_every=4, **options)
           for options in ({}, {"method": "monte_carlo", "num_draws": 4, "training": True})]
found = fit(model, loggers)
assert all(np.array_equal(a, b) for a, b in zip(expected, found))
alone = build()
alone.set_weights(found)
want = gradient_variance(alone, x, y, "mse", estimators)
for name, values in loggers[0].history[-1]["estimators"].items():
    assert np.isclose(values["average_variance"], want[name].average_variance, rtol=1e-5), name
assert loggers[1].history[-1]["estimators"]["SG-8"]["average_variance"] > 0
print("as expected")
"""


@pytest.mark.slow
def test_mirrored_strategy():
    """Two logical CPUs, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED], check=False, capture_output=True, text=True
    )
    assert "as expected" in done.stdout, done.stderr[-3000:]
