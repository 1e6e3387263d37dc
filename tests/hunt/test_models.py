"""Random models against a plain loop over their examples."""

from dataclasses import replace

import hypothesis
import pytest
import tensorflow as tf

from tests.hunt import cases, settings
from tests.hunt.checking import UnusableError, check
from tests.hunt.models import problems


@pytest.mark.parametrize("seed", settings.seeds(settings.MODELS))
def test_random_models(seed, record_property):
    counts = {}

    def one(problem):
        outcome = "wrong"
        try:
            outcome = check(problem)
        except UnusableError as reason:
            outcome = "unusable"
            hypothesis.note(str(reason))
        finally:
            counts[outcome] = counts.get(outcome, 0) + 1

    try:
        settings.hunt(seed, problems(), one, settings.MODELS)
    finally:
        for outcome, count in counts.items():
            record_property(outcome, count)
    assert counts.get("unusable", 0) <= 0.2 * sum(counts.values())
    assert counts.get("right", 0) >= 0.4 * sum(counts.values())


@pytest.mark.parametrize("name", cases.CASES)
def test_found_cases(name):
    """What was wrong once stays right."""
    check(cases.CASES[name])


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="a GPU has the gradient")
def test_what_keras_cannot_run_is_no_fault():
    problem = replace(cases.CASES["grouped convolution in float64"], call="plain")
    with pytest.raises(UnusableError, match="not supported on CPU"):
        check(problem)
