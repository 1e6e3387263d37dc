"""Variables of low precision."""

import keras
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import CASES, RATE, assert_close

pytestmark = pytest.mark.jax
DRAW = cases.draws(2)


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
