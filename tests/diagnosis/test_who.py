"""The findings together: what is said, what is skipped and why, and the table of scores."""

import csv

import numpy as np
import pytest

from tests.oracles import who_oracle
from tf_gradvar.diagnosis.example_measurements import ExampleMeasurements
from tf_gradvar.diagnosis.who import examine

N = 30


def measurements(g, labels=None, **changes):
    """Measurements whose sketches are the gradients themselves."""
    count = len(g)
    fields = {
        "indices": np.arange(count),
        "squared_norms": np.square(g).sum(axis=1),
        "sketches": g.astype("float32"),
        "losses": np.linalg.norm(g, axis=1),
        "labels": labels,
        "predictions": None if labels is None else np.zeros(count, np.int64),
        "left_out": np.array([], np.int64),
        "count": count,
    }
    return ExampleMeasurements(**fields | changes)


def gradients(count=N, size=5):
    return np.random.default_rng(0).normal(size=(count, size))


def test_a_finding_for_the_classes_and_each_column():
    g, labels = gradients(), np.arange(N) % 3
    source = np.where(np.arange(N) < 12, "a", "b")
    found = examine(measurements(g, labels), {"source": source, "half": labels > 0})
    for noise, ids in ((found.by_class, labels), (found.by_column["source"], source)):
        raw = who_oracle.between_noise(g, ids.tolist()) / who_oracle.total_noise(g)
        np.testing.assert_allclose(noise.raw_share, raw, rtol=1e-5)
    assert list(found.by_column) == ["source", "half"]
    assert found.skipped == {}
    assert set(found.adjusted_p_values) == {"class", "source", "half"}


def test_adjusted_p_values_are_those_of_holm():
    g, labels = gradients(), np.arange(N) % 2
    g[labels == 1] += 2.0
    columns = {"source": np.arange(N) % 3, "day": np.arange(N) // 15}
    found = examine(measurements(g, labels), columns)
    p = {"class": found.by_class.p_value} | {n: c.p_value for n, c in found.by_column.items()}
    first, second, third = sorted(p, key=p.get)
    assert first == "class"
    assert found.adjusted_p_values["class"] == pytest.approx(3 * p["class"])
    expected = min(1.0, max(3 * p[first], 2 * p[second]))
    assert found.adjusted_p_values[second] == pytest.approx(expected)
    assert found.adjusted_p_values[third] == pytest.approx(min(1.0, max(expected, p[third])))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros(N, int), "All 30 examples have the same value, '0'."),
        ([str(i) for i in range(N)], "Each of the 30 examples has a value of its own."),
        ([None] * N, "All 30 examples have the same value, '(missing)'."),
    ],
    ids=["constant", "all different", "all missing"],
)
def test_columns_that_say_nothing(values, sentence):
    found = examine(measurements(gradients()), {"source": values})
    assert found.skipped == {"source": sentence}
    assert found.by_column == {}


def test_equal_gradients():
    labels = np.arange(N) % 2
    found = examine(measurements(np.ones((N, 3)), labels), {"source": labels})
    assert set(found.skipped) == {"class", "source"}
    assert "no noise" in found.skipped["class"]
    assert found.duplicates.spare == N - 1
    assert found.concentration.standard_error == pytest.approx(0.0)


def test_no_gradient_at_all():
    found = examine(measurements(np.zeros((N, 3)), np.arange(N) % 2))
    assert found.duplicates.spare == 0
    assert found.concentration.idle.all()
    assert not found.scores["second_moment_share"].any()


def test_one_class():
    found = examine(measurements(gradients(), np.full(N, 7)))
    assert found.by_class is None
    assert found.wrong_labels is None
    assert "same value, '7'" in found.skipped["class"]
    assert "wrong_label_score" not in found.scores


def test_no_classes():
    found = examine(measurements(gradients()), {"class": np.arange(N) % 2})
    assert found.by_class is None
    assert found.wrong_labels is None
    assert list(found.by_column) == ["class"]
    assert list(found.scores) == [
        "index", "loss", "norm", "second_moment_share", "duplicate_group", "idle"]  # fmt: skip


def test_a_column_that_is_named_class_too():
    labels = np.arange(N) % 3
    found = examine(measurements(gradients(), labels), {"class": np.arange(N) % 2})
    assert [row.size for row in found.by_class.rows] == [10, 10, 10]
    assert list(found.by_column) == ["class (metadata)"]


@pytest.mark.parametrize("labels", [None, np.array([0, 0]), np.array([0, 1])], ids=str)
def test_two_examples(labels):
    found = examine(measurements(gradients(2), labels), {"source": ["a", "b"]})
    assert "source" in found.skipped
    assert len(found.scores["norm"]) == 2


def test_one_example_is_refused():
    with pytest.raises(ValueError, match=r"`measurements` must hold at least 2 examples.*: 1"):
        examine(measurements(gradients(1)))


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_seeds_that_are_none(seed):
    with pytest.raises(ValueError, match="`seed` must be a non-negative integer"):
        examine(measurements(gradients()), seed=seed)


def test_metadata_belong_to_all_examples_of_the_data():
    g = gradients()
    kept = np.delete(np.arange(N + 4), [3, 8, 9, 20])
    found_in = measurements(g, indices=kept, left_out=np.array([3, 8]), count=N + 4)
    source = np.arange(N + 4) % 3
    found = examine(found_in, {"source": source})
    raw = who_oracle.between_noise(g, source[kept].tolist()) / who_oracle.total_noise(g)
    np.testing.assert_allclose(found.by_column["source"].raw_share, raw, rtol=1e-5)
    np.testing.assert_array_equal(found.left_out, [3, 8])
    with pytest.raises(ValueError, match="one entry for each of the 34 examples"):
        examine(found_in, {"source": source[kept]})


def test_names_of_classes():
    labels = np.where(np.arange(N) % 2, "cat", "dog")
    found = examine(measurements(gradients(), labels))
    assert {row.group for row in found.by_class.rows} == {"cat", "dog"}


def test_the_table_of_scores(tmp_path):
    g, labels = gradients(), np.arange(N) % 3
    g[5] = g[2]
    found = examine(measurements(g, labels))
    norms = np.linalg.norm(g, axis=1)
    np.testing.assert_allclose(found.scores["norm"], norms, rtol=1e-12)
    shares = norms**2 / (norms**2).sum()
    np.testing.assert_allclose(found.scores["second_moment_share"], shares, rtol=1e-12)
    assert found.scores["duplicate_group"][2] == found.scores["duplicate_group"][5] == 0
    assert (found.duplicates.num_groups, found.duplicates.spare) == (1, 1)
    assert found.duplicates.spare_part == 1 / N
    found.save_scores(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N
    assert list(rows[0]) == list(found.scores)
    np.testing.assert_allclose([float(row["norm"]) for row in rows], norms, rtol=1e-12)
    assert [row["duplicate_group"] for row in rows].count("-1") == N - 2


def test_the_same_seed_says_the_same():
    metadata = {"source": np.arange(N) % 4}
    first, second = (examine(measurements(gradients()), metadata, seed=3) for _ in range(2))
    assert first.by_column == second.by_column
