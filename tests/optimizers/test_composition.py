"""A Discover form around its inner optimizer looks, to a user and to Keras, like one optimizer."""

import copy

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import CLUSTERED, RATE, K
from tf_gradvar.optimizers import DiscoverIGT, DiscoverOver, DiscoverQHM
from tf_gradvar.optimizers.igt import find_igt
from tf_gradvar.optimizers.wrappers import innermost

pytestmark = pytest.mark.jax
SETTINGS = {
    "weight_decay": 0.1,
    "clipnorm": 0.7,
    "loss_scale_factor": 8.0,
    "gradient_accumulation_steps": 2,
}


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_settings_are_those_of_the_inner_optimizer(case):
    optimizer = case.optimizer(**SETTINGS)
    for name, value in SETTINGS.items():
        assert getattr(optimizer, name) == value
        setattr(optimizer, name, None)
        assert getattr(optimizer.inner_optimizer, name) is None
    assert optimizer.ema_momentum == 0.99
    optimizer.clipvalue = optimizer.global_clipnorm = 0.5
    assert innermost(optimizer).clipvalue == innermost(optimizer).global_clipnorm == 0.5


def test_arguments_of_the_forms():
    qhm, igt = DiscoverQHM(RATE, K, momentum=0.5, nu=0.25), DiscoverIGT(RATE, K, 0.5, 4.0)
    assert (qhm.momentum, qhm.nu) == (0.5, 0.25)
    assert (igt.momentum, igt.tail_fraction) == (0.5, 4.0)
    discover = cases.BY_NAME["Discover"].optimizer(momentum=0.5, nesterov=True)
    assert (discover.momentum, discover.nesterov) == (0.5, True)


def test_igt_is_found_inside():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(DiscoverIGT(RATE, K))
    assert find_igt(model) is model.optimizer.inner_optimizer


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_a_schedule_can_be_set_later(case):
    """Keras then drops the variable of the learning rate, here as elsewhere."""
    optimizer = case.optimizer(rate=0.5)
    count = len(optimizer.variables)
    optimizer.learning_rate = keras.optimizers.schedules.PolynomialDecay(
        RATE, 100, end_learning_rate=RATE
    )
    assert len(optimizer.variables) == count - 1
    expected = cases.train(case, case.optimizer(), cases.variables(), cases.draws(2), 3)
    actual = cases.train(case, optimizer, cases.variables(), cases.draws(2), 3)
    cases.assert_close(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_a_copy_is_independent(case):
    optimizer = case.optimizer()
    other = copy.deepcopy(optimizer)
    other.learning_rate = RATE / 2
    assert float(optimizer.learning_rate) == pytest.approx(RATE)
    assert other.inner_optimizer is not optimizer.inner_optimizer
    one = cases.train(case, case.optimizer(rate=RATE / 2), cases.variables(), cases.draws(2), 3)
    cases.assert_close(
        cases.train(case, other, cases.variables(), cases.draws(2), 3), one, rtol=1e-6
    )
    assert int(optimizer.iterations) == 0


def test_dynamic_loss_scaling_replaces_a_constant_scale():
    """Where Keras does it for a plain optimizer: newer versions do."""
    plain = keras.optimizers.SGD(RATE, loss_scale_factor=64.0)
    optimizer = DiscoverOver(keras.optimizers.SGD(RATE, loss_scale_factor=64.0), K)
    keras.optimizers.LossScaleOptimizer(plain)
    keras.optimizers.LossScaleOptimizer(optimizer)
    assert optimizer.inner_optimizer.loss_scale_factor == plain.loss_scale_factor


def swapped(optimizer):
    """The weights in which a model ends up that is trained with `SwapEMAWeights`."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    x, y = np.eye(4, 2, dtype="float32"), np.ones((4, 1), "float32")
    callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]
    model.fit(x, y, batch_size=2, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
    return model.get_weights()


@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled"])
@pytest.mark.parametrize("name", ["Discover", "DiscoverOver-SGD"])
def test_averages_can_be_swapped_in(name, scaled):
    """The callback looks for them in an optimizer, or in what loss scaling wraps."""
    wrap = keras.optimizers.LossScaleOptimizer if scaled else lambda optimizer: optimizer
    averages = {"use_ema": True, "ema_momentum": 0.5}
    optimizer = cases.BY_NAME[name].optimizer(num_clusters=1, **averages)
    expected = swapped(wrap(keras.optimizers.SGD(RATE, **averages)))
    cases.assert_close(swapped(wrap(optimizer)), expected)
    plain = swapped(wrap(keras.optimizers.SGD(RATE, use_ema=True, ema_momentum=0.0)))
    assert np.abs(plain[0] - expected[0]).max() > 1e-3


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_the_state_of_a_named_form_is_saved_once(case):
    optimizer, weights = case.optimizer(), cases.variables()
    optimizer.build(weights)
    cases.step(case, optimizer, *cases.draws(2)(0, cases.values(weights)))
    names = [variable.path for variable in optimizer.variables]
    assert len(set(names)) == len(names)
    assert int(ops.convert_to_numpy(optimizer.iterations)) == 1
