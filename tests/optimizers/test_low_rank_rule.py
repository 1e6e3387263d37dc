"""The algebra of low rank: orthonormal columns, mixtures, one step against formed matrices."""

import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tf_gradvar.optimizers.low_rank_rule import (
    DEPENDENT,
    Factors,
    combine_buffers,
    mix_factors,
    orthonormal,
    update_low_rank,
)
from tf_gradvar.optimizers.update_rule import Rule, mixing_weights

pytestmark = pytest.mark.jax
RNG = np.random.default_rng(0)


def tensor(array):
    return ops.convert_to_tensor(array, "float32")


def orthonormal_columns(columns):
    return cases.values([orthonormal(tensor(columns))])[0].astype("float64")


@pytest.mark.parametrize("shape", [(3, 3, 3), (2, 50, 4), (1, 7, 1)], ids=str)
@pytest.mark.parametrize("size", [1.0, 1e-25, 1e25])
def test_orthonormal_columns_are_those_of_qr(shape, size):
    columns = RNG.normal(size=shape)
    expected, triangle = np.linalg.qr(columns)
    expected *= np.sign(np.diagonal(triangle, axis1=1, axis2=2))[:, None, :]
    found = orthonormal_columns(size * columns)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_columns_that_nearly_depend_on_others_are_orthonormal_still():
    columns = RNG.normal(size=(1, 40, 4))
    columns[..., 1:] = columns[..., :1] + 1e-3 * columns[..., 1:]
    found = orthonormal_columns(columns)[0]
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-5)


def test_dependent_columns_are_zero():
    columns = RNG.normal(size=(2, 30, 3))
    columns[0, :, 1] = -2 * columns[0, :, 0]
    columns[1] = 0.0
    found = orthonormal_columns(columns)
    assert not found[0, :, 1].any()
    np.testing.assert_allclose(found[0].T @ found[0], np.diag([1.0, 0.0, 1.0]), atol=1e-5)
    assert not found[1].any()
    columns[0, :, 1] += DEPENDENT / 100 * columns[0, :, 2]
    assert not orthonormal_columns(columns)[0, :, 1].any()


def random_factors(clusters, rows, columns, rank, seed=1):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(clusters, rows, rank)))[0]
    return left, rng.normal(size=(clusters, columns, rank)) * 0.3 ** np.arange(rank)


def products(left, right):
    return np.stack([u @ w.T for u, w in zip(left, right, strict=True)])


def test_a_combination_of_buffers():
    left, right = random_factors(4, 5, 5, 2)
    shared, weights = RNG.normal(size=(5, 5)), RNG.normal(size=4)
    found = combine_buffers(tensor(weights), Factors(tensor(left), tensor(right)), tensor(shared))
    expected = sum(w * (shared + p) for w, p in zip(weights, products(left, right), strict=True))
    np.testing.assert_allclose(cases.values([found])[0], expected, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 3])
def test_mixtures_are_close_to_the_best_of_their_rank(rank):
    left, right = random_factors(6, 20, 15, rank)
    shares = np.random.default_rng(2).dirichlet(np.full(6, 0.3), size=6)
    new = mix_factors(tensor(shares), Factors(tensor(left), tensor(right)))
    found = products(*(np.float64(f) for f in cases.values(new)))
    for mixture, held in zip(np.tensordot(shares, products(left, right), 1), found, strict=True):
        values = np.linalg.svd(mixture, compute_uv=False)
        error, best = np.linalg.norm(mixture - held), np.linalg.norm(values[rank:])
        assert best - 1e-5 <= error < 1.1 * best + 1e-5


def test_an_unmixed_transfer_keeps_the_products():
    left, right = random_factors(4, 20, 15, 3)
    order = [2, 2, 0, 3]
    new = mix_factors(tensor(np.eye(4)[order]), Factors(tensor(left), tensor(right)))
    found = products(*cases.values(new))
    np.testing.assert_allclose(found, products(left, right)[order], atol=1e-5)


def test_repeated_visits_find_the_singular_vectors():
    """With alpha = 1 and q_k = 0 the target is the gradient itself, visit after visit."""
    gradient = RNG.normal(size=(9, 6))
    u, _, vt = np.linalg.svd(gradient, full_matrices=False)
    gradient = u * [8, 5, 1, 0.5, 0.2, 0.1] @ vt
    zeros = [ops.zeros((1, 9, 2)), ops.zeros((1, 6, 2)), ops.zeros((9, 6))]
    factors, shared = Factors(*zeros[:2]), zeros[2]
    clusters = ops.convert_to_tensor([0], "int32")
    weights = mixing_weights(tensor([1.0]), clusters, tensor([0.0, 1.0]))
    for _ in range(8):
        updated = update_low_rank(
            tensor(gradient[None]), factors, shared, shared, weights, Rule(1.0)
        )
        factors = updated.factors
        assert not np.any(cases.values([updated.average_step, updated.shared_step]))
    found = products(*cases.values(factors))[0]
    np.testing.assert_allclose(found, u[:, :2] * [8, 5] @ vt[:2], atol=1e-4)
