"""The predictions of the clustered least squares against closed forms and simulation."""

import itertools

import keras
import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.discover_theory import predicted_discover_risk
from keras_apps.experiments.least_squares import LeastSquares, half_squared_error
from keras_apps.experiments.least_squares_theory import predicted_risk
from tf_gradvar import Discover

PROBLEM = LeastSquares(
    num_clusters=3, num_features=4, examples_per_cluster=500, spread=1.0, noise=0.5
)
QHM = {"momentum": 0.9, "nu": 0.7}
IGT = {"momentum": 0.5, "tail_fraction": 2.0}


@pytest.fixture(scope="module")
def data():
    return PROBLEM.data()


def predicted(rule, arguments, rate, steps, data, noise):
    optimum = data.optima.mean(axis=0)
    return predicted_risk(rule, arguments, rate, steps, data.curvatures, optimum, noise)


def gradients(data, theta):
    """Gradient of every example's loss, [N, d]."""
    x, y = data.x.astype("float64"), data.y.astype("float64")
    return x * (x * theta - y)


def test_the_optima_and_the_excess_risk_are_those_of_the_examples(data):
    theta = np.linspace(-1, 1, 4)
    for cluster, optimum in enumerate(data.optima):
        own = gradients(data, optimum)[data.clusters == cluster]
        np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-6)

    def risk(parameters):
        x, y = data.x.astype("float64"), data.y.astype("float64")
        return 0.5 * np.square(x * parameters - y).sum(axis=1).mean()

    minimum = risk(data.optima.mean(axis=0))
    assert data.excess_risk(theta) == pytest.approx(risk(theta) - minimum, rel=1e-5)
    assert data.excess_risk(data.optima.mean(axis=0)) == 0


def test_the_noise_is_that_of_the_examples(data):
    at = gradients(data, np.zeros(4))
    by_cluster = np.stack([at[data.clusters == k] for k in range(3)])
    within = by_cluster.var(axis=1).mean(axis=0)
    between = by_cluster.mean(axis=1).var(axis=0)
    np.testing.assert_allclose(data.noise_within(2, 8) * 16, within, rtol=0.2)
    np.testing.assert_allclose(data.noise_between(2) * 2, between, rtol=1e-5)


def test_the_loss_is_half_the_squared_error():
    y, y_pred = np.ones((2, 3), "float32"), np.zeros((2, 3), "float32")
    np.testing.assert_allclose(half_squared_error(y, y_pred), [1.5, 1.5])


def test_the_prediction_for_sgd_has_a_closed_form(data):
    rate, noise = 0.2, np.linspace(0.1, 0.4, 4)
    risks = predicted("SGD", {}, rate, 400, data, noise)
    steady = rate / 2 * (noise / (2 - rate * data.curvatures)).sum()
    assert risks[0] == pytest.approx(data.excess_risk(np.zeros(4)))
    assert risks[-1] == pytest.approx(steady, rel=1e-6)


def test_predictions_with_and_without_the_part_between_clusters(data):
    found = PROBLEM.predictor()("SGD", {}, 0.2, groups=2, group_size=8, steps=30)
    within = data.noise_within(2, 8)
    for risks, noise in zip(found.values(), (within + data.noise_between(2), within), strict=True):
        np.testing.assert_array_equal(risks, predicted("SGD", {}, 0.2, 30, data, noise))
    other = Classification().predictor()("SGD", {}, 0.2, groups=2, group_size=8, steps=30)
    assert other == {}


def test_reductions_of_the_predictions(data):
    noise = np.full(4, 0.1)
    arguments = (0.1, 50, data, noise)
    sgd = predicted("SGD", {}, *arguments)
    qhm = predicted("QHM", {"momentum": 0.9, "nu": 0.0}, *arguments)
    np.testing.assert_allclose(qhm, sgd, rtol=1e-12)


def simulated_risk(rule, arguments, rate, steps, data, noise, chains):
    """Mean risk of many chains, with the update rules written out one after the other."""
    generator = np.random.default_rng(0)
    h, optimum = data.curvatures, data.optima.mean(axis=0)
    theta = shifted = np.zeros((chains, len(h)))
    average = momentum = np.zeros_like(theta)
    risks = []
    for step in range(1, steps + 1):
        gradient = h * (shifted - optimum) + np.sqrt(noise) * generator.normal(size=theta.shape)
        if rule == "SGD":
            theta = shifted = theta - rate * gradient
        elif rule == "QHM":
            beta, nu = arguments["momentum"], arguments["nu"]
            momentum = beta * momentum + (1 - beta) * gradient
            theta = shifted = theta - rate * ((1 - nu) * gradient + nu * momentum)
        else:
            gamma, following = (tail_average_weight(s, arguments) for s in (step, step + 1))
            average = gamma * average + (1 - gamma) * gradient
            momentum = arguments["momentum"] * momentum + average
            new = theta - rate * momentum
            shifted = new + following / (1 - following) * (new - theta)
            theta = new
        risks.append(0.5 * (h * (theta - optimum) ** 2).sum(axis=1).mean())
    return np.array(risks)


def tail_average_weight(step, arguments):
    c = 1 / arguments["tail_fraction"]
    if step == 1:
        return 0.0
    root = ((1 - c) / (step * (step - 1))) ** 0.5
    return c * (step - 1) / (1 + c * (step - 1)) * (1 - root / c)


