"""Quiet logs, and the totals of a hunt below the tests' results."""

import collections
import logging

import keras
import pytest

from tests.hunt import settings


@pytest.fixture(autouse=True)
def quiet():
    """Neither TensorFlow's errors of what cannot be vectorised, nor the fallback's notes."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf_gradvar.per_example")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    keras.backend.clear_session()


def pytest_report_header():
    return (
        f"hunt: HUNT_SEED={settings.SEED} HUNT_MODELS={settings.MODELS}: {settings.MODELS} models, "
        f"{settings.RUNS} runs of optimizers, {settings.SAMPLERS} samplers of each kind"
    )


def pytest_terminal_summary(terminalreporter):
    """Print what became of the models, from all processes."""
    totals = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, count in getattr(report, "user_properties", []):
                if getattr(report, "when", "") == "call" and "tests/hunt" in report.nodeid:
                    totals[name] += count
    if totals:
        found = ", ".join(f"{count} {name}" for name, count in sorted(totals.items()))
        terminalreporter.write_line(f"hunt: HUNT_SEED={settings.SEED}: models: {found}")
