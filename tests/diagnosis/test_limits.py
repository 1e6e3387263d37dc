"""Limits: the time that is left, and how many examples fit into it."""

import math

from tests.diagnosis.tiny import data, network
from tf_gradvar import diagnose
from tf_gradvar.diagnosis.limits import SHARE_OF_TIME, Clock, choose


def test_a_clock():
    times = iter([10.0, 13.0, 13.0, 18.0, 19.0, 19.0])
    clock = Clock(10.0, lambda: next(times))
    assert clock.elapsed == 3.0
    assert clock.left == 7.0
    assert clock.is_short
    assert clock.left == 1.0
    endless = Clock(None, lambda: next(times))
    assert endless.left == math.inf
    assert not endless.is_short


def test_what_fits():
    assert choose("full", 100, 1e-3, math.inf).reason == "all"
    assert choose("economy", 10**6, 1e-3, math.inf).count == 2000
    few = choose("economy", 10**6, 1.0, 100.0)
    assert (few.count, few.reason) == (int(SHARE_OF_TIME * 100), "time")
    assert choose("full", 100, 1.0, -3.0).count == 0


def test_more_than_fits_is_not_looked_at(monkeypatch):
    """With a slow look, a subset is taken, and no clusters are tried."""
    x, y = data(3000)
    monkeypatch.setattr("tf_gradvar.diagnosis.limits.SHARE_OF_TIME", 1e-4)
    monkeypatch.setattr("tf_gradvar.diagnosis.limits.Clock.is_short", property(lambda self: True))
    report = diagnose(network(), x, y, time_limit=60, verbose=False)
    assert report.setting.reason == "time"
    assert 64 <= report.setting.examined < 3000
    assert "would not fit into the time limit of 60 s" in str(report)
    assert "Gradient clusters were not tried" in str(report)
    assert "clusters" not in {option.kind for option in report.options}
