"""The learned scale of the correction: bad buffers leave the plain gradient, good ones are used."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import K
from tf_gradvar.optimizers import Discover

pytestmark = pytest.mark.jax
SIZE = 200
CENTRES = np.random.default_rng(0).normal(size=(K, SIZE)).astype("float32")


def make(scale="auto", buffers=None, alpha=0.1):
    optimizer = Discover(0.1, K, alpha=alpha, scale=scale)
    optimizer.build([keras.Variable(np.zeros(SIZE, "float32")), keras.Variable(0.0)])
    if buffers is not None:
        fill(optimizer, buffers)
    return optimizer


def fill(optimizer, buffers):
    optimizer.cluster_gradients[0].assign(buffers)
    optimizer.mean_cluster_gradients[0].assign(np.mean(buffers, axis=0))


def steps(optimizer, count, noise=0.0, seed=0, hold=None):
    """Take group gradients of random clusters around CENTRES; return [v] and the scales."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        k = int(rng.integers(K))
        gradient = CENTRES[k] + noise * rng.normal(size=SIZE).astype("float32")
        (v, none) = optimizer.correct_gradients(
            [ops.convert_to_tensor(gradient[None], "float32"), None],
            ops.convert_to_tensor([k], "int32"),
        )
        assert none is None
        if hold is not None:
            fill(optimizer, hold)
        scale = cases.values([optimizer.correction_scale])[0]
        found.append((gradient, cases.values([v])[0], scale))
    return found


def test_the_first_step_is_plain():
    """There is no evidence yet, whatever the buffers hold."""
    buffers = np.random.default_rng(1).normal(size=(K, SIZE)).astype("float32")
    ((gradient, v, _),) = steps(make(buffers=buffers), 1)
    np.testing.assert_allclose(v, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_buffers_of_noise_leave_the_plain_gradient_within_a_few_steps(size):
    noise = size * np.random.default_rng(2).normal(size=(K, SIZE)).astype("float32")
    history = steps(make(buffers=noise), 8, hold=noise)
    for gradient, v, scale in history[3:]:
        assert scale[0] < 0.12 / size
        # What is left of the wrong correction is small beside the gradient.
        assert np.square(v - gradient).sum() < 0.05 * np.square(gradient).sum()


def test_perfect_buffers_are_used_in_full():
    history = steps(make(buffers=CENTRES), 10, hold=CENTRES)
    for _, _, scale in history:
        np.testing.assert_allclose(scale[0], 1.0, rtol=1e-5)
    for _, v, _ in history[1:]:
        np.testing.assert_allclose(v, CENTRES.mean(axis=0), rtol=1e-4, atol=1e-4)


def test_a_variable_without_a_gradient_learns_nothing():
    history = steps(make(buffers=CENTRES), 3)
    assert all(scale[1] == 0.0 for _, _, scale in history)


def test_buffers_that_turn_bad_lose_their_share():
    optimizer = make(buffers=CENTRES)
    steps(optimizer, 5, hold=CENTRES)
    noise = np.random.default_rng(3).normal(size=(K, SIZE)).astype("float32")
    fill(optimizer, noise)
    history = steps(optimizer, 40, hold=noise)
    assert history[-1][2][0] < 0.1


def test_never_much_worse_than_plain_on_average():
    """On every draw of stale buffers: the mean squared distance to the full gradient."""
    rng = np.random.default_rng(4)
    stale = 0.3 * CENTRES + rng.normal(size=(K, SIZE)).astype("float32")
    history = steps(make(buffers=stale), 60, noise=0.5, hold=stale)[20:]
    target = CENTRES.mean(axis=0)
    plain = np.mean([np.square(g - target).sum() for g, _, _ in history])
    scaled = np.mean([np.square(v - target).sum() for _, v, _ in history])
    unscaled = [v for _, v, _ in steps(make(scale=1.0, buffers=stale), 60, noise=0.5, hold=stale)]
    assert scaled < plain
    assert np.mean([np.square(v - target).sum() for v in unscaled[20:]]) > plain


def test_a_step_without_any_group_teaches_nothing():
    optimizer = make(buffers=CENTRES)
    steps(optimizer, 4, hold=CENTRES)
    before = cases.values([optimizer.correction_scale])[0]
    for cluster in (-1, K):
        optimizer.correct_gradients(
            [ops.ones((1, SIZE)), None], ops.convert_to_tensor([cluster], "int32")
        )
    np.testing.assert_allclose(cases.values([optimizer.correction_scale])[0], before, rtol=1e-6)


def test_a_given_scale_is_what_is_asked():
    assert make(scale=0.25).correction_scale == 0.25
    assert cases.values([make().correction_scale])[0].tolist() == [0.0, 0.0]
