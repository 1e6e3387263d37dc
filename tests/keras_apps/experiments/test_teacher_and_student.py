"""Training sets of a random teacher, against plain NumPy; duplicates; the whole student."""

import keras
import numpy as np
import pytest

from keras_apps.experiments import teacher_and_student
from keras_apps.experiments.teacher_and_student import TeacherAndStudent
from keras_apps.models.random_features import student, teacher
from tests.oracles import logistic_oracle as oracle
from tf_gradvar import SVRG, MiniBatch, Stratified, gradient_variance

SIZES = {"input_size": 6, "teacher_features": 6, "student_features": 6}


def test_models_against_numpy():
    x = np.random.default_rng(0).normal(size=(6, 6)).astype("float32")
    first, second, bias = (w.astype("float64") for w in teacher(6, 7, seed=3).get_weights())
    np.testing.assert_allclose(np.linalg.norm(first, axis=0), 1, rtol=1e-6)
    shown = np.maximum(x @ first, 0) @ second + bias
    np.testing.assert_allclose(teacher(6, 7, seed=3)(x), shown, rtol=1e-5, atol=1e-6)
    assert np.abs(second).max() > 0.5
    assert len({*map(float, second[:, 0]), float(bias[0])}) == 8

    model = student(6, 7, seed=3, l2=0.5)
    frozen, trained = (w.astype("float64") for w in model.get_weights())
    np.testing.assert_allclose(np.linalg.norm(frozen, axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(model(x), np.maximum(x @ frozen, 0) @ trained, rtol=1e-5)
    assert [variable.path for variable in model.trainable_variables] == ["student/output/kernel"]
    assert float(sum(model.losses)) == pytest.approx(0.25 * (trained**2).sum())


def test_the_training_set(monkeypatch):
    """Inputs in several pieces; the labels are signs of the teacher at these very inputs."""
    monkeypatch.setattr(teacher_and_student, "ROWS", 4)
    problem = TeacherAndStudent(examples=11, seed=5, **SIZES).build()
    assert problem.x.shape == (11, 6)
    assert set(np.unique(problem.y)) == {0.0, 1.0}
    assert problem.probabilities == pytest.approx([1 - problem.y.mean(), problem.y.mean()])

    seeds = [int(seed) % 2**30 for seed in np.random.SeedSequence(5).generate_state(3)]
    x = np.random.default_rng(seeds[2]).standard_normal((11, 6), np.float32)
    first, second, bias = teacher(6, 6, seeds[0]).get_weights()
    assert ((np.maximum(x @ first, 0) @ second + bias > 0) == problem.y).all()
    frozen = student(6, 6, seeds[1]).get_weights()[0]
    np.testing.assert_allclose(problem.x, np.maximum(x @ frozen, 0), rtol=1e-5, atol=1e-6)

    smaller = TeacherAndStudent(examples=5, seed=5, **SIZES).build()
    np.testing.assert_allclose(smaller.x, problem.x[:5], rtol=1e-6)
    assert (smaller.y == problem.y[:5]).all()
    assert not np.allclose(TeacherAndStudent(examples=5, seed=6, **SIZES).build().x, smaller.x)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_duplicates_fill_their_share(share):
    rows = TeacherAndStudent(examples=100, duplicates=share).rows()
    counts = np.bincount(rows)
    assert len(rows) == 100
    assert (counts == 1).sum() == round(100 * (1 - share))
    assert list(counts[counts > 1]) == ([20 * share] * 5 if share else [])


def test_duplicates_are_equal_examples():
    problem = TeacherAndStudent(examples=20, duplicates=0.5, seed=1, **SIZES).build()
    assert len(np.unique(problem.x, axis=0)) == 15
    assert (problem.x[0] == problem.x[1]).all()


def test_exact_values_against_closed_formulas():
    """Every value of the product, at two settings of the weights, to 1e-6."""
    problem = TeacherAndStudent(
        examples=150, input_size=40, teacher_features=40, student_features=40, seed=2
    ).build()
    model = problem.build_model()
    rng = np.random.default_rng(1)
    before, now = (rng.normal(size=(40, 1)).astype("float32") / 5 for _ in range(2))
    clusters = rng.permutation(150) % 7
    model.set_weights([before])
    svrg = SVRG(10)
    svrg.take_snapshot(model)
    model.set_weights([now])
    estimators = [MiniBatch(10), MiniBatch(20), svrg, Stratified(clusters, name="GC")]
    found = gradient_variance(model, problem.x, problem.y, problem.loss, estimators)

    rows = oracle.gradients(now, problem.x, problem.y)
    old_rows = oracle.gradients(before, problem.x, problem.y)
    expected = {
        "SG-10": oracle.mini_batch(rows, 10),
        "SG-20": oracle.mini_batch(rows, 20),
        "SVRG-10": oracle.mini_batch(rows - old_rows, 10),
        "GC": oracle.one_of_each(rows, clusters),
    }
    mean = rows.mean(axis=0)
    for name, variance in expected.items():
        one = found[name]
        assert one.average_variance == pytest.approx(oracle.average(variance), rel=1e-6), name
        normalized = oracle.normalized(variance, mean)
        assert one.normalized_variance == pytest.approx(normalized, rel=1e-6), name
        assert one.normalized_variance < 1
        assert one.mean_gradient_norm == pytest.approx(np.linalg.norm(mean), rel=1e-6)


def test_the_whole_student_has_the_variances_of_its_output_layer():
    definition = TeacherAndStudent(examples=30, seed=4, **SIZES)
    problem = definition.build()
    seeds = [int(seed) % 2**30 for seed in np.random.SeedSequence(4).generate_state(3)]
    x = np.random.default_rng(seeds[2]).standard_normal((30, 6), np.float32)
    whole, head = student(6, 6, seeds[1]), problem.build_model()
    head.set_weights(whole.get_weights()[1:])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    found = [
        gradient_variance(model, inputs, problem.y, loss, MiniBatch(5))["SG-5"].average_variance
        for model, inputs in ((whole, x), (head, problem.x))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
