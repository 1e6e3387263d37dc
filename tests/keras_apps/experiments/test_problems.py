"""The classification problem, its networks and its optimizers."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.optimizer_rules import optimizer_of
from keras_apps.models import MODELS

PROBLEM = Classification(source="digits", model_arguments={"hidden_units": [8]})


@pytest.fixture(scope="module")
def problem():
    return PROBLEM.build()


def test_values_are_those_of_keras(problem):
    keras.utils.set_random_seed(0)
    model = problem.build_model()
    model.compile("sgd", problem.loss, metrics=["accuracy"])
    values = problem.evaluate(model)
    loss, accuracy = model.evaluate(problem.x, problem.y, verbose=0)
    assert values["training_loss"] == pytest.approx(loss, rel=1e-5)
    assert values["training_accuracy"] == pytest.approx(accuracy, rel=1e-6)
    assert sorted(values) == ["test_accuracy", "test_loss", "training_accuracy", "training_loss"]
    assert problem.score in values


def test_clusters_are_the_classes_with_their_shares(problem):
    np.testing.assert_array_equal(problem.clusters, problem.y)
    np.testing.assert_allclose(problem.probabilities * len(problem.y), np.bincount(problem.y))


def test_random_clusters_have_the_same_sizes_and_know_nothing_of_the_classes(problem):
    control = dataclasses.replace(PROBLEM, clusters="random").build()
    np.testing.assert_array_equal(np.bincount(control.clusters), np.bincount(problem.y))
    assert 0.05 < (control.clusters == control.y).mean() < 0.15


def test_an_unknown_model_lists_the_known():
    with pytest.raises(ValueError, match="`model` must be one of"):
        dataclasses.replace(PROBLEM, model="mlpp").build()


def test_the_networks():
    perceptron = MODELS["mlp"]((8, 8, 1), 10, hidden_units=(6, 5), activation="tanh")
    assert perceptron.output_shape == (None, 10)
    assert [tuple(w.shape) for w in perceptron.weights] == [
        *((64, 6), (6,)),
        *((6, 5), (5,)),
        *((5, 10), (10,)),
    ]
    linear = MODELS["diagonal_linear"](3)
    linear.set_weights([np.array([1.0, 2.0, 3.0])])
    np.testing.assert_allclose(linear(np.array([[1.0, 1.0, 2.0]])), [[1.0, 2.0, 6.0]])


def test_the_convolutional_network():
    network = MODELS["convnet"]((28, 28, 1), 10)
    assert network.output_shape == (None, 10)
    shapes = [tuple(w.shape) for w in network.weights]
    assert shapes == [
        *((3, 3, 1, 16), (16,)),
        *((3, 3, 16, 32), (32,)),
        *((7 * 7 * 32, 64), (64,)),
        *((64, 10), (10,)),
    ]
    assert network.count_params() == 105_866
    small = MODELS["convnet"]((8, 8, 3), 4, filters=(2,), dense_units=5)
    assert [tuple(w.shape) for w in small.weights][::2] == [(3, 3, 3, 2), (32, 5), (5, 4)]


def test_evaluation_on_a_part_of_the_training_set(problem):
    part = dataclasses.replace(PROBLEM, evaluation_examples=200).build()
    keras.utils.set_random_seed(0)
    model = problem.build_model()
    values, whole = part.evaluate(model), problem.evaluate(model)
    assert values["test_loss"] == whole["test_loss"]
    assert values["training_loss"] != whole["training_loss"]
    assert part.evaluate(model) == values
    assert len(part.x) == len(problem.x)
    assert "the same 200 training examples" in part.description
    every = dataclasses.replace(PROBLEM, evaluation_examples=len(problem.x)).build()
    assert every.evaluate(model) == whole


@pytest.mark.parametrize("count", [0, -1, 1439])
def test_a_part_of_the_training_set_that_there_is_not(count):
    with pytest.raises(ValueError, match=r"`evaluation_examples` must be from 1 to .* 1438"):
        dataclasses.replace(PROBLEM, evaluation_examples=count).build()


def test_coupled_weight_decay_is_a_penalty_of_half_its_squared_norm():
    keras.utils.set_random_seed(0)
    model = MODELS["mlp"]((3,), 2, [4], l2=0.1)
    norm = sum(np.square(weight).sum() for weight in model.get_weights())
    assert float(sum(model.losses)) == pytest.approx(0.1 / 2 * norm)
    assert not MODELS["mlp"]((3,), 2, [4]).losses


EXPERIMENT = Experiment(title="test", problem=PROBLEM, optimizers=(), steps=100)
PROBABILITIES = np.array([0.2, 0.8])


def build(rule, experiment=EXPERIMENT, **arguments):
    choice = OptimizerChoice(rule, arguments=arguments)
    return optimizer_of(choice, experiment.learning_rate_schedule(0.5), PROBABILITIES)


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        ("SGD", {"momentum": 0.5}),
        ("Adam", {"beta_1": 0.5}),
        ("QHM", {"nu": 0.5}),
        ("IGT", {"tail_fraction": 3.0}),
        ("Discover", {"alpha": 0.5}),
        ("DiscoverQHM", {"alpha": 0.5, "nu": 0.5}),
        ("QHDiscover", {"alpha": 0.5, "nu": 0.5, "gain": 0.25}),
        ("DiscoverIGT", {"alpha": 0.5, "tail_fraction": 3.0}),
        ("DiscoverOver", {"over": "Adam", "alpha": 0.5, "buffer_dtype": "bfloat16"}),
        ("DiscoverOver", {"over": "Adam", "gain": "alpha", "scale": 0.5}),
    ],
)
def test_rules_get_their_arguments(rule, arguments):
    optimizer = build(rule, **arguments)
    config = optimizer.get_config()
    for name, value in arguments.items():
        if name != "over":
            assert config[name] == value
    if "Discover" in rule:
        assert config["num_clusters"] == 2
        np.testing.assert_allclose(config["cluster_probabilities"], PROBABILITIES)


def test_arguments_of_the_optimizer_under_discover():
    optimizer = build("DiscoverOver", over="Adam", beta_1=0.5)
    inner = optimizer.get_config()["optimizer"]["config"]
    assert inner["beta_1"] == 0.5


def test_chosen_arguments_join_the_others():
    choice = OptimizerChoice("DiscoverA", rule="DiscoverOver", arguments={"over": "Adam"})
    optimizer = optimizer_of(choice, 0.5, PROBABILITIES, {"gain": 0.25, "beta_1": 0.5})
    config = optimizer.get_config()
    assert config["gain"] == 0.25
    assert config["optimizer"]["config"]["beta_1"] == 0.5
    assert choice.arguments == {"over": "Adam"}


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        ("constant", 0, {0: 0.5, 50: 0.5, 100: 0.5}),
        ("constant", 10, {0: 0.0, 5: 0.25, 10: 0.5, 100: 0.5}),
        ("cosine", 0, {0: 0.5, 50: 0.25, 100: 0.0}),
        ("cosine", 20, {0: 0.0, 10: 0.25, 20: 0.5, 60: 0.25, 100: 0.0}),
    ],
)
def test_schedules(schedule, warmup, rates):
    experiment = dataclasses.replace(EXPERIMENT, schedule=schedule, warmup_steps=warmup)
    optimizer = build("SGD", experiment)
    for step, rate in rates.items():
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(rate, abs=1e-6)


def test_an_unknown_rule_lists_the_known():
    with pytest.raises(ValueError, match=r"`rule` must be one of .* Did you mean 'Discover'"):
        build("Discovery")
