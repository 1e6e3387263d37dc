"""Columns of every kind, and those that are refused."""

import numpy as np
import pandas as pd
import pytest

from tf_gradvar.diagnosis.columns import MISSING, as_column, read_columns


def column(values):
    return as_column("c", read_columns({"c": values}, len(values))["c"])


def named(values):
    """The name of each example's group."""
    found = column(values)
    return [found.groups[k] for k in found.ids]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "b"], ["b", "a", "b"]),
        ([2, 10, 2], ["2", "10", "2"]),
        ([True, False, True], ["True", "False", "True"]),
        ([1.5, 0.5, 1.5], ["1.5", "0.5", "1.5"]),
        (np.array([b"x", b"y", b"x"]), ["x", "y", "x"]),
        (np.array([[3], [4], [3]]), ["3", "4", "3"]),
        (["a", None, ""], ["a", MISSING, MISSING]),
        ([1.0, np.nan, 1.0], ["1.0", MISSING, "1.0"]),
        ([1, None, 2], ["1", MISSING, "2"]),
        ([1, "a", 1], ["1", "a", "1"]),
        (np.array(["2026-01-02", "NaT"], "datetime64[D]"), ["2026-01-02", MISSING]),
        (pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
        (pd.Series([1, None], dtype="Int64"), ["1", MISSING]),
        ([None, None], [MISSING, MISSING]),
    ],
    ids=str,
)
def test_groups_are_the_values(values, names):
    assert named(values) == names
    assert not column(values).binned


def test_numbers_stand_in_their_order_and_missing_ones_last():
    assert column([10, 9, None, 100]).groups == ("9", "10", "100", MISSING)


@pytest.mark.parametrize("kind", ["floats", "integers", "dates", "missing"])
def test_many_numbers_are_cut_at_quantiles(kind):
    rng = np.random.default_rng(0)
    values = rng.permutation(1000)
    given = {
        "floats": values + 0.5,
        "integers": values,
        "dates": np.datetime64("2026-01-01") + values.astype("timedelta64[D]"),
        "missing": np.where(values < 200, np.nan, values),
    }[kind]
    found = column(given)
    assert found.binned
    assert len(found.groups) == 10 + (kind == "missing")
    present = 800 if kind == "missing" else 1000
    np.testing.assert_array_equal(found.sizes[:10], present // 10)
    for k in range(9):
        assert given[found.ids == k].max() < given[found.ids == k + 1].min()


def test_bins_do_not_cut_equal_values():
    values = np.concatenate([np.zeros(500), np.arange(1, 501)])
    found = column(values)
    assert set(found.ids[:500]) == {0}
    assert found.ids[500:].min() == 0 or found.ids[500:].min() == 1
    assert found.sizes.min() > 0


def test_numbers_with_many_examples_each_stay_groups():
    assert len(column(np.repeat(np.arange(50), 20)).groups) == 50


def test_strings_are_never_binned():
    assert len(column([str(i) for i in range(100)]).groups) == 100


def test_metadata_of_every_form():
    frame = pd.DataFrame({"source": ["a", "b"], "day": [1, 2]})
    structured = np.array([("a", 1), ("b", 2)], dtype=[("source", "U1"), ("day", int)])
    for metadata in (frame, structured, {"source": ["a", "b"], "day": (1, 2)}):
        columns = read_columns(metadata, 2)
        assert list(columns) == ["source", "day"]
        assert as_column("source", columns["source"]).groups == ("a", "b")
        assert as_column("day", columns["day"]).groups == ("1", "2")
    assert read_columns(None, 2) == {}


@pytest.mark.parametrize("given", [["a"], ["a", "b", "c"], [["a", "b"], ["a", "b"]], "ab", 3])
def test_a_column_of_another_length_is_refused(given):
    with pytest.raises(ValueError, match=r"one entry for each of the 2 examples.*'source'"):
        read_columns({"source": given}, 2)


def test_metadata_without_names_are_refused():
    with pytest.raises(ValueError, match=r"`metadata` must map names to columns.*type list"):
        read_columns([1, 2], 2)
