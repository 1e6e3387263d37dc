"""The callback: what it records, and that training does not notice."""

import json

import keras
import numpy as np
import pytest

from tests.diagnosis.tiny import data, network
from tests.oracles.noise_oracle import softmax_gradients, squared_mean, trace_of_covariance
from tf_gradvar import Diagnose

X, Y = data(96)


def fitted(*callbacks, epochs=2):
    keras.utils.set_random_seed(0)
    model = network()
    history = model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model, history.history


def test_an_epoch_each_on_one_page(tmp_path):
    watch = Diagnose(X, Y, batch_size=16, path=tmp_path / "new" / "noise.html")
    model, logs = fitted(watch)
    plain, _ = fitted()
    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [record["step"] for record in watch.history] == [6, 12]
    matrix = softmax_gradients(X, Y, *model.get_weights())
    expected = trace_of_covariance(matrix) / squared_mean(matrix)
    np.testing.assert_allclose(logs["diagnosis/noise_scale"][-1], expected, rtol=1e-4)
    lines = (tmp_path / "new" / "noise.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6, 12]
    page = (tmp_path / "new" / "noise.html").read_text("utf-8")
    assert "At step 12 the" in page
    assert "at step 6 it was" in page


def test_steps_that_are_due():
    watch = Diagnose(X, Y, batch_size=16, every=4)
    fitted(watch, epochs=1)
    assert [record["step"] for record in watch.history] == [4]
    assert watch.history[0]["layers"][0]["noise_share"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": "week"}, "`every` must be 'epoch', a number of steps, or a function"),
        ({"batch_size": 97}, "`batch_size` must be at most the number of examples"),
        ({"budget": "first"}, "`budget` must be one of"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        Diagnose(X, Y, **options)
