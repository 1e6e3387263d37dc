"""What `--over` and its companions say, and what they refuse."""

import json
import math

import pytest

from keras_apps.experiments.sweep import Sweep, Varied, assignments


def sweep(*over, search="grid", trials=None, choose="training_loss"):
    return Sweep.of(over, search, trials, choose, 0)


def test_a_grid_has_every_combination_once():
    found = sweep("a=1,2", "b.c=x,y,z").grid()
    assert [tuple(point.values()) for point in found] == [
        (a, b) for a in ("1", "2") for b in ("x", "y", "z")
    ]
    assert assignments(found[-1]) == ["a=2", "b.c=z"]


def test_values_with_commas():
    assert Varied.parsed('seeds=["0,1", "2"]').values == ("0,1", "2")


@pytest.mark.parametrize(
    ("text", "ends", "scale"),
    [
        ("a=8..64", ("8", "64"), "linear"),
        ("a=0.5..2", ("0.5", "2"), "linear"),
        ("a=log:1e-3..0.1", ("0.001", "0.1"), "log"),
    ],
)
def test_ranges(text, ends, scale):
    varied = Varied.parsed(text)
    assert varied.is_range
    assert (varied.ends, varied.scale) == (ends, scale)


def test_corners_hold_every_value_and_both_ends():
    corners = sweep("a=1,2,3", "b=0..9", search="random", trials=5).corners()
    assert {point["a"] for point in corners} == {"1", "2", "3"}
    assert {point["b"] for point in corners} == {"0", "9"}


def test_as_json_it_equals_itself():
    ranges = sweep("a=1,2", "b=log:0.1..9", search="tpe", trials=5)
    assert json.loads(json.dumps(ranges.to_json())) == ranges.to_json()
    assert not math.isnan(ranges.to_json()["over"][1]["low"])


def test_accuracies_are_best_where_they_are_large():
    assert sweep("a=1").worst == math.inf
    assert sweep("a=1", choose="test_accuracy").worst == -math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"over": ()}, "`--over` must name at least one field"),
        ({"over": ("a=1", "a=2")}, "none twice. Received: .'a', 'a'."),
        ({"over": ("a",)}, "must be KEY=VALUE,VALUE or KEY=LOW..HIGH. Received: --over 'a'"),
        ({"over": ("=1",)}, "must be KEY=VALUE"),
        ({"over": ("a=1,1",)}, "at least one value, and none twice"),
        ({"over": ("a=,",)}, "at least one value"),
        ({"over": ("a=[1]",)}, "JSON list of strings"),
        ({"over": ("a=2..1",)}, "the first one smaller"),
        ({"over": ("a=log:0..1",)}, "above 0 after 'log:'"),
        ({"over": ("a=x..1",)}, "a range LOW..HIGH of two numbers"),
        ({"over": ("a=1..2",)}, "takes values, no ranges"),
        ({"over": ("a=1",), "trials": 3}, "Received: --trials 3"),
        ({"over": ("a=1",), "search": "random"}, "needs `--trials N`"),
        ({"over": ("a=1",), "search": "tpe", "trials": 0}, "needs `--trials N`, at least 1"),
    ],
    ids=str,
)
def test_refused(arguments, message):
    given = {"search": "grid", "trials": None, "choose": "training_loss", "seed": 0} | arguments
    with pytest.raises(ValueError, match=message):
        Sweep.of(**given)
