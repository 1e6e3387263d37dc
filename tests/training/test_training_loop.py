"""The training loop on one device: what `fit` does, and what a restart finds again."""

import csv
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar import (
    ClusterModel,
    Discover,
    Recluster,
    cluster_batches,
    stratified_batches,
)
from tf_gradvar.callbacks import BetweenClusterVariance
from tf_gradvar.training import Preempted, train_steps

K, STEPS = 3, 12
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 4)).astype("float32")
Y = rng.integers(0, K, 40)


def batches(y=Y, **changes):
    settings = {"num_clusters": K, "group_size": 4, "groups_per_batch": 2, "seed": 0, **changes}
    return cluster_batches((X, y), y, **settings)


def compiled(optimizer=None, dropout=0.3, **arguments):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(6, "relu"), keras.layers.Dropout(dropout, seed=3)]
    plain = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(K)])
    model = ClusterModel.from_model(plain)
    optimizer = optimizer or Discover(0.1, K)
    model.compile(optimizer, LOSS, metrics=["accuracy"], **arguments)
    return model


def plain_model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(K)])
    model.compile(keras.optimizers.Adam(0.1), LOSS)
    return model


def train(model, dataset=None, steps=STEPS, **arguments):
    settings = {"steps_per_call": 2, "steps_per_epoch": 4, **arguments}
    return list(train_steps(model, dataset or batches(), steps, **settings))


def assert_same(model, other):
    pairs = zip(model.get_weights(), other.get_weights(), strict=True)
    assert all(np.array_equal(one, two) for one, two in pairs)
    pairs = zip(model.optimizer.variables, other.optimizer.variables, strict=True)
    assert all(np.array_equal(np.asarray(one), np.asarray(two)) for one, two in pairs)


