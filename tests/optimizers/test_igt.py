"""True and shifted weights of IGT in a loop of one's own."""

import numpy as np
import pytest

from tests.optimizers import cases
from tests.optimizers.cases import RATE, SHIFTING, assert_close

pytestmark = pytest.mark.jax
DRAW = cases.draws(2)
STEPS = 6


@pytest.fixture(params=SHIFTING, ids=str)
def case(request):
    return request.param


def oracle_run(case, steps, draw=DRAW):
    """The true weights after every step, and the shifted ones."""
    base, variate = case.base(RATE), case.variate()
    weights, true, shifted = [np.float64(w) for w in cases.initial_weights()], [], []
    for t in range(steps):
        weights = base.step(weights, variate.correct(*draw(t, base.seen(weights))))
        true.append(weights)
        shifted.append(base.seen(weights))
    return true, shifted


def test_the_user_can_look_at_the_true_weights_after_every_step(case):
    optimizer, weights = case.optimizer(), cases.variables()
    optimizer.build(weights)
    for t, (true, shifted) in enumerate(zip(*oracle_run(case, STEPS), strict=True)):
        cases.step(case, optimizer, *DRAW(t, cases.values(weights)))
        assert_close(cases.values(weights), shifted)
        for _ in range(2):  # twice is once
            optimizer.use_true_weights()
            assert_close(cases.values(weights), true)
        for _ in range(2):
            optimizer.use_shifted_weights()
            assert_close(cases.values(weights), shifted)


def test_never_looking_gives_the_same(case):
    optimizer, weights = case.optimizer(), cases.variables()
    looked = cases.train(case, optimizer, weights, DRAW, 1)
    for t in range(1, STEPS):
        optimizer.use_shifted_weights()
        cases.step(case, optimizer, *DRAW(t, cases.values(weights)))
        optimizer.use_true_weights()
        looked = cases.values(weights)
    never = cases.train(case, case.optimizer(), cases.variables(), DRAW, STEPS)
    assert_close(looked, never, rtol=1e-6)


def test_weights_that_are_set_while_true_are_trained_on(case):
    """As oracle: the same state of the optimizer, other weights from there on."""
    optimizer, weights = case.optimizer(), cases.variables()
    cases.train(case, optimizer, weights, DRAW, 3)
    other = cases.initial_weights(seed=9)
    for variable, value in zip(weights, other, strict=True):
        variable.assign(value)
    optimizer.use_shifted_weights()
    cases.step(case, optimizer, *DRAW(3, cases.values(weights)))
    optimizer.use_true_weights()

    base, variate = case.base(RATE), case.variate()
    now = [np.float64(w) for w in cases.initial_weights()]
    for t in range(3):
        now = base.step(now, variate.correct(*DRAW(t, base.seen(now))))
    now = [np.float64(w) for w in other]
    now = base.step(now, variate.correct(*DRAW(3, base.seen(now))))
    assert_close(cases.values(weights), now)


def test_looking_in_the_middle_of_an_accumulation(case):
    runs = []
    for look in (False, True):
        optimizer, weights = case.optimizer(gradient_accumulation_steps=2), cases.variables()
        optimizer.build(weights)
        for t in range(STEPS):
            cases.step(case, optimizer, *DRAW(t, cases.values(weights)))
            if look:
                optimizer.use_true_weights()
                optimizer.use_shifted_weights()
        optimizer.use_true_weights()
        runs.append(cases.values(weights))
    assert_close(*runs, rtol=1e-6)


def test_before_the_first_step_there_is_nothing_to_do(case):
    optimizer, weights = case.optimizer(), cases.variables()
    optimizer.use_true_weights()
    optimizer.use_shifted_weights()
    optimizer.build(weights)
    optimizer.use_shifted_weights()
    optimizer.use_true_weights()
    assert_close(cases.values(weights), cases.initial_weights(), rtol=0)


def test_the_end_of_training_leaves_the_true_weights(case):
    optimizer, weights = case.optimizer(), cases.variables()
    optimizer.build(weights)
    for t in range(STEPS):
        cases.step(case, optimizer, *DRAW(t, cases.values(weights)))
    optimizer.finalize_variable_values(weights)
    assert_close(cases.values(weights), oracle_run(case, STEPS)[0][-1])
