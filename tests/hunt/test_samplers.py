"""Random clusters and settings for the two samplers; every draw is followed and counted."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tests.data.test_stratified_batches import all_counts
from tests.hunt import settings
from tests.hunt.samplers import Groups, assignments_of, group_settings, strata_settings
from tests.oracles import estimator_oracle, stratified_oracle
from tf_gradvar.data import cluster_batches, stratified_batches


def check_groups(case):
    """Follow every draw of `cluster_batches`."""
    settings.note(f"GROUPS = {case!r}")
    ids = assignments_of(case.sizes, abs(case.seed))
    drawn = read_groups(case, ids, case.batches)
    check_batches_of_groups(case, ids, drawn)
    check_passes(np.concatenate([x for x, *_ in drawn]), ids)
    check_choices(case, np.concatenate([k[:: case.group_size] for _, k, *_ in drawn]))
    dataset = make_groups(case, ids)
    state = dataset.sampling.state(case.place)
    assert_same(drawn[case.place :], read_groups(case, ids, case.batches - case.place, state))
    if case.later is not None:
        check_reassigned_groups(case, ids, drawn)


def make_groups(case, ids, state=None, probabilities=None):
    """Return the dataset of a case, with these clusters."""
    x = np.arange(len(ids))
    data = (x, -x, np.float32(x / 2)) if case.weighted else (x, -x)
    if case.source == "dataset":
        data = tf.data.Dataset.from_tensor_slices(data)
    return cluster_batches(
        data,
        ids,
        num_clusters=len(case.sizes),
        group_size=case.group_size,
        groups_per_batch=case.groups_per_batch,
        cluster_probabilities=probabilities or case.probabilities,
        seed=case.seed,
        order=case.order,
        state=state,
        read_ahead=case.read_ahead,
    )


def read_groups(case, ids, batches, state=None, probabilities=None):
    """Return (examples, clusters, labels, weights...) of so many batches."""
    dataset = make_groups(case, ids, state, probabilities)
    return [as_arrays(batch) for batch in dataset.take(batches)]


def as_arrays(batch):
    """Return a batch as (examples, clusters, labels, weights...)."""
    inputs, *rest = batch
    return [inputs["inputs"].numpy(), inputs["cluster_ids"].numpy(), *(r.numpy() for r in rest)]


def assert_same(some, others):
    """The batches are equal, bit for bit."""
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def check_batches_of_groups(case, ids, drawn):
    """Each group is of one cluster, whose name goes with it; labels and weights belong to x."""
    for x, clusters, y, *weights in drawn:
        assert len(x) == case.group_size * case.groups_per_batch
        np.testing.assert_array_equal(clusters, ids[x])
        groups = clusters.reshape(case.groups_per_batch, case.group_size)
        np.testing.assert_array_equal(groups, np.broadcast_to(groups[:, :1], groups.shape))
        np.testing.assert_array_equal(y, -x)
        assert len(weights) == case.weighted
        for weight in weights:
            np.testing.assert_array_equal(weight, np.float32(x / 2))


def check_passes(x, ids):
    """Every example of a cluster is drawn once before any is drawn again."""
    for k in np.unique(ids[ids >= 0]):
        members = np.flatnonzero(ids == k)
        mine = x[ids[x] == k]
        counts = [np.bincount(mine[:end], minlength=len(ids))[members] for end in range(len(mine))]
        assert all(count.max() - count.min() <= 1 for count in counts)


def check_choices(case, choices):
    """Clusters come as often as they should: exactly in a cycle, by chance otherwise."""
    num_clusters, count = len(case.sizes), len(choices)
    found = np.bincount(choices, minlength=num_clusters)
    if case.order == "cycle":
        for start in range(0, count - num_clusters + 1, num_clusters):
            assert sorted(choices[start : start + num_clusters]) == list(range(num_clusters))
        assert found.max() - found.min() <= 1
        return
    q = np.array(case.probabilities or [1 / num_clusters] * num_clusters)
    assert (found[q == 0] == 0).all()
    # Bernstein's bound, at a chance of e^-20 for each cluster.
    bound = np.sqrt(40 * count * q * (1 - q)) + 14
    assert (np.abs(found - count * q) <= bound).all()


def check_reassigned_groups(case, ids, drawn):
    """From the change on, batch number n is that of a new dataset of the new clusters."""
    dataset = make_groups(case, ids)
    batches = iter(dataset)
    before = [as_arrays(next(batches)) for _ in range(case.place)]
    assert_same(before, drawn[: case.place])
    new_ids = assignments_of(case.later, abs(case.seed) + 1)
    dataset.reassign(new_ids)
    after = [as_arrays(next(batches)) for _ in range(8)]
    shares = dataset.sampling.cluster_probabilities
    np.testing.assert_allclose(shares, np.array(case.later) / sum(case.later), rtol=1e-12)
    whole = read_groups(case, new_ids, case.place + 8, None, list(shares))
    assert_same(after, whole[case.place :])


def expected_draws(case, sizes):
    """Return e_k as fractions, from the docstring: max(B (N_k/N) / bound, c share_k), sum B."""
    K, N = len(sizes), sum(sizes)
    if case.batch_size is None:
        shares = [case.draws] * K if isinstance(case.draws, int) else list(case.draws)
        B = sum(shares)
    else:
        B = case.batch_size
        shares = {
            "proportional": lambda: list(sizes),
            "equal": lambda: [1] * K,
            "neyman": lambda: [n * s for n, s in zip(sizes, case.deviations, strict=True)],
        }[case.allocation]()
    bound = case.max_weight
    if bound == "auto":
        weights = [Fraction(B * n, N * s) for n, s in zip(sizes, shares, strict=True)
                   if case.batch_size is None]  # fmt: skip
        bound = None if weights and max(weights) <= 4 else Fraction(5, 4)
    least = [Fraction(0) if bound is None else B * Fraction(n, N) / Fraction(bound) for n in sizes]
    # Sum over k of max(least_k, c share_k) is piecewise linear in c: try every set of raised k.
    order = sorted(range(K), key=lambda k: -least[k] / shares[k] if shares[k] else -math.inf)
    for raised in range(K + 1):
        free = order[raised:]
        left = B - sum(least[k] for k in order[:raised])
        total = sum(shares[k] for k in free)
        c = Fraction(left) / total if total else Fraction(0)
        if all(c * shares[k] >= least[k] for k in free):
            return [c * shares[k] if k in free else least[k] for k in range(K)]
    raise AssertionError("No share fits.")


def check_strata(case):
    """Follow every draw of `stratified_batches`."""
    settings.note(f"STRATA = {case!r}")
    ids = assignments_of(case.sizes, abs(case.seed), gaps=case.gaps, left_out=case.left_out)
    dataset = make_strata(case, ids)
    expected = expected_draws(case, case.sizes)
    drawn = read_strata(dataset, case.batches)
    check_counts(case, ids, drawn, case.sizes, expected)
    check_passes(np.concatenate([x for x, *_ in drawn]), ids)
    state = dataset.sampling.state(case.place)
    resumed = make_strata(case, ids, state)
    assert_same(drawn[case.place :], read_strata(resumed, case.batches - case.place))
    if len(case.sizes) <= 3 and sum(case.sizes) <= 8 and sum(expected) <= 4:
        check_unbiased(case, ids, dataset.sampling.design, expected)
    if case.later is not None:
        check_reassigned_strata(case, ids, drawn)


def make_strata(case, ids, state=None):
    """Return the dataset of a case, with these clusters."""
    x = np.arange(len(ids))
    data = (x, -x, np.float32(x + 1)) if case.weighted else (x, -x)
    given = {"samples_per_cluster": case.draws} if case.draws is not None else {}
    return stratified_batches(
        data,
        ids,
        batch_size=case.batch_size,
        allocation=case.allocation,
        standard_deviations=case.deviations,
        max_weight=case.max_weight,
        seed=case.seed,
        state=state,
        **given,
    )


def read_strata(dataset, batches):
    """Return (examples, labels, weights) of so many batches."""
    return [[part.numpy() for part in batch] for batch in dataset.take(batches)]


def check_counts(case, ids, drawn, sizes, expected):
    """n_k is e_k rounded up or down, the weights are B (N_k/N) / e_k, and belong to x."""
    numbers = np.unique(ids[ids >= 0])
    total = sum(expected)
    for x, y, weights in drawn:
        assert len(x) == total
        assert (ids[x] >= 0).all()
        np.testing.assert_array_equal(y, -x)
        for k, n, e in zip(numbers, sizes, expected, strict=True):
            mine = ids[x] == k
            assert math.floor(e - 1e-6) <= mine.sum() <= math.ceil(e + 1e-6)
            weight = float(total * Fraction(n, sum(sizes)) / e) if e else 0.0
            own = x[mine] + 1 if case.weighted else 1
            np.testing.assert_allclose(weights[mine], weight * own, rtol=1e-5)


def check_unbiased(case, ids, design, expected):
    """The numbers of draws have the chances of systematic sampling; the mean is unbiased."""
    found: dict = {}
    for chance, counts in all_counts(design):
        found[counts] = found.get(counts, 0.0) + chance
    exact: dict = {}
    for chance, counts in stratified_oracle.all_draws(expected):
        exact[counts] = exact.get(counts, 0.0) + float(chance)
    for counts in {*found, *exact}:
        assert abs(found.get(counts, 0.0) - exact.get(counts, 0.0)) < 1e-6
    gradients = np.random.default_rng(0).normal(size=(len(ids), 2))
    _, dense = np.unique(np.where(ids < 0, np.iinfo(int).max, ids), return_inverse=True)
    estimates = stratified_oracle.estimates(gradients, dense, found_pairs(found), design.weights)
    mean = estimator_oracle.mean(estimates)
    np.testing.assert_allclose(mean, gradients[ids >= 0].mean(axis=0), rtol=1e-6, atol=1e-7)


def found_pairs(found):
    """Return (probability, counts) pairs."""
    return [(chance, counts) for counts, chance in found.items()]


def check_reassigned_strata(case, ids, drawn):
    """From the change on, batch number n is that of a new dataset of the new clusters."""
    dataset = make_strata(case, ids)
    epoch = dataset.sampling.batches_per_epoch
    batches = iter(dataset)
    before = [[part.numpy() for part in next(batches)] for _ in range(case.place)]
    assert_same(before, drawn[: case.place])
    new_ids = assignments_of(case.later, abs(case.seed) + 1, left_out=case.left_out)
    dataset.reassign(new_ids, case.when, standard_deviations=case.deviations)
    starts = case.place if case.when == "now" else -(-case.place // epoch) * epoch
    old = [[part.numpy() for part in next(batches)] for _ in range(starts - case.place)]
    new = [[part.numpy() for part in next(batches)] for _ in range(6)]
    known = min(starts, case.batches) - case.place
    assert_same(old[:known], drawn[case.place : case.place + known])
    assert_same(new, read_strata(make_strata(case, new_ids), starts + 6)[starts:])


@pytest.mark.parametrize("seed", settings.seeds(settings.SAMPLERS))
def test_cluster_batches(seed):
    settings.hunt(seed, group_settings(), check_groups, settings.SAMPLERS)


@pytest.mark.parametrize("seed", settings.seeds(settings.SAMPLERS))
def test_stratified_batches(seed):
    settings.hunt(seed, strata_settings(), check_strata, settings.SAMPLERS)


# Settings that were wrong once.
FOUND = [
    # "enters the loop with shape (1,), but has shape (None,)": one cluster, drawn when asked for.
    Groups(sizes=(1,), read_ahead=False, batches=1),
]


@pytest.mark.parametrize("case", FOUND, ids=repr)
def test_found_cluster_batches(case):
    check_groups(case)
