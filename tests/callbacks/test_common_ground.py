"""Rules that all three callbacks share: schedules, names in the logs, files, models to be built."""

import warnings

import keras
import numpy as np
import pytest

from tf_gradvar import GradientClustering
from tf_gradvar.callbacks import (
    BetweenClusterVariance,
    GradientVarianceLogger,
    Recluster,
    at,
    log_spaced,
)
from tf_gradvar.estimators import SVRG, MiniBatch

N = 12
X = np.random.default_rng(0).normal(size=(N, 3)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
IDS = np.arange(N) % 2


def logger(every, **options):
    return GradientVarianceLogger(X, Y, MiniBatch(4), every=every, **options)


def between(every, **options):
    return BetweenClusterVariance(X, Y, IDS, 2, every=every, **options)


def recluster(every, **options):
    clustering = GradientClustering(2, verbose=False)
    return Recluster(clustering, X, Y, every=every, start=1, **options)


CALLBACKS = {"logger": logger, "between": between, "recluster": recluster}
each_callback = pytest.mark.parametrize("make", CALLBACKS.values(), ids=CALLBACKS)


def model(layers=None):
    keras.utils.set_random_seed(0)
    made = keras.Sequential(layers or [keras.Input((3,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse", run_eagerly=True)
    return made


def fit(callbacks, epochs=1, made=None):
    """Three steps an epoch."""
    made = made or model()
    return made.fit(
        X, Y, batch_size=4, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks
    )


@pytest.mark.parametrize(
    ("make", "due", "words"),
    [
        (logger, 7, "`GradientVarianceLogger` has measured nothing"),
        (between, 7, "`BetweenClusterVariance` has measured nothing"),
        (recluster, lambda step: step == 7, "`Recluster` has clustered nothing"),
    ],
)
def test_a_run_that_ends_before_the_first_step_that_is_due(make, due, words):
    with pytest.warns(UserWarning, match="the next that is due is 7") as warned:
        fit([make(due)], epochs=2)
    (message,) = [str(w.message) for w in warned if w.category is UserWarning]
    assert words in message
    assert "the run took the steps 1 to 6" in message


SCHEDULED = {
    "logger": lambda every: GradientVarianceLogger(X, Y, MiniBatch(4), every=every),
    "between": lambda every: BetweenClusterVariance(X, Y, IDS, 2, every=every),
    "recluster": lambda every: Recluster(GradientClustering(2, verbose=False), X, Y, every=every),
}


@pytest.mark.parametrize("kind", SCHEDULED)
@pytest.mark.parametrize(
    ("every", "steps"),
    [
        (4, [4]),
        (at([0, 2, 5]), [0, 2, 5]),
        (log_spaced(3), [1, 2, 5]),
        (lambda step: step == 6, [6]),
    ],
)
def test_one_argument_says_when(kind, every, steps):
    callback = SCHEDULED[kind](every)
    fit([callback], epochs=2)
    if kind == "recluster" and every == 4:
        steps = [0, 4]  # it starts before the first step
    assert [record["step"] for record in callback.history] == steps


def test_steps_that_are_past():
    trained = model()
    fit([], made=trained)
    late = GradientVarianceLogger(X, Y, MiniBatch(4), every=at([0, 2]))
    with pytest.warns(UserWarning, match="the steps 4 to 6, none of which is due, and none after"):
        fit([late], made=trained)


@each_callback
def test_no_warning_where_something_was_due(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit([make(3)])


@pytest.mark.parametrize(
    ("make", "name", "key"),
    [
        (logger, "gradient_variance", "/SG-4/average_variance"),
        (between, "between_cluster_variance", "_sgd"),
        (recluster, "recluster", "/objective"),
    ],
)
def test_two_in_one_fit_share_no_key(make, name, key):
    history = fit([make(2), make(5), make(6, name="third")], epochs=2).history
    names = (name, f"{name}_2", "third")
    finite = [np.isfinite(history[prefix + key]).tolist() for prefix in names]
    if make is recluster:  # the first step of all is 1
        assert finite == [[True, True], [True, True], [True, False]], history
    else:
        assert finite == [[True, True], [False, True], [False, True]]


@each_callback
@pytest.mark.parametrize("name", ["", 3])
def test_a_bad_name(make, name):
    with pytest.raises(ValueError, match="`name` must be a string that is not empty"):
        make(2, name=name)


@pytest.mark.parametrize("make", [logger, recluster])
def test_an_unwritable_path_is_noticed_at_once(make, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "records.jsonl"):
        with pytest.raises(ValueError, match="`path` must be a file that can be written"):
            make(2, path=path)
    make(2, path=tmp_path / "folder" / "records.jsonl")
    assert not (tmp_path / "folder" / "records.jsonl").exists()


def weights_after(callbacks):
    keras.utils.set_random_seed(0)  # layers draw their seeds when they are made
    layers = [keras.layers.Dense(3, "tanh"), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    unbuilt = model(layers)
    fit(callbacks, made=unbuilt)
    return unbuilt.get_weights()


@pytest.mark.parametrize(
    "make",
    [
        lambda: logger(2),
        lambda: GradientVarianceLogger(X, Y, [MiniBatch(4), SVRG(4)], every=at([0, 3])),
        lambda: between(2),
        lambda: Recluster(GradientClustering(2, verbose=False), X, Y, every=2),
    ],
    ids=["logger", "snapshot and step 0", "between", "recluster at step 0"],
)
def test_a_model_that_its_first_batch_builds(make):
    callback = make()
    measured = weights_after([callback])
    assert callback.history
    for one, other in zip(measured, weights_after([]), strict=True):
        np.testing.assert_array_equal(one, other)