@pytest.mark.parametrize(("rule", "arguments"), [("SGD", {}), ("QHM", QHM), ("IGT", IGT)])
def test_the_prediction_is_the_mean_of_many_chains(rule, arguments, data):
    noise = np.linspace(0.5, 2.0, 4)
    expected = predicted(rule, arguments, 0.1, 60, data, noise)
    simulated = simulated_risk(rule, arguments, 0.1, 60, data, noise, chains=20_000)
    np.testing.assert_allclose(expected[1:], simulated, rtol=0.05)


def simulated_discover_risk(rate, alpha, gain, steps, data, noise, groups, draws):
    """Mean risk over chains of Discover, one chain for each row of `draws` [chains, T, C]."""
    generator = np.random.default_rng(0)
    h, optima = data.curvatures, data.optima
    clusters, features = optima.shape
    chains = len(draws)
    theta, buffers = np.zeros((chains, features)), np.zeros((chains, clusters, features))
    rows, risks = np.arange(chains), []
    for step in range(steps):
        before = theta
        average, correction = buffers.mean(axis=1), np.zeros_like(theta)
        sums, counts = np.zeros_like(buffers), np.zeros((chains, clusters, 1))
        for c in range(groups):
            k = draws[:, step, c]
            gradient = h * (before - optima[k])
            gradient = gradient + np.sqrt(noise) * generator.normal(size=theta.shape)
            correction += (gradient - buffers[rows, k]) / groups
            np.add.at(sums, (rows, k), gradient)
            np.add.at(counts, (rows, k), 1)
        theta = before - rate * (average + gain * correction)
        seen = counts > 0
        moved = buffers + alpha * (sums / np.where(seen, counts, 1) - buffers)
        buffers = np.where(seen, moved, buffers)
        risks.append(0.5 * (h * (theta - optima.mean(axis=0)) ** 2).sum(axis=1).mean())
    return np.array(risks)


@pytest.mark.parametrize(("alpha", "gain"), [(0.3, 1.0), (0.3, 0.4), (0.5, 0.5)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_prediction_for_discover_is_the_mean_over_all_draws(groups, alpha, gain, data):
    """Without noise within clusters the clusters that are drawn are all that is random."""
    steps, clusters = (5, 3, 2)[(1, 2, 4).index(groups)], len(data.optima)
    every = np.array(list(itertools.product(range(clusters), repeat=steps * groups)))
    arguments = (0.2, alpha, gain, steps)
    simulated = simulated_discover_risk(
        *arguments, data, np.zeros(4), groups, every.reshape(-1, steps, groups)
    )
    found = predicted_discover_risk(*arguments, data.curvatures, data.optima, np.zeros(4), groups)
    np.testing.assert_allclose(found[1:], simulated, rtol=1e-10)


@pytest.mark.parametrize(("groups", "gain"), [(1, 1.0), (4, 0.3)])
def test_the_prediction_for_discover_with_noise_is_the_mean_of_many_chains(groups, gain, data):
    noise, steps = np.linspace(0.5, 2.0, 4), 40
    draws = np.random.default_rng(1).integers(len(data.optima), size=(40_000, steps, groups))
    arguments = (0.1, 0.3, gain, steps)
    simulated = simulated_discover_risk(*arguments, data, noise, groups, draws)
    found = predicted_discover_risk(*arguments, data.curvatures, data.optima, noise, groups)
    np.testing.assert_allclose(found[1:], simulated, rtol=0.03)


def test_reductions_of_the_prediction_for_discover(data):
    """With buffers that never move from 0, a gain c is SGD with c times the rate."""
    found = predicted_discover_risk(
        0.2, 0.0, 0.5, 30, data.curvatures, data.optima, data.noise_within(1, 8), 2
    )
    noise = data.noise_within(2, 8) + data.noise_between(2)
    np.testing.assert_allclose(found, predicted("SGD", {}, 0.1, 30, data, noise), rtol=1e-10)


def test_the_problem_predicts_what_it_has_a_theory_for(data):
    predict = PROBLEM.predictor()
    numbers = {"groups": 2, "group_size": 8, "steps": 30}
    arguments = (30, data.curvatures, data.optima, data.noise_within(1, 8), 2)
    for gain, number in ((0.5, 0.5), ("alpha", 0.1)):
        (risks,) = predict("Discover", {"alpha": 0.1, "gain": gain}, 0.2, **numbers).values()
        np.testing.assert_array_equal(risks, predicted_discover_risk(0.2, 0.1, number, *arguments))
    (default,) = predict("Discover", {"alpha": 0.3}, 0.2, **numbers).values()
    gain = Discover(0.2, 3, alpha=0.3).gain_value
    np.testing.assert_array_equal(default, predicted_discover_risk(0.2, 0.3, gain, *arguments))
    assert predict("DiscoverQHM", {"alpha": 0.1, "gain": 1.0}, 0.2, **numbers) == {}


def test_the_problem_trains_a_model_that_is_evaluated_by_its_weights(data):
    problem = PROBLEM.build()
    model = problem.build_model()
    assert problem.evaluate(model) == {"excess_risk": data.excess_risk(np.zeros(4))}
    model.compile(keras.optimizers.SGD(0.3), problem.loss)
    model.fit(problem.x, problem.y, batch_size=100, epochs=5, verbose=0)
    assert problem.evaluate(model)["excess_risk"] < 0.05 * data.excess_risk(np.zeros(4))
