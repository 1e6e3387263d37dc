"""The one rule of assignments, what is counted from them, and that nobody has another rule."""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tf_gradvar import assignments as room
from tf_gradvar.assignments import check_assignments

CAT_DOG = pd.Categorical(["dog", None, "cat", "dog"], categories=["dog", "ant", "cat"])
BIG = 2**32

ACCEPTED = {
    "list": ([0, 2, 2], [0, 1, 1]),
    "gaps": (np.array([7, -1, 3, 7]), [1, -1, 0, 1]),
    "column as of CIFAR": (np.array([[3], [1], [3]], np.uint8), [1, 0, 1]),
    "bools": ([True, False, True], [1, 0, 1]),
    "one value": ([5, 5, 5], [0, 0, 0]),
    "strings": (np.array(["cat", "ant", "cat"]), [1, 0, 1]),
    "column of strings": (np.array([["b"], ["a"]]), [1, 0]),
    "objects of strings": (np.array(["cat", "ant"], object), [1, 0]),
    "bytes of tf.data": (np.array([b"cat", b"ant"], object), [1, 0]),
    "string tensor": (tf.constant(["cat", "ant"]), [1, 0]),
    "objects of integers": (np.array([4, 2], object), [1, 0]),
    "tensor": (tf.constant([4, 2], tf.int8), [1, 0]),
    "categorical": (CAT_DOG, [0, -1, 1, 0]),
    "series of categories": (pd.Series(CAT_DOG), [0, -1, 1, 0]),
    "series of strings": (pd.Series(["b", "a"]), [1, 0]),
    "series": (pd.Series([9, 8, 9], index=[2, 1, 0]), [1, 0, 1]),
    "data frame": (pd.DataFrame({"label": [9, 8]}), [1, 0]),
    "result of a clustering": (SimpleNamespace(assignments=np.array([2, 0])), [1, 0]),
    "beyond int32": (np.array([BIG, 0, 1]), [2, 0, 1]),
    "uint64": (np.array([3, 2], np.uint64), [1, 0]),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted(name):
    given, expected = ACCEPTED[name]
    found = check_assignments(given)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_numbers_stay_where_the_number_of_clusters_is_fixed():
    np.testing.assert_array_equal(check_assignments([3, -1, 3], num_clusters=4), [3, -1, 3])
    np.testing.assert_array_equal(check_assignments(["b", "a"], num_clusters=4), [1, 0])
    np.testing.assert_array_equal(check_assignments(CAT_DOG, num_clusters=3), [0, -1, 2, 0])
    kept = check_assignments([-1, -1], num_clusters=4, all_left_out=True)
    np.testing.assert_array_equal(kept, [-1, -1])


def test_the_given_array_stays_as_it_is():
    given = np.array([5, 3, 5])
    check_assignments(given)[:] = 9
    check_assignments(given, num_clusters=6)[:] = 9
    np.testing.assert_array_equal(given, [5, 3, 5])


SHAPE = r"`clusters` must be integers of shape \[N\], the cluster of each example"
REFUSED = {
    "wrapping": ([0, BIG], {"num_clusters": 2}, rf"lie in \[0, 2\).*from 0 to {BIG}.*Renumber"),
    "beyond int64": (np.array([0, 2**63], np.uint64), {}, SHAPE),
    "beyond 64 bits": (np.array([0, 2**70], object), {}, SHAPE),
    "too many names": (["a", "b", "c"], {"num_clusters": 2}, r"from 0 to 2\.$"),
    "below -1": ([0, -2], {}, "-1 for examples that are left out, not all of them. .* from -2 to"),
    "all left out": ([-1, -1], {}, "not all of them"),
    "none may be left out": ([0, -1], {"left_out": False}, "for 1 of 2 examples.*clusters >= 0"),
    "floats": ([0.5, 1.0], {}, r"shape \(2,\) and dtype float64\.$"),
    "whole floats": ([0.0, 1.0], {}, r"with `np.asarray\(clusters\).astype\(int\)`"),
    "one-hot rows": (np.eye(3), {}, r"One-hot rows .* `np.argmax\(clusters, axis=-1\)`"),
    "one-hot of bools": (np.eye(3, dtype=bool), {}, "One-hot rows"),
    "rows of numbers": ([[0, 2], [1, 0]], {}, r"shape \(2, 2\) and dtype int64\.$"),
    "two ones in a row": ([[1, 1], [1, 0]], {}, r"dtype int64\.$"),
    "one row": ([[0, 1, 2]], {}, r"shape \(1, 3\) and dtype int64\.$"),
    "a number": (3, {}, r"shape \(\)"),
    "nothing": ([], {}, r"shape \(0,\)"),
    "missing names": (np.array(["a", None], object), {}, "dtype object"),
    "strings and bytes": (np.array(["a", b"a"], object), {}, "dtype object"),
    "another length": ([0, 1], {"count": 3}, r"of shape \(3,\).*Received shape \(2,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    given, rule, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        check_assignments(given, name="clusters", **rule)


def test_empty_clusters_are_named():
    room.check_none_empty(np.array([1, 2]))
    with pytest.raises(ValueError, match="`ids` gives no example of clusters 0, 2 of 3"):
        room.check_none_empty(np.array([0, 2, 0]), "ids")


def test_counts_and_members_against_a_loop():
    rng = np.random.default_rng(0)
    for num_clusters in (1, 2, 5):
        ids = rng.integers(-1, num_clusters, 40)
        expected = [[i for i in range(40) if ids[i] == k] for k in range(num_clusters)]
        found = room.members_of(ids, 40, num_clusters)
        assert [rows.tolist() for rows in found] == expected
        sizes = np.array([len(rows) for rows in expected])
        np.testing.assert_array_equal(room.sizes_of(ids, num_clusters), sizes)
        np.testing.assert_allclose(room.shares_of(ids, num_clusters), sizes / sizes.sum())
        rows, counted = room.rows_by_cluster(ids, num_clusters)
        assert rows.tolist() == [i for members in expected for i in members]
        np.testing.assert_array_equal(counted, sizes)
    assert [rows.tolist() for rows in room.members_of(None, 3)] == [[0, 1, 2]]
    np.testing.assert_array_equal(room.totals_of(np.array([1, 0, 1]), [1, 2, 4], 3), [2, 5, 0])


def test_hashes_tell_assignments_apart():
    assert room.hash_of(np.array([0, 1])) == room.hash_of(np.array([0, 1], np.int8))
    assert room.hash_of(np.array([0, 1])) != room.hash_of(np.array([1, 0]))


# Calls that would be a rule of one's own about assignments, in the rooms that handle them, and who
# may make them: these count, sort or check something else.
ROOMS = ("callbacks", "clustering", "data", "estimators", "sampling", "training")
OWN_RULE = {"bincount", "unique", "argsort", "return_inverse", "issubdtype"}
ELSEWHERE = {
    "clustering/initial.py": {"argsort"},  # of norms
    "clustering/split_merge.py": {"argsort"},  # of spreads
    "data/examples.py": {"unique"},  # of the numbers of examples
    "estimators/norms.py": {"unique"},  # of places in a histogram
    "sampling/cluster_choice.py": {"bincount"},  # of draws, in TensorFlow
    "sampling/cluster_draws.py": {"bincount"},  # of draws, in NumPy
    "sampling/systematic_stream.py": {"argsort"},  # of random bits
    "training/jax_groups.py": {"issubdtype"},  # of the model's variables
}
PACKAGE = Path(room.__file__).parent


def test_nobody_else_has_a_rule():
    for path in sorted(path for part in ROOMS for path in (PACKAGE / part).rglob("*.py")):
        inside = path.relative_to(PACKAGE).as_posix()
        names = {
            n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)
        }
        assert names & OWN_RULE == ELSEWHERE.get(inside, set()), inside


def test_the_room_needs_numpy_alone():
    tree = ast.parse((PACKAGE / "assignments.py").read_text())
    found = {n.names[0].name for n in ast.walk(tree) if isinstance(n, ast.Import)}
    found |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert found == {"__future__", "hashlib", "numpy", "typing"}
