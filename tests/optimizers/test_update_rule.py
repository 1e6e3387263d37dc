"""The pure definition of the update rule, and the backends that compute it in place."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import PROBABILITIES, K
from tf_gradvar.optimizers.backend import functions as backend
from tf_gradvar.optimizers.update_rule import (
    Groups,
    Rule,
    as_column,
    mixing_weights,
    scale_correction,
    update,
)

SHAPES = [(K, K), (K,), ()]  # a variable can look like a stack of others


def draw(num_groups, dtype, seed=0):
    """Groups, buffers and their averages."""
    rng = np.random.default_rng(seed)
    tensors = [ops.convert_to_tensor(rng.normal(size=(num_groups, *s)), "float32") for s in SHAPES]
    buffers = [keras.Variable(rng.normal(size=(K, *s)), dtype=dtype) for s in SHAPES]
    averages = [
        keras.Variable(np.tensordot(PROBABILITIES, np.float64(held), axes=1), dtype="float32")
        for held in cases.values([ops.cast(b, "float32") for b in buffers])
    ]
    clusters = ops.convert_to_tensor(rng.integers(K, size=num_groups), "int32")
    return tensors, clusters, buffers, averages


@pytest.mark.parametrize("sizes", [False, True], ids=["alike", "sizes"])
@pytest.mark.parametrize("left_out", [False, True], ids=["all", "without one"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scale", [None, 0.6])
@pytest.mark.parametrize("gain", [1.0, 0.3, 0.5])
@pytest.mark.parametrize("num_groups", [1, 2, 3, 7])
def test_the_backend_computes_the_definition(num_groups, gain, scale, dtype, left_out, sizes):
    gradients, clusters, buffers, averages = draw(num_groups, dtype)
    q = ops.convert_to_tensor(PROBABILITIES, "float32")
    valid = ops.convert_to_tensor(np.arange(num_groups) != (0 if left_out else -1))
    given = ops.convert_to_tensor(1.0 + np.arange(num_groups), "float32") if sizes else None
    groups = Groups(gradients, clusters, valid, given)
    weights = mixing_weights(groups.weights, clusters, q)
    expected = [
        update(g, clusters, ops.convert_to_tensor(b), ops.convert_to_tensor(a), weights, 0.3, gain)
        for g, b, a in zip(gradients, buffers, averages, strict=True)
    ]
    if scale is not None:
        scaled = [
            scale_correction(
                updated.corrected,
                ops.where(as_column(valid, g), g, 0.0),
                ops.cast(ops.take(b, clusters, axis=0), "float32"),
                ops.convert_to_tensor(a),
                weights.of_groups,
                scale,
            )
            for updated, g, b, a in zip(expected, gradients, buffers, averages, strict=True)
        ]
        expected = [u._replace(corrected=v) for u, (v, _) in zip(expected, scaled, strict=True)]
    expected = [[ops.cast(value, "float32") for value in updated] for updated in expected]
    if left_out:  # its values must not matter
        nan = np.where(np.arange(num_groups) == 0, np.nan, 0.0).astype("float32")
        gradients = [g + nan.reshape(-1, *[1] * (len(g.shape) - 1)) for g in gradients]
    rule = Rule(0.3, gain, None if scale is None else [scale] * len(SHAPES))
    corrected, moments = backend.correct(
        groups._replace(gradients=gradients), buffers, averages, q, rule
    )
    if scale is not None:
        for actual, (_, exact) in zip(moments, scaled, strict=True):
            np.testing.assert_allclose(cases.values(actual), cases.values(exact), rtol=1e-4)
    held = [ops.cast(b, "float32") for b in buffers]
    for i, values in enumerate(zip(corrected, held, averages, strict=True)):
        for actual, exact in zip(cases.values(values), cases.values(expected[i]), strict=True):
            np.testing.assert_allclose(actual, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.jax
def test_the_definition_by_hand():
    """Two groups of cluster 0 and one of cluster 1, alpha = 1/2, q = (1/4, 3/4)."""
    groups = Groups(
        [ops.convert_to_tensor([1.0, 3.0, 8.0])],
        ops.convert_to_tensor([0, 0, 1], "int32"),
        ops.convert_to_tensor([True, True, True]),
    )
    weights = mixing_weights(groups.weights, groups.clusters, ops.convert_to_tensor([0.25, 0.75]))
    buffers, average = ops.convert_to_tensor([0.0, 4.0]), ops.convert_to_tensor(3.0)
    updated = update(groups.gradients[0], groups.clusters, buffers, average, weights, 0.5)
    assert float(updated.corrected) == pytest.approx((1 + 3 + 4) / 3 + 3)
    assert ops.convert_to_numpy(updated.buffers).tolist() == [1.0, 6.0]
    assert float(updated.average) == 0.25 * 1 + 0.75 * 6
