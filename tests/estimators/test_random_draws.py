"""Stratified estimates with random numbers of draws, against the enumeration of all of them."""

from fractions import Fraction

import keras
import numpy as np
import pytest

from tests.oracles import estimator_oracle, stratified_oracle
from tests.problems import Enumerable
from tf_gradvar.data import stratified_batches
from tf_gradvar.estimators import MiniBatch, Stratified, gradient_variance

GROUPS, SIZES = Enumerable.ASSIGNMENTS, np.bincount(Enumerable.ASSIGNMENTS)
FIXED = [Fraction(1), Fraction(2), Fraction(1)]
EQUAL = [Fraction(2, 3)] * 3
TWO = [Fraction(1), Fraction(3, 2), Fraction(1, 2)]
UNEQUAL = [Fraction(7, 10), Fraction(17, 10), Fraction(6, 10)]


@pytest.fixture(scope="module")
def solved():
    return Enumerable.make("float64")


def enumerated(solved, expected, replacement):
    pairs = zip(SIZES.tolist(), expected, strict=True)
    weights = [float(sum(expected) * Fraction(n, 6) / e) for n, e in pairs]
    draws = stratified_oracle.all_draws(expected)
    return stratified_oracle.estimates(solved.gradients, GROUPS, draws, weights, replacement)


def estimator(expected, replacement=True):
    return Stratified(GROUPS, expected_draws=np.array(expected, float), replacement=replacement)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize(
    ("expected", "tolerance"), [(FIXED, 1e-6), (EQUAL, 1e-6), (TWO, 1e-6), (UNEQUAL, 0.02)], ids=str
)
def test_exact_is_the_variance_over_all_draws(solved, expected, tolerance, replacement):
    drawn = enumerated(solved, expected, replacement)
    np.testing.assert_allclose(estimator_oracle.mean(drawn), solved.gradients.mean(axis=0))
    given = estimator(expected, replacement)
    result = gradient_variance(*solved.data, given, per_layer=True)[given.name]
    assert result.variance == pytest.approx(estimator_oracle.variance(drawn), rel=tolerance)
    normalized = estimator_oracle.normalized_variance(drawn)
    assert result.normalized_variance == pytest.approx(normalized, rel=tolerance)
    assert sum(part.variance for part in result.per_layer.values()) == pytest.approx(
        result.variance
    )
    if expected is FIXED:
        assert result.parts is None
        same = Stratified(GROUPS, samples_per_cluster=[1, 2, 1], replacement=replacement)
        fixed = gradient_variance(*solved.data, same)[same.name]
        assert result.variance == pytest.approx(fixed.variance, rel=1e-9)
    else:
        assert sum(result.parts.values()) == pytest.approx(result.average_variance)
        assert result.parts["between"] > 0.05 * result.parts["within"]


def test_draws_agree_with_enumeration(solved):
    given = estimator(UNEQUAL)
    truth = estimator_oracle.variance(enumerated(solved, UNEQUAL, True))
    result = gradient_variance(*solved.data, given, "monte_carlo", num_draws=300)[given.name]
    error = result.standard_error * result.num_parameters
    assert abs(result.variance - truth) < 4.5 * error
    assert error < 0.4 * truth


DESIGNS = {
    "the data set": lambda batches: batches,
    "its sampling": lambda batches: batches.sampling,
    "its design": lambda batches: batches.sampling.design,
}


@pytest.mark.parametrize("part", DESIGNS)
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"batch_size": 4}, "stratified-4-random"),
        ({"max_weight": 1.1}, "stratified-3-random"),
        ({"samples_per_cluster": [1, 2, 1], "max_weight": None}, "stratified-4"),
    ],
)
def test_the_design_of_a_data_set_is_taken_as_it_is(solved, arguments, name, part):
    batches = stratified_batches((solved.x, solved.y), GROUPS, seed=0, **arguments)
    drawn = batches.sampling.design.expected_draws
    given = Stratified(DESIGNS[part](batches))
    assert given.name == name
    np.testing.assert_array_equal(given.assignments, GROUPS)
    same = Stratified(GROUPS, expected_draws=drawn, name="same")
    results = gradient_variance(*solved.data, [given, same])
    assert results[name].variance == results["same"].variance


def test_a_design_belongs_to_its_data_and_excludes_draws(solved):
    batches = stratified_batches((solved.x[::-1], solved.y), GROUPS, seed=0)
    with pytest.raises(ValueError, match="`assignments` must be of the same data"):
        gradient_variance(*solved.data, Stratified(batches))
    for draws in ({"samples_per_cluster": 2}, {"expected_draws": [1, 1, 1]}):
        with pytest.raises(ValueError, match="`assignments` with a design say how many draws"):
            Stratified(batches, **draws)


def test_reassigning_a_design():
    x = np.zeros(6)
    batches = stratified_batches((x, x), GROUPS, seed=0, batch_size=3)
    given = Stratified(batches)
    batches.reassign([0, 0, 0, 0, 0, 1])
    given.reassign(batches)
    np.testing.assert_allclose(given.expected_draws, [2.5, 0.5])
    assert given.assignments.tolist() == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("method", ["monte_carlo", "paper_2020", "exact"])
def test_a_call_without_training(method):
    """As the same model whose `call` has that argument."""

    class With(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1, kernel_initializer="ones")

        def call(self, inputs, training=None):
            return self.dense(inputs)

    class Without(With):
        def call(self, inputs):
            return self.dense(inputs)

    x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    found = []
    for model in (With(), Without()):
        model(x)
        result = gradient_variance(model, x, x[:, :1], "mse", MiniBatch(2), method=method)
        found.append(result["SG-2"].variance)
    assert found[0] == found[1] > 0
