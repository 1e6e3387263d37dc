"""The shared checks: what they accept, and the sentence for what they refuse."""

import numpy as np
import pytest

from tf_gradvar.arguments import (
    check_count,
    check_num_clusters,
    check_number,
    check_probabilities,
)


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_counts(value):
    count = check_count("rows", value, "the rows")
    assert count == value
    assert type(count) is int
    assert check_num_clusters(value) == value


@pytest.mark.parametrize("value", [0, -2, 1.0, "2", None, True, np.array([1, 2])], ids=repr)
def test_not_a_count(value):
    with pytest.raises(
        ValueError, match=r"`rows` must be an integer of at least 1, the rows\. Rec"
    ):
        check_count("rows", value, "the rows")


INTERVALS = [
    (
        {"low": 0, "high": 1},
        "[0, 1]",
        [0, 0.5, 1, np.float32(0.25), "0.5"],
        [-1e-9, 1.1, "x", None],
    ),
    ({"low": 0, "high": 1, "low_open": True}, "(0, 1]", [1e-9, 1], [0, np.nan]),
    ({"low": 0, "high": 1, "high_open": True}, "[0, 1)", [0, 0.999], [1, np.inf]),
]


@pytest.mark.parametrize(("rule", "text", "good", "bad"), INTERVALS, ids=[i[1] for i in INTERVALS])
def test_numbers(rule, text, good, bad):
    for value in good:
        number = check_number("rate", value, **rule)
        assert type(number) is float
        assert number == float(value)
    for value in bad:
        with pytest.raises(ValueError, match="`rate` must be a number in") as error:
            check_number("rate", value, **rule)
        assert text in str(error.value)
        assert f"rate={value!r}" in str(error.value)


@pytest.mark.parametrize(
    "value", [[0.5, 0.5], (0, 1), np.array([0.25, 0.75], "float32"), [0.5, 0.5 + 9e-7]], ids=repr
)
def test_probabilities(value):
    probabilities = check_probabilities(value, 2)
    assert probabilities == pytest.approx(list(value))
    assert {type(p) for p in probabilities} == {float}


def test_no_probabilities_stand_for_uniform():
    assert check_probabilities(None, 5) is None


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([1.0], r"num_clusters=2 clusters.*shape \(1,\).*Pass None for uniform"),
        ([1.5, -0.5], r"must not be negative.*\[1\.5, -0\.5\]"),
        ([np.nan, 1.0], "must not be negative"),
        ([0.5, 0.49], r"must sum to 1.*sum to 0\.99.*Divide"),
    ],
    ids=["length", "negative", "nan", "sum"],
)
def test_no_probabilities(value, match):
    with pytest.raises(
        ValueError, match=f"`cluster_probabilities` {match}" if "num" not in match else match
    ):
        check_probabilities(value, 2)


def test_long_probabilities_are_shortened():
    values = [-1.0] + [0.0] * 99
    with pytest.raises(ValueError, match=r"\[-1, 0, 0, 0, 0, 0, 0, 0, \.\.\.\]"):
        check_probabilities(values, 100)
