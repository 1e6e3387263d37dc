"""Exact moves against the definition of the objective."""

import hypothesis
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest

from tests.oracles import clustering_oracle as oracle
from tf_gradvar.clustering.exact_moves import ExactMoves
from tf_gradvar.clustering.fixed_centres import centre_distances, exact_rule, paper_rule
from tf_gradvar.clustering.geometry import InnerProducts, Vectors
from tf_gradvar.clustering.geometry import objective as objective_of
from tf_gradvar.clustering.split_merge import split_and_merge


def objective(gradients, assignments, num_clusters):
    """J in float64."""
    total = 0.0
    for k in range(num_clusters):
        members = gradients[assignments == k].astype(np.float64)
        total += len(members) * ((members - members.mean(axis=0)) ** 2).sum() if len(members) else 0
    return float(total)


def geometries(gradients):
    return [Vectors(gradients.copy()), InnerProducts(gradients @ gradients.T)]


GEOMETRY = pytest.mark.parametrize("place", [0, 1], ids=["vectors", "inner products"])


@st.composite
def problems(draw):
    count = draw(st.integers(2, 40))
    num_clusters = draw(st.integers(1, min(count, 7)))
    numbers = st.floats(-8, 8, width=16)
    gradients = draw(arrays.arrays(np.float32, (count, 3), elements=numbers))
    assignments = draw(arrays.arrays(np.int64, count, elements=st.integers(0, num_clusters - 1)))
    assignments[:num_clusters] = np.arange(num_clusters)
    return gradients, assignments, num_clusters


@GEOMETRY
@hypothesis.given(problem=problems(), chunk_size=st.integers(1, 50), limit=st.booleans())
@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
def test_the_objective_never_rises(place, problem, chunk_size, limit):
    gradients, assignments, num_clusters = problem
    largest = int(np.bincount(assignments).max()) if limit else None
    moves = ExactMoves(
        geometries(gradients)[place],
        assignments,
        num_clusters,
        max_size=largest,
        chunk_size=chunk_size,
    )
    rng = np.random.default_rng(0)
    before = objective(gradients, assignments, num_clusters)
    scale = max(before, objective(gradients, np.zeros(len(gradients), int), 1))
    for _ in range(4):
        moves.run_pass(rng.permutation(len(gradients)))
        after = objective(gradients, moves.assignments, num_clusters)
        assert after <= before + 1e-6 * scale
        before = after
        sizes = np.bincount(moves.assignments, minlength=num_clusters)
        assert sizes.min() >= 1
        assert largest is None or sizes.max() <= largest


def test_the_objective_is_the_enumerated_variance():
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(9, 4))
    assignments = np.array([0, 1, 2, 0, 1, 0, 2, 0, 0])
    expected = 9**2 * oracle.enumerated_variance(gradients, assignments)
    assert objective(gradients, assignments, 3) == pytest.approx(expected, rel=1e-12)
    for geometry in geometries(gradients):
        assert objective_of(geometry, assignments, 3) == pytest.approx(expected, rel=1e-5)


@GEOMETRY
def test_one_move_changes_the_objective_by_the_difference_of_the_costs(place):
    rng = np.random.default_rng(2)
    gradients = rng.normal(size=(30, 5))
    start = rng.integers(0, 4, 30)
    moves = ExactMoves(geometries(gradients)[place], start, 4)
    made = 0
    for i in range(30):
        before = moves.assignments.copy()
        # A pass over one example makes at most one move.
        if moves.run_pass(np.array([i])) == 0:
            continue
        made += 1
        a, b = before[i], moves.assignments[i]
        costs = [oracle.pair_cost(gradients, before, i, k) for k in range(4)]
        change = objective(gradients, moves.assignments, 4) - objective(gradients, before, 4)
        assert change == pytest.approx(costs[b] - costs[a], rel=1e-9)
        assert b == np.argmin(costs)
        assert (np.delete(moves.assignments, i) == np.delete(before, i)).all()
    assert made > 5


