"""The rule with owned clusters: unbiased by enumeration, and gbar stays the average."""

import numpy as np
import pytest
from keras import ops

from tests.oracles import owned_oracle as oracle
from tests.oracles.discover_oracle import ControlVariate
from tf_gradvar.optimizers.owned_rule import (
    correct_owned,
    owned_draws,
    owned_weights,
    take_in,
)
from tf_gradvar.ownership import Ownership, balanced_order

pytestmark = pytest.mark.jax
EXAMPLES, D = 2, 2
# (q, replicas, groups of each): uniform and not, several groups, a cluster twice, K no multiple.
STEPS = [
    ([0.25] * 4, 2, 1),
    ([0.1, 0.4, 0.2, 0.3], 2, 1),
    ([0.1, 0.4, 0.2, 0.3], 2, 2),
    ([0.1, 0.4, 0.2, 0.2, 0.1], 2, 1),
    ([0.5, 0.3, 0.2], 1, 3),
    ([0.3, 0.0, 0.7], 2, 2),
]


def problem(q):
    rng = np.random.default_rng(0)
    return rng.normal(size=(len(q), EXAMPLES, D)), rng.normal(size=(len(q), D))


def by_the_rule(q, replicas, gradients, clusters, buffers, alpha, gain=1.0):
    """v, the buffers and gbar after a step of the pure functions, replica by replica."""
    each = len(clusters) // replicas
    owners = ops.convert_to_tensor(Ownership(len(q), replicas).owners, "int32")
    draws = owned_draws(ops.convert_to_tensor(q, "float32"), owners, replicas, each, alpha)
    average, new = ops.convert_to_tensor(np.float32(q @ buffers)), np.array(buffers)
    total = 0.0
    for r in range(replicas):
        mine = slice(r * each, (r + 1) * each)
        ids = ops.convert_to_tensor(clusters[mine], "int32")
        held = ops.convert_to_tensor(buffers[clusters[mine]], "float32")
        group = ops.convert_to_tensor(gradients[mine], "float32")
        weights = owned_weights(ops.ones((each,), "bool"), ids, draws)
        part, rows = take_in(group - held, held, weights)
        total = total + part
        new[clusters[mine]] = ops.convert_to_numpy(rows)
    v = ops.convert_to_numpy(correct_owned(average, total, gain))
    return v, new, ops.convert_to_numpy(average + draws.of_average * total)