class Calls(keras.callbacks.Callback):
    """Notes which hooks are called with which number and names of logs."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __getattribute__(self, name):
        if not name.startswith("on_") or name.endswith("_batch_begin") or "_predict_" in name:
            return super().__getattribute__(name)

        def note(*arguments, logs=None):
            arguments, logs = list(arguments), dict(logs or {})
            if arguments and isinstance(arguments[-1], dict):
                logs = arguments.pop()
            self.seen.append((name, *arguments, *sorted(logs)))

        return note


def test_callbacks_logs_and_weights_are_those_of_fit():
    validation = (X[:37], Y[:37])  # the last batch is a smaller one
    calls, other_calls = Calls(), Calls()
    one, other = compiled(steps_per_execution=2), compiled()
    history = one.fit(
        batches(), epochs=3, steps_per_epoch=4, verbose=0, callbacks=[calls],
        validation_data=validation,
    ).history  # fmt: skip
    results = train(other, validation_data=validation, callbacks=[other_calls])
    assert_same(one, other)
    assert set(results[0]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    for name, values in history.items():
        np.testing.assert_allclose([result[name] for result in results], values, rtol=1e-6)
    assert other.history.history.keys() == history.keys()
    training = [call for call in calls.seen if "test" not in call[0]]
    if ("on_train_batch_end", 0, "accuracy", "loss") in training:
        # Keras before 3.11 gives the first of the steps of an execution, and not the last.
        training = [
            (name, rest[0] + 1, *rest[1:]) if name == "on_train_batch_end" else (name, *rest)
            for name, *rest in training
        ]
    assert training == [call for call in other_calls.seen if "test" not in call[0]]
    tests = [call[0] for call in other_calls.seen if "test" in call[0]]
    assert tests == 3 * ["on_test_begin", "on_test_batch_end", "on_test_batch_end", "on_test_end"]


def test_validation_data_as_a_dataset_and_some_of_its_batches():
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    model = on_clusters()
    result = train(model, validation_data=data.repeat(), validation_steps=3)[-1]
    expected = model.evaluate(X[:24], Y[:24], verbose=0, return_dict=True)
    assert result["val_loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert result["val_accuracy"] == pytest.approx(expected["accuracy"], rel=1e-5)


def test_the_callbacks_of_keras(tmp_path, capsys):
    def warmth(epoch, rate):
        return 0.1 / (1 + epoch)

    model = compiled(keras.optimizers.SGD(0.1))
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.LearningRateScheduler(warmth),
        keras.callbacks.ReduceLROnPlateau(patience=1),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.EarlyStopping("loss", patience=0, min_delta=100.0),
    ]
    results = train(model, callbacks=callbacks, validation_data=(X, Y), verbose=2)
    assert len(results) == 2  # nothing improves by 100
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == pytest.approx(
        [result["val_loss"] for result in results]
    )
    saved = keras.models.load_model(tmp_path / "best.keras")
    best = min(result["val_loss"] for result in results)
    assert saved.evaluate(X, Y, verbose=0)[0] == pytest.approx(best, rel=1e-5)
    assert "val_loss" in capsys.readouterr().out  # a line an epoch


def test_our_callbacks_act_on_the_steps_of_a_call():
    dataset = batches(read_ahead=False)
    measured = BetweenClusterVariance(X, Y, Y, num_clusters=K, every=4)

    class OneCluster:
        def fit(self, model, x, y, loss, initial_assignments):
            class Result:
                assignments, sizes, objective, variance_ratio = Y, [1], 1.0, 1.0

            return Result

    recluster = Recluster(OneCluster(), X, Y, every=6, dataset=dataset)
    train(compiled(Discover(0.1, K, cluster_probabilities=[1 / K] * K)), dataset,
          callbacks=[measured, recluster])  # fmt: skip
    assert [record["step"] for record in measured.history][-2:] == [8, 12]
    assert [record["step"] for record in recluster.history] == [0, 6, 12]


class Stop(keras.callbacks.Callback):
    """Sends a signal to this process, or raises, after so many steps."""

    def __init__(self, after, action):
        super().__init__()
        self.left, self.action = after, action

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 2
        if not self.left:
            self.action()


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def crash():
    raise RuntimeError("power failure")


def from_a_dataset():
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    return cluster_batches(data, lambda x, y: y, num_clusters=K, group_size=4, seed=0)


def on_clusters():
    return compiled("sgd")


@pytest.mark.parametrize(("model", "data"), [(compiled, batches), (on_clusters, from_a_dataset)])
def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path, model, data):
    whole, killed, again = model(), model(), model()
    expected = train(whole, data())
    with pytest.raises(RuntimeError, match="power failure"):
        train(killed, data(), callbacks=[Stop(8, crash)], checkpoint_dir=tmp_path,
              checkpoint_every=6)  # fmt: skip
    results = train(again, data(), checkpoint_dir=tmp_path, checkpoint_every=6)
    assert_same(again, whole)
    assert len(results) == 2  # the middle of the second epoch was saved with its metrics
    for result, other in zip(results, expected[1:], strict=True):
        assert result == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("after", [6, 8])
def test_sigterm_saves_and_ends_the_process(tmp_path, after):
    handler = signal.getsignal(signal.SIGTERM)
    whole = plain_model()
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).repeat()  # without a sampler
    expected = train(whole, data)
    results = []
    with pytest.raises(Preempted, match=f"after step {after}") as caught:
        results.extend(
            train_steps(plain_model(), data, STEPS, steps_per_call=2, steps_per_epoch=4,
                        callbacks=[Stop(after, terminate)], checkpoint_dir=tmp_path,
                        checkpoint_every=12)
        )  # fmt: skip
    assert len(results) == after // 4  # those of an epoch that is over
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is handler
    model = plain_model()
    results += train(model, data, checkpoint_dir=tmp_path)
    assert_same(model, whole)
    losses = [result["loss"] for result in expected]
    assert [result["loss"] for result in results] == pytest.approx(losses, rel=1e-6)


def test_a_run_that_a_callback_ended_does_not_go_on(tmp_path):
    def stop():
        model.stop_training = True

    model = plain_model()
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).repeat()
    assert len(train(model, data, callbacks=[Stop(6, stop)], checkpoint_dir=tmp_path)) == 2
    assert int(model.optimizer.iterations) == 6
    assert train(plain_model(), data, checkpoint_dir=tmp_path) == []


def test_stratified_batches_go_on_where_they_were(tmp_path):
    def data():
        return stratified_batches((X, Y), Y, seed=0, samples_per_cluster=2)

    whole, model = plain_model(), plain_model()
    train(whole, data())
    train(plain_model(), data(), steps=4, checkpoint_dir=tmp_path)
    train(model, data(), checkpoint_dir=tmp_path)
    assert_same(model, whole)


def test_a_dataset_may_be_made_with_the_state(tmp_path):
    whole, model = on_clusters(), on_clusters()
    train(whole)
    train(on_clusters(), steps=4, checkpoint_dir=tmp_path)
    later = batches(state=batches().sampling.state(4))
    train(model, later, steps=8, checkpoint_dir=tmp_path)
    train(model, steps=12, checkpoint_dir=tmp_path)  # the state that was saved counts all
    assert_same(model, whole)


def test_steps_compiled_and_eager_are_the_same():
    one, other, eager = (
        compiled("sgd", dropout=0.0, **arguments)
        for arguments in ({}, {"jit_compile": True}, {"run_eagerly": True})
    )
    for model in (one, other, eager):
        train(model, steps=4, validation_data=(X, Y))
    for weights in (other.get_weights(), eager.get_weights()):
        for value, expected in zip(weights, one.get_weights(), strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-6)


def test_results_that_nobody_wants_end_training():
    calls = Calls()
    loop = train_steps(plain_model(), tf.data.Dataset.from_tensors((X, Y)).repeat(), 10,
                       steps_per_call=1, callbacks=[calls])  # fmt: skip
    next(loop)
    loop.close()
    assert calls.seen[-1][0] == "on_train_end"


ENDLESS = tf.data.Dataset.from_tensors((X, Y)).repeat()
SENTENCES = {
    "`steps` must be an integer": {"steps": 0},
    "`steps_per_call` must be an integer": {"steps_per_call": 1.5},
    "`steps` must be a multiple of `steps_per_call`": {"steps": 7},
    "`steps_per_epoch` must be an integer": {"steps_per_epoch": "all"},
    "`steps_per_epoch` must be a multiple of `steps_per_call`": {"steps_per_epoch": 3},
    "`steps` must be a multiple of `steps_per_epoch`": {"steps_per_epoch": 8},
    "`checkpoint_every` must be an integer": {"checkpoint_every": -2, "checkpoint_dir": "no"},
    "`checkpoint_every` must be a multiple of": {"checkpoint_every": 3, "checkpoint_dir": "no"},
    "`checkpoint_every` needs `checkpoint_dir`": {"checkpoint_every": 2},
    "`validation_data` must be": {"validation_data": X},
    "`validation_steps` must say": {"validation_data": ENDLESS},
    "`callbacks` must not hold a BackupAndRestore": {
        "callbacks": [keras.callbacks.BackupAndRestore("no")]
    },
    "`dataset` must have a batch for each": {"dataset": ENDLESS.take(3)},
}


@pytest.mark.parametrize("words", SENTENCES)
def test_what_cannot_be_is_a_sentence(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^{words}"):
        train(plain_model(), **{"dataset": ENDLESS, **SENTENCES[words]})


def test_checkpoints_of_something_else_are_a_sentence(tmp_path):
    train(on_clusters(), steps=4, checkpoint_dir=tmp_path)
    for other in (batches(seed=1), batches(state=batches().sampling.state(6)), ENDLESS):
        with pytest.raises(ValueError, match="`dataset` must draw as before the checkpoint"):
            train(on_clusters(), other, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="`checkpoint_dir` must hold checkpoints of this model"):
        train(plain_model(), ENDLESS, checkpoint_dir=tmp_path)
