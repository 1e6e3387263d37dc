"""The recipe of a classification: noise, smoothing, clusters by name and file, L2, decay."""

import dataclasses
import typing

import keras
import numpy as np
import pytest

from keras_apps.experiments.classification import CLUSTERS, Classification
from keras_apps.experiments.l2_penalty import add_l2_penalty
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_rules import RULES, optimizer_of
from keras_apps.reporting.final_values import COLOURS

PROBLEM = Classification(source="digits", model_arguments={"hidden_units": [8]})
NOISY = dataclasses.replace(PROBLEM, label_noise=0.3)
FIXED = dataclasses.replace(NOISY, label_noise_kind="fixed")
EXAMPLES = 1438


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def clean():
    return PROBLEM.build()


def test_nothing_is_done_unless_asked(clean):
    assert clean.visits is None
    assert isinstance(clean.loss, keras.losses.SparseCategoricalCrossentropy)


@pytest.mark.parametrize("definition", [NOISY, FIXED], ids=["each_visit", "fixed"])
def test_evaluation_is_on_clean_labels_and_tells_the_noisy_loss(clean, definition):
    noisy = definition.build()
    keras.utils.set_random_seed(0)
    model = clean.build_model()
    values, expected = noisy.evaluate(model), clean.evaluate(model)
    noisy_loss = values.pop("noisy_training_loss")
    assert values == expected
    probabilities = softmax(model.predict(clean.x, verbose=0).astype("float64"))
    if definition is FIXED:
        assert noisy.visits is None
        assert (noisy.y != clean.y).mean() == pytest.approx(0.3, abs=0.04)
        means = np.eye(10)[noisy.y]
    else:
        assert noisy.visits.label_noise == 0.3
        means = np.where(np.eye(10)[clean.y] == 1, 0.7, 0.3 / 9)
        np.testing.assert_allclose(noisy.y, means, rtol=1e-6)
    mean_loss = -(means * np.log(probabilities)).sum(axis=1).mean()
    assert noisy_loss == pytest.approx(mean_loss, rel=1e-4)
    assert "30 % of the training labels are wrong" in noisy.description


def test_the_mean_label_has_the_mean_loss(clean):
    """So the clusters of a problem are measured under noise without drawing any."""
    noisy = NOISY.build()
    logits = np.random.default_rng(0).normal(size=(5, 10)).astype("float32")
    found = noisy.loss(noisy.y[:5], logits)
    per_class = [float(clean.loss(np.full(1, k), logits[i : i + 1])) for i in range(5)
                 for k in range(10)]  # fmt: skip
    weights = np.where(np.eye(10)[clean.y[:5]] == 1, 0.7, 0.3 / 9)
    expected = (weights * np.reshape(per_class, (5, 10))).sum(axis=1).mean()
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing(clean):
    smoothed = dataclasses.replace(PROBLEM, label_smoothing=0.2).build()
    assert smoothed.visits is None
    logits = np.random.default_rng(0).normal(size=(4, 10))
    targets = 0.8 * np.eye(10)[clean.y[:4]] + 0.2 / 10
    expected = -(targets * np.log(softmax(logits))).sum(axis=1).mean()
    assert float(smoothed.loss(smoothed.y[:4], logits)) == pytest.approx(expected, rel=1e-5)


def test_clusters_are_true_classes_or_the_labels_that_training_sees(clean):
    fixed = FIXED.build()
    np.testing.assert_array_equal(fixed.clusters, clean.y)
    np.testing.assert_array_equal(fixed.clustered("labels").clusters, fixed.y)
    drawn = NOISY.build()
    np.testing.assert_array_equal(drawn.clusters, clean.y)
    assert not drawn.visits.cluster_is_drawn
    seen = drawn.clustered("labels")
    assert seen.visits.cluster_is_drawn
    share = np.bincount(clean.y) / EXAMPLES
    np.testing.assert_allclose(seen.probabilities, 0.7 * share + 0.3 / 9 * (1 - share))
    np.testing.assert_array_equal(clean.clustered("labels").clusters, clean.y)


