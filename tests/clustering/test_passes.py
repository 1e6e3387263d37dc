"""Passes over the data and low-rank centres, against the gradients themselves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.problems import clustered_mlp, cross_entropy
from tf_gradvar.clustering import GradientClustering
from tf_gradvar.clustering.low_rank import truncated
from tf_gradvar.clustering.passes import GradientPasses
from tf_gradvar.data.examples import as_examples
from tf_gradvar.losses import ModelLoss

LOSS = cross_entropy()

K = 5


@pytest.mark.parametrize("streamed", [False, True])
def test_means_of_clusters(streamed):
    """For clusters of all sizes, an empty one, and examples in no cluster."""
    model, x, y, gradients = clustered_mlp()
    assignments = np.random.default_rng(0).integers(-1, K - 1, len(x))
    assignments[:9] = 0
    examples = as_examples(tf.data.Dataset.from_tensor_slices((x, y)).batch(10), None, None)
    if not streamed:
        examples = as_examples(x, y, None)
    passes = GradientPasses(model, ModelLoss(model, LOSS), None, 7)
    means = passes.means(examples, assignments, K)
    found = np.concatenate([mean.reshape(K, -1) for mean in means], axis=1)
    for k in range(K - 1):
        expected = gradients[assignments == k].mean(axis=0)
        np.testing.assert_allclose(found[k], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found[K - 1], 0.0)


@pytest.mark.parametrize(("rows", "columns"), [(30, 20), (3, 40)])
def test_truncated_decompositions(rows, columns):
    """As near to the matrices as the exact decomposition of that rank, up to a hundredth."""
    rng = np.random.default_rng(1)
    decay = np.exp(-0.7 * np.arange(min(rows, columns)))
    matrices = np.stack([_matrix_of(rows, columns, decay, rng) for _ in range(3)])
    for rank in (1, 2, 4):
        approximations = truncated(matrices, rank, rng).full().numpy().reshape(matrices.shape)
        for matrix, approximation in zip(matrices, approximations, strict=True):
            least = np.sqrt(np.sum(np.square(np.linalg.svd(matrix, compute_uv=False)[rank:])))
            assert np.linalg.norm(matrix - approximation) <= 1.01 * least + 1e-5


def _matrix_of(rows, columns, singular_values, rng):
    size = len(singular_values)
    left, right = (np.linalg.qr(rng.normal(size=(n, size)))[0] for n in (rows, columns))
    return ((left * singular_values) @ right.T).astype("float32")


@pytest.mark.parametrize("assignment", ["exact", "paper"])
@pytest.mark.parametrize("representation", ["sketch", "full", "rank1", "svd"])
def test_a_float64_model(representation, assignment):
    """The same clusters as of the same model in float32, whose distances differ by 1e-6."""
    found = []
    for dtype in ("float32", "float64"):
        kernel = keras.initializers.RandomNormal(seed=0)
        layers = [keras.layers.Dense(3, "tanh", dtype=dtype, kernel_initializer=kernel)]
        layers.append(keras.layers.Dense(1, dtype=dtype, kernel_initializer=kernel))
        model = keras.Sequential([keras.Input((4,), dtype=dtype), *layers])
        model.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in model.weights])
        x = np.random.default_rng(0).normal(size=(20, 4))
        clustering = GradientClustering(3, representation, assignment, seed=0, verbose=False)
        found.append(clustering.fit(model, x.astype(dtype), x[:, :1].astype(dtype), "mse"))
    np.testing.assert_array_equal(found[0].assignments, found[1].assignments)
    np.testing.assert_allclose(found[0].objective, found[1].objective, rtol=1e-3)
