"""A search tries as many candidates as it may, each once, and ends between worse rates."""

import math

import pytest

from keras_apps.experiments.search import (
    Candidate,
    badness,
    candidates,
    grid,
    missing_beside,
    shown,
)

SEARCH = {"gain": (1.0, 0.1, "alpha"), "learning_rate": (0.1, 0.2, 0.4)}


def tried(search, runs, seed, loss):
    """What is tried one after the other where `loss` is the score of a candidate."""
    scores = {}

    def score(candidate):
        return scores.get(candidate.name)

    while True:
        found = candidates(search, runs, seed, score)
        missing = [candidate for candidate in found if candidate.name not in scores]
        if not missing:
            return found
        scores.update({candidate.name: loss(candidate) for candidate in missing})


def flat(candidate):
    return 1.0


def rising(candidate):
    return candidate.learning_rate


def test_the_grid_is_every_combination():
    names = [candidate.name for candidate in grid(SEARCH)]
    assert names == [
        *("lr0.1-gain1", "lr0.2-gain1", "lr0.4-gain1"),
        *("lr0.1-gain0.1", "lr0.2-gain0.1", "lr0.4-gain0.1"),
        *("lr0.1-gainalpha", "lr0.2-gainalpha", "lr0.4-gainalpha"),
    ]
    assert grid({"learning_rate": (0.1,)}) == [Candidate(0.1)]


def test_values_for_readers():
    assert [shown(value) for value in (0.25, 1e-05, 3, "alpha", True)] == [
        *("0.25", "1e-05", "3", "alpha", "True")
    ]


@pytest.mark.parametrize("seed", range(5))
def test_three_quarters_are_drawn_from_the_grid_at_once(seed):
    first = candidates(SEARCH, 6, seed, lambda candidate: None)
    assert len(first) == 5
    assert len({candidate.name for candidate in first}) == 5
    assert all(candidate in grid(SEARCH) for candidate in first)
    assert candidates(SEARCH, 6, seed, lambda candidate: None) == first


def test_other_seeds_draw_others():
    drawn = {
        tuple(c.name for c in candidates(SEARCH, 6, seed, lambda candidate: None))
        for seed in range(5)
    }
    assert len(drawn) == 5


@pytest.mark.parametrize("runs", [1, 2, 3, 4, 7, 9])
@pytest.mark.parametrize("loss", [flat, rising, lambda candidate: math.nan])
def test_every_run_of_the_budget_tries_another_candidate(runs, loss):
    found = tried(SEARCH, runs, 0, loss)
    assert len(found) == len({candidate.name for candidate in found}) == runs


def test_the_search_goes_on_beyond_the_grid_while_that_is_better():
    search = {"learning_rate": (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)}
    rates = [candidate.learning_rate for candidate in tried(search, 8, 0, rising)]
    assert 0.2 not in rates[:6]
    assert min(rates[:6]) == 0.1
    assert rates[6:] == [0.2, 0.05]


@pytest.mark.parametrize("seed", range(20))
def test_the_best_lies_between_worse_rates_if_the_runs_suffice(seed):
    search = {"learning_rate": tuple(2.0**k for k in range(8)), "nu": (0.1, 0.9)}

    def valley(candidate):
        return abs(math.log2(candidate.learning_rate) - 3) + candidate.arguments["nu"]

    found = tried(search, 16, seed, valley)
    best = min(found, key=valley)
    assert best == Candidate(8.0, {"nu": 0.1})
    assert missing_beside(best, found) == []


def test_what_is_missing_beside_a_candidate():
    best = Candidate(0.4, {"nu": 0.9})
    above, below = Candidate(0.8, {"nu": 0.9}), Candidate(0.2, {"nu": 0.9})
    assert missing_beside(best, [best]) == [above, below]
    assert missing_beside(best, [best, Candidate(0.8, {"nu": 0.7})]) == [above, below]
    assert missing_beside(best, [best, Candidate(1.6, {"nu": 0.9})]) == [above, below]
    assert missing_beside(best, [best, Candidate(0.5, {"nu": 0.9})]) == [below]
    assert missing_beside(best, [best, below]) == [above]


def test_what_does_not_end_is_the_worst_and_the_smaller_rate_wins_a_tie():
    small, large = Candidate(0.1), Candidate(0.2)
    assert badness(small, 1.0) < badness(large, 1.0) < badness(small, 1.1)
    for score in (math.nan, math.inf, None):
        assert badness(small, 1e9) < badness(small, score)
