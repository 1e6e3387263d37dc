"""Loss scaling and variables of other types."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import CASES, RATE, assert_close

pytestmark = pytest.mark.jax
DRAW = cases.draws(2)


def scaled_step(case, optimizer, scaled, weights):
    """A step on gradients times a factor, compiled: Keras' loss scaling needs that on JAX."""

    def take(factor, *arguments):
        gradients = optimizer.correct_gradients(*arguments) if case.clustered else arguments[0]
        scaled.apply([g * factor for g in gradients])

    function = cases.compiled(take, [*scaled.variables, *weights])
    return lambda factor, draw: function(
        ops.convert_to_tensor(factor, "float32"), *cases.tensors(case, *draw)
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_scaling_skips_infinite_gradients(case):
    optimizer, weights = case.optimizer(clipnorm=0.7), cases.variables()
    scaled = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1024.0)
    scaled.build(weights)
    take = scaled_step(case, optimizer, scaled, weights)
    base, variate = case.base(RATE), case.variate()
    expected = [np.float64(w) for w in cases.initial_weights()]
    for t in range(4):
        scale = float(scaled.scale_loss(1.0))
        assert scale == (1024.0 if t < 2 else 512.0)
        take(scale if t != 1 else float("inf"), DRAW(t, cases.values(weights)))
        gradients = variate.correct(*DRAW(t, base.seen(expected)))
        if t != 1:
            expected = base.step(expected, cases.oracle.clipped(gradients, clipnorm=0.7))
    assert int(optimizer.iterations) == 3
    assert_close(cases.values(weights), base.seen(expected))
    cases.use_true_weights(optimizer)
    assert_close(cases.values(weights), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_variables_of_low_precision(case, dtype):
    weights = [keras.Variable(w, dtype=dtype) for w in cases.initial_weights()]
    optimizer = case.optimizer(weight_decay=0.1)
    optimizer.build(weights)
    for t in range(3):
        cases.use_shifted_weights(optimizer)
        seen = [ops.convert_to_numpy(ops.cast(w, "float32")) for w in weights]
        cases.step(case, optimizer, *DRAW(t, seen))
        cases.use_true_weights(optimizer)
    base = case.base(RATE, decay=0.1)
    expected = cases.oracle.train(base, case.variate(), cases.initial_weights(), DRAW, 3)[-1]
    actual = [ops.convert_to_numpy(ops.cast(w, "float32")) for w in weights]
    assert_close(actual, expected, rtol=5e-2 if dtype == "bfloat16" else 1e-2)
