"""Noise between groups against the definitions, all deals of a tiny problem, and all sketches."""

import itertools

import numpy as np
import pytest

from tests.oracles import who_oracle
from tf_gradvar.diagnosis.columns import as_column
from tf_gradvar.diagnosis.group_noise import Noise, noise_by_group, products_with_own_mean

IDS = np.array([0, 1, 0, 2, 1, 0, 1])


def gradients(count=7, size=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size)) + 0.3


def noise_of(g):
    """Sketches that are the gradients themselves."""
    return Noise.of(np.square(g).sum(axis=1), g.astype("float32"))


def found_of(g, ids, **options):
    return noise_by_group(noise_of(g), as_column("source", ids), seed=0, **options)


def test_shares_follow_the_definitions():
    g = gradients()
    found = found_of(g, IDS)
    total, between = who_oracle.total_noise(g), who_oracle.between_noise(g, IDS)
    np.testing.assert_allclose(noise_of(g).total, total, rtol=1e-6)
    np.testing.assert_allclose(found.raw_share, between / total, rtol=1e-6)
    assert found.chance_share == 2 / 6
    np.testing.assert_allclose(found.share, (between / total - 1 / 3) / (2 / 3), rtol=1e-5)


def test_the_corrected_share_is_zero_on_average_over_all_deals():
    g = gradients(6)
    ids = np.array([0, 0, 0, 1, 1, 2])
    mean, _ = who_oracle.share_of_deals(g, ids)
    np.testing.assert_allclose(mean, 2 / 5, rtol=1e-10)
    found = [
        found_of(g, np.array(d), permutations=1).share
        for d in set(map(tuple, who_oracle.deals(ids)))
    ]
    assert abs(np.mean(found)) < 1e-6


def test_the_p_value_is_that_of_all_deals():
    g = gradients(seed=5)
    g[IDS == 0] += 0.8
    _, exact = who_oracle.share_of_deals(g, IDS)
    found = found_of(g, IDS, permutations=4000)
    assert 0.005 < exact < 0.5
    np.testing.assert_allclose(found.p_value, exact, atol=5 * np.sqrt(exact / 4000))


def test_p_values_of_groups_that_mean_nothing_are_uniform():
    rng = np.random.default_rng(0)
    shares, rows = [], []
    for seed in range(150):
        g = rng.standard_t(3, size=(40, 4))
        found = noise_by_group(noise_of(g), as_column("s", rng.integers(0, 4, 40)), seed, 99)
        shares.append(found.p_value)
        rows.append(min(row.p_value for row in found.rows))
    for p_values in (shares, rows):
        for level in (0.05, 0.25, 0.5):
            rate = np.mean(np.array(p_values) <= level)
            assert abs(rate - level) < 3.5 * np.sqrt(level * (1 - level) / 150)


def test_rows_follow_the_definitions():
    g = gradients()
    found = {row.group: row for row in found_of(g, IDS).rows}
    mean = g.mean(axis=0)
    deviations = np.array([(row - mean) @ (row - mean) for row in g])
    norms = np.array([row @ row for row in g])
    for k, size in enumerate((3, 3, 1)):
        row, inside = found[str(k)], k == IDS
        assert row.size == size
        np.testing.assert_allclose(
            row.noise_share, deviations[inside].sum() / deviations.sum(), rtol=1e-5
        )
        np.testing.assert_allclose(
            row.second_moment_share, norms[inside].sum() / norms.sum(), rtol=1e-6
        )
        np.testing.assert_allclose(
            row.relative_noise, deviations[inside].mean() / deviations.mean(), rtol=1e-5
        )
        order = [sum(d <= value for d in deviations) for value in deviations]
        mean_rank = np.mean([order[i] for i in np.flatnonzero(inside)])
        np.testing.assert_allclose(row.typical_rank, mean_rank / 4, rtol=1e-12)
        if size > 1:
            error = deviations[inside].std(ddof=1) / np.sqrt(size) / deviations.mean()
            np.testing.assert_allclose(row.standard_error, error, rtol=1e-4)
        else:
            assert np.isnan(row.standard_error)
    noises = [row.relative_noise for row in found_of(g, IDS).rows]
    assert noises == sorted(noises, reverse=True)


