"""Estimates that are drawn: against enumeration, on pure noise, and in training mode."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.estimators.test_exact import cases
from tests.problems import Enumerable
from tf_gradvar.estimators import SVRG, MiniBatch, Stratified, VarianceMeter, gradient_variance
from tf_gradvar.estimators.draws import MonteCarlo, Paper2020
from tf_gradvar.moments import Layout

KINDS = ("SG-2", "SVRG-2-distinct", "moreTrue", "discover12True")


@pytest.fixture(scope="module")
def solved():
    return Enumerable.make("float32")


def test_draws_agree_with_enumeration(solved):
    """300 draws of one estimator of each kind, within 4.5 standard errors of the exact variance."""
    estimators = [e for e, _ in cases(solved) if e.name in KINDS]
    assert len(estimators) == len(KINDS)
    exact = gradient_variance(*solved.data, estimators)
    drawn = gradient_variance(*solved.data, estimators, "monte_carlo", num_draws=300)
    for name, result in drawn.items():
        truth = exact[name]
        error = result.standard_error
        assert abs(result.average_variance - truth.average_variance) < 4.5 * error, name
        assert 0 < error < 0.4 * truth.average_variance
        assert result.normalized_variance == pytest.approx(truth.normalized_variance, rel=0.25)
        if name.startswith("SG"):
            assert result.noise_scale == pytest.approx(truth.noise_scale, rel=0.5)
        else:
            assert result.noise_scale is None


def statistic(kind, samples, **options):
    layout = Layout(("layer",), (0,), (samples.shape[1],))
    found = kind(layout, True, **options)
    for sample in samples:
        found.add([sample])
    return found.result(None, method="-", per_layer=False)


def test_monte_carlo_is_the_unbiased_variance():
    samples = np.random.default_rng(0).normal(2.0, 3.0, size=(9, 4))
    result = statistic(MonteCarlo, samples)
    assert result.average_variance == pytest.approx(samples.var(axis=0, ddof=1).mean())
    ratios = samples.var(axis=0, ddof=1) / (samples**2).mean(axis=0)
    assert result.normalized_variance == pytest.approx(ratios.mean())
    assert np.isnan(statistic(MonteCarlo, samples[:2]).standard_error)


def test_standard_error_of_monte_carlo():
    rng = np.random.default_rng(0)
    runs = [statistic(MonteCarlo, rng.normal(size=(50, 3))) for _ in range(300)]
    spread = np.std([run.average_variance for run in runs], ddof=1)
    errors = np.sqrt(np.mean([run.standard_error**2 for run in runs]))
    assert errors == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize("draws", [10, 50])
def test_pure_noise_has_the_published_ceiling_and_ours_is_one(draws):
    """20 000 coordinates of noise: the statistic of the published code against ours."""
    rng = np.random.default_rng(draws)
    samples = rng.normal(size=(2 * draws, 20_000))
    published = statistic(Paper2020, samples, num_draws=draws)
    ours = statistic(MonteCarlo, samples[:draws])
    bound = 5 * np.sqrt(2.0 / draws / 20_000)  # five standard errors of the variance
    assert published.normalized_variance == pytest.approx(1 + 1 / (draws - 2), abs=2 * bound)
    assert published.average_variance == pytest.approx(1 + 1 / draws, abs=2 * bound)
    assert ours.normalized_variance == pytest.approx(1.0, abs=bound)
    assert ours.average_variance == pytest.approx(1.0, abs=bound)


def test_paper_2020_is_biased_by_one_over_n(solved):
    meter = VarianceMeter(
        *solved.data, MiniBatch(2), method="paper_2020", num_draws=3, normalized=False
    )
    exact = gradient_variance(*solved.data, MiniBatch(2))["SG-2"].average_variance
    values = [meter.measure(step).results["SG-2"].average_variance for step in range(150)]
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(exact * (1 + 1 / 3), abs=4 * error)
    assert np.mean(values) - exact > 2 * error


def test_streams_are_each_estimators_own(solved):
    alone = gradient_variance(*solved.data, MiniBatch(2), "monte_carlo", num_draws=5)
    both = [Stratified(Enumerable.ASSIGNMENTS), MiniBatch(2)]
    together = gradient_variance(*solved.data, both, "monte_carlo", num_draws=5)
    assert together["SG-2"] == alone["SG-2"]
    other = gradient_variance(*solved.data, MiniBatch(2), "monte_carlo", num_draws=5, seed=1)
    assert other["SG-2"] != alone["SG-2"]


def test_a_dataset_gives_the_same(solved):
    data = tf.data.Dataset.from_tensor_slices((solved.x, solved.y)).batch(4)
    estimators = [e for e, _ in cases(solved)]
    arrays = gradient_variance(*solved.data, estimators, "monte_carlo", num_draws=3)
    streamed = gradient_variance(
        solved.model, data, None, solved.loss, estimators, "monte_carlo", num_draws=3
    )
    for name, result in arrays.items():
        assert streamed[name].variance == pytest.approx(result.variance, rel=1e-6, abs=1e-12)


def training_mode_model():
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(8),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1),
    ]
    return keras.Sequential([keras.Input((3,)), *layers])


def test_training_mode_has_more_variance_and_changes_nothing(solved):
    model = training_mode_model()
    before = [np.array(v) for v in model.variables]
    svrg = SVRG(4)
    svrg.take_snapshot(model)
    estimators = [MiniBatch(4), svrg, MiniBatch(6, replacement=False, name="everything")]
    arguments = (model, solved.x, solved.y, "mse", estimators, "monte_carlo")
    found = gradient_variance(*arguments, training=True)
    again = gradient_variance(*arguments, training=True)
    assert found == again
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, np.array(new))
    # Every batch holds all the data: what is left is the noise of dropout.
    assert found["everything"].variance > 0
    still = gradient_variance(*arguments)["everything"].variance
    assert still < 1e-9 * found["everything"].variance
    assert found["SVRG-4"].variance < 1e-9 * found["SG-4"].variance  # the same masks


def test_batch_statistics_are_those_of_the_batch(solved):
    keras.utils.set_random_seed(0)
    normalization = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), normalization, keras.layers.Dense(1)])
    result = gradient_variance(
        model, solved.x, solved.y, "mse", MiniBatch(6, replacement=False), "monte_carlo",
        num_draws=2, training=True,
    )["SG-6-distinct"]  # fmt: skip
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(solved.x, training=True) - solved.y) ** 2)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    norm = np.sqrt(sum(float(tf.reduce_sum(g**2)) for g in gradients))
    assert result.mean_gradient_norm == pytest.approx(norm, rel=1e-4)
