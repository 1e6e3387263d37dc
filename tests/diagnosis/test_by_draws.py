"""Signal and noise from drawn batches, against the gradients of all examples in float64."""

import numpy as np

from tests.diagnosis.tiny import CLASSES, FEATURES, LAYOUT, data, network
from tests.oracles.noise_oracle import softmax_gradients, squared_mean, trace_of_covariance
from tf_gradvar.data.examples import as_examples
from tf_gradvar.diagnosis.by_draws import _products, measure_draws, summary
from tf_gradvar.diagnosis.limits import Clock
from tf_gradvar.losses import ModelLoss

X, Y = data(300)
BATCH = 8


def test_against_all_examples():
    model = network()
    found = measure_draws(
        ModelLoss(model),
        as_examples(X, Y, None),
        LAYOUT,
        batch_size=BATCH,
        training=False,
        budget="full",
        clock=Clock(None),
        seed=0,
        progress=lambda done, total: None,
    )
    matrix = softmax_gradients(X, Y, *model.get_weights())
    assert found.count == 200
    expected = {
        "noise": trace_of_covariance(matrix),
        "signal": squared_mean(matrix),
        "noise_scale": trace_of_covariance(matrix) / squared_mean(matrix),
    }
    for name, value in expected.items():
        estimate = getattr(found.noise, name)
        assert estimate.standard_error < 0.2 * value
        assert abs(estimate.value - value) < 3.5 * estimate.standard_error, name
    assert found.layers[0].noise_share == 1.0


def test_no_bias_and_errors_of_the_right_size():
    """Of 200 repetitions, drawn in NumPy."""
    model = network()
    matrix = softmax_gradients(X, Y, *model.get_weights())
    cut = FEATURES * CLASSES
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(200):
        drawn = matrix[rng.integers(len(matrix), size=(8, 4, BATCH))].mean(axis=2)
        means = [[row[:cut], row[cut:]] for row in drawn.mean(axis=1)]
        powers = np.square(drawn).sum(axis=2).mean(axis=1)[:, None]
        noise = summary(_products(means, LAYOUT), powers, LAYOUT, BATCH, 4).noise
        raw = noise.batch_variance
        values.append(raw.value)
        errors.append(raw.standard_error)
    off = np.mean(values) - trace_of_covariance(matrix) / BATCH
    assert abs(off) < 3.5 * np.std(values) / np.sqrt(200)
    # Widened by Student's quantile for the few groups.
    assert 0.9 < np.median(errors) / np.std(values) < 1.6