@GEOMETRY
def test_the_chunk_size_matters_little_and_every_pass_ends_somewhere(place):
    """At the end no single move helps, by brute force over all of them."""
    rng = np.random.default_rng(3)
    gradients = np.concatenate([rng.normal(size=(12, 3)), 5 + 0.1 * rng.normal(size=(12, 3))])
    for chunk_size in (1, 5, 100):
        moves = ExactMoves(
            geometries(gradients)[place], np.arange(24) % 3, 3, chunk_size=chunk_size
        )
        while moves.run_pass(rng.permutation(24)):
            pass
        for i in range(24):
            costs = [oracle.pair_cost(gradients, moves.assignments, i, k) for k in range(3)]
            assert costs[moves.assignments[i]] <= min(costs) * (1 + 1e-5)


@hypothesis.given(problem=problems(), seed=st.integers(0, 9))
@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
def test_the_exact_rule_never_raises_equation_2_for_fixed_centres(problem, seed):
    gradients, assignments, num_clusters = problem
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_clusters, 3))
    distances = np.square(gradients[:, None, :] - centres).sum(axis=2)
    new = exact_rule(distances, assignments, rng.permutation(len(gradients)))
    before = oracle.equation_2(gradients, assignments, centres)
    after = oracle.equation_2(gradients, new, centres)
    assert after <= before * (1 + 1e-9)
    assert np.bincount(new, minlength=num_clusters).min() >= 1


@GEOMETRY
@hypothesis.given(problem=problems(), limit=st.booleans())
@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
def test_regrouping_never_raises_the_objective(place, problem, limit):
    gradients, assignments, num_clusters = problem
    largest = int(np.bincount(assignments).max()) if limit else None
    new = split_and_merge(geometries(gradients)[place], assignments, num_clusters, largest)
    before = objective(gradients, assignments, num_clusters)
    scale = max(before, objective(gradients, np.zeros(len(gradients), int), 1))
    assert objective(gradients, new, num_clusters) <= before + 1e-6 * scale
    sizes = np.bincount(new, minlength=num_clusters)
    assert sizes.min() >= 1
    assert largest is None or sizes.max() <= largest


@GEOMETRY
def test_regrouping_does_what_single_moves_cannot(place):
    """One kind in two clusters, two kinds in one: every single move raises J."""
    kinds = np.repeat([[0.0, 0.0], [9.0, 9.0], [9.5, 8.5]], 10, axis=0)
    start = np.repeat([0, 1, 2], [5, 5, 20])
    geometry = geometries(kinds)[place]
    assert ExactMoves(geometry, start, 3).run_pass(np.arange(30)) == 0
    new = split_and_merge(geometry, start, 3, None)
    assert len(np.unique(new.reshape(3, 10), axis=1).T) == 1
    assert len(np.unique(new)) == 3


def test_the_exact_rule_fills_no_cluster_over_its_limit():
    distances = np.repeat([[0.0, 1.0, 1.1]], 12, axis=0)
    new = exact_rule(distances, np.arange(12) % 3, np.arange(12), max_size=5)
    assert np.bincount(new).max() <= 5


def test_the_rule_of_the_paper_counts_as_it_goes():
    """By hand: cluster 0 is near to all, and dearer with each example that it has."""
    distances = np.array([[1.0, 2.5], [1.0, 2.5], [1.0, 2.5], [1.0, 2.5]])
    # (n + 1) d: 1 < 2.5; 2 < 2.5; 3 > 2.5; 3 < 5
    assert paper_rule(distances, np.arange(4)).tolist() == [0, 0, 1, 0]
    assert paper_rule(distances, np.array([3, 2, 1, 0])).tolist() == [0, 1, 0, 0]


def test_centre_distances():
    rng = np.random.default_rng(4)
    gradients, centres = rng.normal(size=(6, 3)), rng.normal(size=(2, 3))
    found = centre_distances(
        np.square(gradients).sum(axis=1), gradients @ centres.T, np.square(centres).sum(axis=1)
    )
    expected = [[((g - c) ** 2).sum() for c in centres] for g in gradients]
    np.testing.assert_allclose(found, expected)
