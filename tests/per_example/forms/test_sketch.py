"""Sketches: linear, determined by the seed, and inner products in expectation."""

import numpy as np
import pytest

from tests.oracles import per_example_oracle as oracle
from tests.per_example.conftest import solve
from tests.problems import PROBLEMS
from tf_gradvar import per_example

NAMES = (
    "mlp",
    "masked_text",
    "long_sequence",
    "conv_2d",
    "conv_few_positions",
    "einsum",
    "shared",
    "unknown",
    "lora",
    "tied",
)
CHOSEN = [problem for problem in PROBLEMS if problem.name in NAMES]
SIZE = 64


@pytest.fixture(params=CHOSEN, ids=lambda problem: problem.name)
def chosen(request):
    return solve(request.param)


def sketch(solved, seed=0, size=SIZE, **options):
    arguments = (solved.model, solved.x, solved.y, solved.loss)
    return per_example.sketch(*arguments, size, seed, **solved.options, **options).numpy()


def test_seed_determines_the_sketch(chosen):
    first = sketch(chosen, seed=3)
    np.testing.assert_array_equal(first, sketch(chosen, seed=3))
    assert np.abs(first - sketch(chosen, seed=4)).max() > 1e-3 * np.abs(first).max()


def test_batches_and_other_quantities_give_the_same_sketch(chosen):
    """The map belongs to the model and the seed, not to the batch or the way of computing."""
    whole = sketch(chosen)
    np.testing.assert_allclose(sketch(chosen, chunk_size=2), whole, rtol=1e-3, atol=1e-4)
    result = per_example.statistics(
        chosen.model,
        chosen.x,
        chosen.y,
        chosen.loss,
        second_moments=True,
        sketch_size=SIZE,
        **chosen.options,
    )
    np.testing.assert_allclose(result.sketch, whole, rtol=1e-3, atol=1e-4)


def test_linear_in_the_gradient(chosen):
    """The sketch of a difference is the difference of the sketches."""
    others = [w.astype("float32") for w in chosen.others]
    difference = sketch(chosen, other_weights=others)
    expected = sketch(chosen) - sketch(chosen, weights=others)
    np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["mlp", "masked_text", "conv_few_positions"])
def test_inner_products_in_expectation(name):
    """Averaged over seeds, sketches have the inner products of the gradients."""
    solved = solve(next(problem for problem in PROBLEMS if problem.name == name))
    seeds = 40
    grams = []
    for seed in range(seeds):
        s = sketch(solved, seed=seed, size=256)
        grams.append(s @ s.T)
    g = oracle.flat(solved.gradients)
    exact = g @ g.T
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    error = (np.mean(grams, 0) - exact) / scale
    spread = np.std(grams, 0) / scale
    assert np.abs(error).max() < 4 * spread.max() / np.sqrt(seeds)
    # sqrt(8 / 256) = 0.18 for one outer product, more where one block carries most of the norm.
    assert spread.max() < 0.35


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"size": 0}, "`sketch_size` must be"), ({"size": 8, "seed": -1}, "`seed` must be")],
)
def test_bad_size_and_seed(arguments, message):
    solved = solve(PROBLEMS[0])
    with pytest.raises(ValueError, match=message):
        per_example.sketch(solved.model, solved.x, solved.y, solved.loss, **arguments)