@pytest.mark.parametrize(("q", "replicas", "each"), STEPS)
def test_unbiased_over_all_draws_and_gbar_is_the_average(q, replicas, each):
    """The oracle enumerates; the rule is compared with it on every draw of clusters."""
    q = np.array(q)
    examples, buffers = problem(q)
    mean = probability = 0.0
    for clusters, chosen, p in oracle.all_draws(q, replicas, each, EXAMPLES):
        variate = oracle.OwnedControlVariate([(D,)], q, replicas, alpha=0.7)
        variate.buffers[0] = dict(enumerate(buffers))
        (v,) = variate.correct([examples[clusters, chosen]], clusters)
        mean, probability = mean + p * v, probability + p
        if any(chosen):  # one choice of examples will do for the rule
            continue
        found, new, average = by_the_rule(
            q, replicas, examples[clusters, chosen], np.array(clusters), buffers, 0.7
        )
        np.testing.assert_allclose(found, v, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(new, list(variate.buffers[0].values()), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(average, q @ new, rtol=1e-5, atol=1e-6)
    assert probability == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(mean, q @ examples.mean(axis=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_one_replica_with_one_group_is_the_central_scheme(gain):
    """With uniform q; with others, the central scheme whose alpha is that of the cluster."""
    for q in ([0.25] * 4, [0.4, 0.1, 0.2, 0.3]):
        rng = np.random.default_rng(1)
        owned = oracle.OwnedControlVariate([(D,)], q, 1, alpha=0.3, gain=gain)
        central = ControlVariate([(D,)], len(q), 0.3, q, gain=gain)
        for _ in range(20):
            k = int(rng.choice(len(q), p=q))
            group = [rng.normal(size=(1, D))]
            central.alpha = 0.3 * min(q) / q[k]
            (one,), (other,) = owned.correct(group, [k]), central.correct(group, [k])
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_equal_blocks_drawn_uniformly_move_by_the_plain_alpha():
    """One group a replica is one group each of the central scheme, with the same alpha."""
    rng, q = np.random.default_rng(1), [0.25] * 4
    owned = oracle.OwnedControlVariate([(D,)], q, 2, alpha=0.3)
    central = ControlVariate([(D,)], 4, 0.3, q)
    for _ in range(20):
        clusters = [int(rng.integers(2)), 2 + int(rng.integers(2))]
        group = [rng.normal(size=(2, D))]
        (one,), (other,) = owned.correct(group, clusters), central.correct(group, clusters)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_no_buffer_is_carried_past_its_groups():
    q, each = [0.9, 0.1], 4
    owners = ops.convert_to_tensor([0, 0], "int32")
    draws = owned_draws(ops.convert_to_tensor(q), owners, 1, each, alpha=1.0)
    for k in (0, 1):  # all groups of one cluster, each of which moves it
        weights = owned_weights(ops.ones((each,), "bool"), ops.full((each,), k, "int32"), draws)
        moves = ops.convert_to_numpy(ops.sum(weights.of_rows, axis=1))
        assert (moves <= 1 + 1e-6).all()
    np.testing.assert_allclose(moves, 1.0, rtol=1e-6)  # the rarest: all the way


def test_a_balanced_order_balances():
    q = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    order = balanced_order(q, 3)
    assert sorted(order) == list(range(6))
    before = Ownership(6, 3).masses(q)
    np.testing.assert_allclose(before, [0.55, 0.3, 0.15])
    np.testing.assert_allclose(Ownership(6, 3).masses(q[order]), [0.35, 0.35, 0.3])
    assert [block.tolist() for block in np.split(order, 3)] == [[0, 5], [1, 4], [2, 3]]


def test_ownership_is_checked():
    with pytest.raises(ValueError, match=r"at least the number of replicas.*Received: num_clus"):
        Ownership(2, 3)
    with pytest.raises(ValueError, match="for all 1 clusters of replica 2"):
        Ownership(4, 3).masses([0.5, 0.25, 0.25, 0.0])


def steady_risk(make, draws, curvature=0.5, rate=0.1, noise=0.3):
    """The steady excess risk on a coordinate of clustered least squares, exact.

    A step is linear in (theta, g^1, ..., g^K, 1) for each draw, so second moments follow a linear
    recursion; its columns and those of the noise are read off the oracle.
    """
    optima = np.array([-1.0, 2.0, 0.5, -1.5])
    k = len(optima)

    def step(state, clusters, noises):
        theta, buffers, one = state[0], state[1:-1], state[-1]
        variate = make()
        variate.buffers[0] = {i: np.array([b]) for i, b in enumerate(buffers)}
        group = curvature * (theta - one * optima[clusters]) + noises
        (v,) = variate.correct([group[:, None]], clusters)
        return np.array([theta - rate * v[0], *(variate.buffers[0][i][0] for i in range(k)), one])

    size, moves, shocks = k + 2, 0.0, 0.0
    for clusters, probability in draws:
        silent = np.zeros(len(clusters))
        matrix = np.stack([step(e, clusters, silent) for e in np.eye(size)], axis=1)
        moves = moves + probability * np.kron(matrix, matrix)
        for e in np.eye(len(clusters)):
            column = step(np.zeros(size), clusters, noise * e)
            shocks = shocks + probability * np.kron(column, column)
    # The last entry of the moments is 1; solve for the others.
    free = np.arange(size**2 - 1)
    system = np.eye(size**2 - 1) - moves[np.ix_(free, free)]
    moments = np.linalg.solve(system, moves[free, -1] + shocks[free])
    mean = optima.mean()
    delta = moments[0] - 2 * mean * moments[size - 1] + mean**2
    return 0.5 * curvature * delta


@pytest.mark.parametrize("gain", [1.0, 0.3])
@pytest.mark.parametrize("each", [1, 2])
def test_the_steady_risk_is_that_of_the_central_scheme(each, gain):
    """Four clusters, two replicas: within 5 % of the central scheme with as many groups."""
    q = [0.25] * 4
    own = [(np.array(k), p) for k, _, p in oracle.all_draws(q, 2, each, 1)]
    every = [(np.array(k), p) for k, _, p in oracle.all_draws(q, 1, 2 * each, 1)]
    owned = steady_risk(lambda: oracle.OwnedControlVariate([(1,)], q, 2, 0.1, gain), own)
    central = steady_risk(lambda: ControlVariate([(1,)], 4, 0.1, q, gain=gain), every)
    print(f"{each} groups, gain {gain}: owned {owned:.4g}, central {central:.4g}")
    assert owned == pytest.approx(central, rel=0.05)
