"""Models that were measured wrong once, or crashed, each with what was wrong."""

from tests.hunt.problem import Problem

CASES: dict[str, Problem] = {}