def test_augmentations_are_three_clusters_of_all_images(clean):
    mixed = clean.clustered("augmentations")
    np.testing.assert_allclose(mixed.probabilities, [1 / 3] * 3)
    np.testing.assert_array_equal(np.bincount(mixed.clusters), [EXAMPLES] * 3)
    assert mixed.visits.mixes
    assert mixed.x is clean.x
    again = dataclasses.replace(PROBLEM, clusters="augmentations").build().clustered("classes")
    np.testing.assert_array_equal(again.clusters, clean.clusters)
    assert again.visits is None


def test_black_is_what_the_darkest_pixel_became(clean):
    cropped = dataclasses.replace(PROBLEM, crop="pad").build()
    assert cropped.visits.black == pytest.approx((float(clean.x.min()),), rel=1e-5)


def test_clusters_in_a_file(tmp_path):
    path = tmp_path / "clusters.npy"
    ids = np.arange(EXAMPLES) % 4
    np.save(path, ids)
    found = dataclasses.replace(PROBLEM, clusters=str(path)).build()
    np.testing.assert_array_equal(found.clusters, ids)
    np.testing.assert_allclose(found.probabilities, np.bincount(ids) / EXAMPLES)
    np.save(path, ids[:7])
    with pytest.raises(ValueError, match=f"(?s)`clusters`.*{EXAMPLES}.*7"):
        dataclasses.replace(PROBLEM, clusters=str(path)).build()
    path.write_text("no array")
    with pytest.raises(ValueError, match=r"must name a file that `numpy\.save` has written"):
        dataclasses.replace(PROBLEM, clusters=str(path)).build()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clusters", "clases"),
        ("label_noise", 1.0),
        ("label_smoothing", -0.1),
        ("mixup_alpha", 0.0),
        ("cutmix_alpha", -1.0),
        ("l2", -1e-4),
    ],
)
def test_what_is_out_of_range(field, value):
    with pytest.raises(ValueError, match=f"`{field}` must .*Received: {field}={value!r}"):
        dataclasses.replace(PROBLEM, **{field: value}).build()


def test_every_kind_of_clusters_is_known_to_optimizers():
    kinds = set(CLUSTERS) | {"gradients"}
    assert set(Classification.partition_names) == kinds
    known, _ = typing.get_args(typing.get_type_hints(OptimizerChoice)["clusters"])
    assert set(typing.get_args(known)) == kinds
    assert set(COLOURS) - {None} == kinds


def test_labels_name_the_clusters_once():
    momentum = OptimizerChoice("MomentumLabels", rule="QHM", clusters="labels")
    assert momentum.label == "Momentum, labels"
    assert OptimizerChoice("Mine", rule="QHM", clusters="random").label == "QHM, random"
    assert OptimizerChoice("Momentum", rule="QHM").label == "Momentum"


def test_l2_of_weights_only():
    model = dataclasses.replace(PROBLEM, l2=0.01).build().build_model()
    weights = [w.numpy() for w in model.trainable_variables if len(w.shape) > 1]
    expected = 0.005 * sum((w.astype("float64") ** 2).sum() for w in weights)
    assert len(weights) == 2
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    assert not add_l2_penalty(PROBLEM.build().build_model(), 0.0).losses


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"DiscoverOver", "AdamW"}))
def test_decoupled_weight_decay(rule):
    """With no gradient a step shrinks the weights by the decay times the learning rate."""
    optimizer = optimizer_of(OptimizerChoice(rule), 0.1, np.array([0.5, 0.5]), weight_decay=0.2)
    variable = keras.Variable([1.0, -2.0])
    optimizer.build([variable])
    gradients = [keras.ops.zeros(2)]
    if "Discover" in rule or rule == "CarriedBuffers":
        gradients = optimizer.correct_gradients(
            [keras.ops.zeros((1, 2))], keras.ops.zeros(1, "int32")
        )
    optimizer.apply(gradients)
    np.testing.assert_allclose(variable.numpy(), [0.98, -1.96], rtol=1e-6)


def test_an_optimizer_keeps_its_own_weight_decay():
    own = OptimizerChoice("AdamW", arguments={"weight_decay": 0.03})
    assert optimizer_of(own, 0.1, np.ones(1), weight_decay=0.2).weight_decay == 0.03
    over = OptimizerChoice("D", rule="DiscoverOver", arguments={"over": "Adam"})
    built = optimizer_of(over, 0.1, np.ones(1), weight_decay=0.2)
    assert built.inner_optimizer.weight_decay == 0.2
