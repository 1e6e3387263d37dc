"""Carried buffers against loops, and SGD that they do not disturb."""

import keras
import numpy as np
import pytest

from keras_apps.experiments.carried_buffers import CarriedBuffers

K = C = 3
SHAPES = [(K, K), (K,), ()]
Q = [0.2, 0.5, 0.3]
ALPHAS = (0.3, 1.0, 0.05)
STEPS = 5
SCHEDULE = keras.optimizers.schedules.CosineDecay(0.1, STEPS)


def draws(seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        gradients = [rng.normal(size=(C, *shape)).astype("float32") for shape in SHAPES]
        yield gradients, rng.integers(0, K, C)


def built(optimizer):
    rng = np.random.default_rng(5)
    variables = [keras.Variable(rng.normal(size=shape)) for shape in SHAPES]
    optimizer.build(variables)
    return variables


def trained(optimizer):
    variables = built(optimizer)
    for gradients, clusters in draws():
        tensors = [keras.ops.convert_to_tensor(g) for g in gradients]
        optimizer.apply(optimizer.correct_gradients(tensors, clusters))
    return variables


def carrying(rate):
    return CarriedBuffers(rate, K, ALPHAS, Q, momentum=0.9)


@pytest.fixture(scope="module")
def carried():
    """Trained once: the optimizer and the variables."""
    optimizer = carrying(SCHEDULE)
    return optimizer, trained(optimizer)


def test_buffers_are_those_of_a_loop(carried):
    optimizer, _ = carried
    for alpha in ALPHAS:
        of_each = [np.zeros((K, *shape)) for shape in SHAPES]
        of_all = [np.zeros(shape) for shape in SHAPES]
        for gradients, clusters in draws():
            for i, own in enumerate(gradients):
                of_all[i] = (1 - alpha) * of_all[i] + alpha * sum(own) / C
                for k in set(clusters):
                    mean = np.mean(
                        [g for g, cluster in zip(own, clusters, strict=True) if cluster == k], 0
                    )
                    of_each[i][k] = (1 - alpha) * of_each[i][k] + alpha * mean
        for held, expected in zip(optimizer.buffers_of_clusters(alpha), of_each, strict=True):
            np.testing.assert_allclose(held, expected, rtol=1e-5, atol=1e-6)
        for held, expected in zip(optimizer.one_buffer(alpha), of_all, strict=True):
            np.testing.assert_allclose(held[0], expected, rtol=1e-5, atol=1e-6)


def test_steps_are_those_of_sgd(carried):
    _, found = carried
    sgd = keras.optimizers.SGD(SCHEDULE, momentum=0.9)
    expected = built(sgd)
    for gradients, _ in draws():
        sgd.apply([keras.ops.convert_to_tensor(g.mean(0)) for g in gradients])
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6, atol=1e-7)


def test_saved_state_and_configuration(carried):
    optimizer, _ = carried
    config = keras.saving.serialize_keras_object(optimizer)
    other = keras.saving.deserialize_keras_object(config)
    built(other)
    assert other.get_config() == optimizer.get_config()
    store = {}
    optimizer.save_own_variables(store)
    other.load_own_variables(store)
    assert len(store) == len(optimizer.variables)
    for own, loaded in zip(optimizer.variables, other.variables, strict=True):
        np.testing.assert_array_equal(own, loaded)
    assert np.any(other.buffers_of_clusters(ALPHAS[-1])[0])


@pytest.mark.parametrize("alphas", [(), (0.1, 0.0), (1.5,), (0.1, "a")], ids=str)
def test_alphas(alphas):
    with pytest.raises(ValueError, match="`alphas` must"):
        CarriedBuffers(0.1, K, alphas)
