"""The stateless way of JAX: corrections and steps as pure functions of the state."""

import keras
import numpy as np
import pytest

from tests.optimizers import cases
from tests.optimizers.cases import CLUSTERED, RATE, assert_close

pytestmark = [
    pytest.mark.jax,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs the JAX backend"),
]
DRAW = cases.draws(2)


@pytest.mark.parametrize("how", ["stateless_apply", "apply", "loss scaling"])
@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_a_compiled_correction_and_a_step(case, how):
    import jax

    weights, optimizer = cases.variables(), case.optimizer()
    outer, scale = optimizer, 1.0
    if how == "loss scaling":
        outer, scale = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0), 4.0
    outer.build(weights)
    state = outer.variables

    @jax.jit
    def correct(before, *arguments):
        with keras.StatelessScope(state_mapping=list(zip(state, before, strict=True))) as scope:
            corrected = optimizer.correct_gradients(*arguments)
        return corrected, [scope.get_current_value(v) for v in state]

    stateless_apply = jax.jit(outer.stateless_apply)
    for t in range(3):
        arguments = cases.tensors(case, *DRAW(t, cases.values(weights)))
        corrected, after = correct([v.value for v in state], *arguments)
        if how != "apply":
            scaled = [scale * g for g in corrected]
            new, after = stateless_apply(after, scaled, [w.value for w in weights])
            assign(weights, new)
        assign(state, after)
        if how == "apply":
            optimizer.apply(corrected)
    cases.use_true_weights(optimizer)
    base = case.base(RATE)
    expected = cases.oracle.train(base, case.variate(), cases.initial_weights(), DRAW, 3)[-1]
    assert_close(cases.values(weights), expected)


def assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.asarray(value))