def test_a_noisy_group_is_named():
    g = gradients(200, 6)
    ids = np.arange(200) % 5
    mean = g.mean(axis=0)
    g[ids == 3] = mean + 2.0 * (g[ids == 3] - mean)
    rows = found_of(g, ids).rows
    assert rows[0].group == "3"
    assert rows[0].p_value == 1 / 500
    assert rows[0].typical_rank > 1
    assert max(row.typical_rank for row in rows[1:]) < 1


def test_a_quiet_group_is_told_from_a_noisy_one_in_spite_of_a_few_large_gradients():
    g = gradients(200, 6)
    ids = np.arange(200) % 5
    g[ids == 3] *= 0.3
    g[3] *= 100.0
    rows = {row.group: row for row in found_of(g, ids).rows}
    assert rows["3"].relative_noise > 1
    assert rows["3"].typical_rank < 0.6
    assert rows["3"].p_value == 1 / 500
    assert all(rows[k].typical_rank > 1 for k in "0124")


def test_means_are_unbiased_over_all_sketches():
    """Every sign of a projection to one number: its expectation is the exact product."""
    g = gradients(5, 6)
    ids = np.array([0, 1, 0, 1, 1])
    norms = np.square(g).sum(axis=1)
    found, shares = [], []
    for signs in itertools.product((-1.0, 1.0), repeat=6):
        sketches = (g @ np.array(signs))[:, None]
        found.append(products_with_own_mean(norms, sketches, ids))
        shares.append(found[-1].mean())
    means = np.stack([g[ids == k].mean(axis=0) for k in range(2)])
    np.testing.assert_allclose(np.mean(found, axis=0), (g @ means.T)[np.arange(5), ids], rtol=1e-12)
    squared = sum((ids == k).mean() * (means[k] @ means[k]) for k in range(2))
    np.testing.assert_allclose(np.mean(shares), squared, rtol=1e-12)


def test_the_standard_error_covers_the_share_of_a_population():
    """Shares of samples scatter around that of the population as the standard errors say."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(3, 4))

    def sample(count):
        ids = rng.integers(0, 3, count)
        return found_of(centres[ids] + rng.normal(size=(count, 4)), ids, permutations=1)

    truth = sample(200_000).share
    scores = [
        (found.share - truth) / found.standard_error for found in (sample(300) for _ in range(200))
    ]
    assert 0.85 < np.std(scores) < 1.15
    assert abs(np.mean(scores)) < 0.3


@pytest.mark.parametrize("permutations", [1, 20])
def test_p_values_are_never_zero(permutations):
    g = np.repeat([[0.0, 1.0], [1.0, 0.0]], 10, axis=0)
    found = found_of(g, np.repeat([0, 1], 10), permutations=permutations)
    np.testing.assert_allclose(found.share, 1.0, atol=1e-6)
    assert found.p_value <= 1 / (1 + permutations) + 0.5
    assert found.p_value >= 1 / (1 + permutations)


def test_equal_gradients_have_no_noise():
    found = found_of(np.ones((6, 3)), np.array([0, 0, 1, 1, 2, 2]))
    assert (found.raw_share, found.share, found.standard_error, found.p_value) == (0, 0, 0, 1)
    assert all(row.relative_noise == 0 and row.p_value == 1 for row in found.rows)


def test_the_same_seed_gives_the_same_p_values():
    g, ids = gradients(seed=2), IDS % 2
    assert found_of(g, ids) == found_of(g, ids)


def test_large_data_are_tested_on_some_examples():
    g = gradients(9000, 2)
    ids = np.arange(9000) % 3
    g[ids == 1] += 1.0
    found = found_of(g, ids, permutations=99)
    assert found.p_value == 0.01
    np.testing.assert_allclose(
        found.raw_share, who_oracle.between_noise(g, ids) / who_oracle.total_noise(g), rtol=1e-5
    )
