"""Published sizes, errors in sentences, and that examples have gradients of their own."""

import keras
import numpy as np
import pytest

from keras_apps.models import MODELS, StandardizedConv2D
from keras_apps.models.group_norm import group_norm
from tests.oracles import per_example_oracle as oracle
from tf_gradvar import ClusterModel, Discover, per_example


def weights_of_wide_resnet(n, k, classes):
    """Kernels, and a scale and a shift for each normalised channel, stage by stage.

    A stage with c filters on inputs of b channels has 2n - 1 kernels of 9 c c, one of 9 b c and a
    projection of b c; 2n - 1 normalizations of c channels and one of b.
    """
    total, before = 27 * 16, 16
    for c in (16 * k, 32 * k, 64 * k):
        total += 9 * c * c * (2 * n - 1) + 10 * before * c + (4 * n - 2) * c + 2 * before
        before = c
    return total + 2 * before + (before + 1) * classes


def weights_of_resnet50(classes):
    """Bottlenecks a -> f -> f -> 4f have af + 9ff + 4ff weights and 2 (f + f + 4f) scales."""
    total, before = 49 * 3 * 64 + 2 * 64, 64
    for f, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        total += before * 4 * f + 2 * 4 * f  # projection
        total += before * f + (count - 1) * 4 * f * f
        total += count * (13 * f * f + 12 * f)
        before = 4 * f
    return total + (before + 1) * classes


def weights_of_resnet_cifar(n, classes):
    """Convolutions with biases and no weights on shortcuts, after a first one of 16 filters."""
    total, before = 28 * 16, 16
    for c in (16, 32, 64):
        total += (9 * before + 1) * c + (2 * n - 1) * (9 * c + 1) * c
        before = c
    return total + 65 * classes


def weights_of_resnet_cifar_with_batch_norm(n, classes):
    """Convolutions without biases, and a scale and a shift for each channel."""
    total, before = 27 * 16 + 2 * 16, 16
    for c in (16, 32, 64):
        total += 9 * before * c + (2 * n - 1) * 9 * c * c + 2 * n * 2 * c
        before = c
    return total + 65 * classes


def weights_of_resnet18(classes):
    """Two convolutions a block, and a projection where a stage changes the shape."""
    total, before = 49 * 3 * 64 + 2 * 64, 64
    for f in (64, 128, 256, 512):
        total += 9 * before * f + 3 * 9 * f * f + 4 * 2 * f
        total += before * f + 2 * f if f != before else 0
        before = f
    return total + (before + 1) * classes


IMAGE = (32, 32, 3)
DIGIT = (28, 28, 1)
BATCH_NORM = {"depth": 32, "batch_norm": True}
MLP = {"hidden_units": [1024, 1024]}
# (network, its arguments, shape and classes, ours in closed form, published): trainable weights.
# The study has its MLP and CNN as weights for each of 60 000 images, ResNet32 for each of 50 000.
STUDY_SIZES = [
    ("mlp", MLP, (DIGIT, 10), 785 * 1024 + 1025 * 1024 + 1025 * 10, 31 * 60_000, 30_000),
    (
        "pooled_convnet",
        {},
        (DIGIT, 10),
        26 * 64 + (25 * 64 + 1) * 128 + (16 * 128 + 1) * 1000 + 1001 * 10,
        37.5 * 60_000,
        30_000,
    ),
    ("resnet_cifar", {"depth": 8}, (IMAGE, 10), weights_of_resnet_cifar(1, 10), 75_050, 1),
    (
        "resnet_cifar",
        BATCH_NORM,
        (IMAGE, 100),
        weights_of_resnet_cifar_with_batch_norm(5, 100),
        9 * 50_000,
        25_000,
    ),
    ("resnet18", {}, ((224, 224, 3), 1000), weights_of_resnet18(1000), 11_689_512, 1),
]


@pytest.mark.parametrize(("name", "arguments", "data", "expected", "published", "off"), STUDY_SIZES)
def test_sizes_of_the_gradient_variance_study(name, arguments, data, expected, published, off):
    model = MODELS[name](*data, **arguments)
    count = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert count == expected
    assert abs(count - published) < off


def test_no_batch_normalization_unless_asked_for():
    kinds = [
        {type(layer).__name__ for layer in MODELS["resnet_cifar"]((8, 8, 1), 3, **arguments).layers}
        for arguments in ({}, {"batch_norm": True})
    ]
    assert ["BatchNormalization" in names for names in kinds] == [False, True]


# (network, its arguments, classes, ours in closed form, published in millions, their last digit)
SIZES = [
    ("wide_resnet", {"depth": 26}, 10, weights_of_wide_resnet(4, 10, 10), 36.5, 0.1),
    ("wide_resnet", {"depth": 40, "width": 2}, 10, weights_of_wide_resnet(6, 2, 10), 2.2, 0.1),
    ("resnet50", {}, 1000, weights_of_resnet50(1000), 25.5, 0.1),
    ("resnet_cifar", {"depth": 20}, 10, weights_of_resnet_cifar(3, 10), 0.27, 0.01),
    ("resnet_cifar", {"depth": 32}, 10, weights_of_resnet_cifar(5, 10), 0.46, 0.01),
]


@pytest.mark.parametrize(("name", "arguments", "classes", "expected", "published", "digit"), SIZES)
def test_sizes(name, arguments, classes, expected, published, digit):
    count = MODELS[name](IMAGE, classes, **arguments).count_params()
    assert count == expected
    assert abs(count / 1e6 - published) < digit


def test_both_ways_to_count_the_depth():
    counts = [MODELS["wide_resnet"]((8, 8, 3), 5, n, 2).count_params() for n in (14, 16)]
    assert counts == 2 * [weights_of_wide_resnet(2, 2, 5)]


@pytest.mark.parametrize(("channels", "groups"), [(16, 16), (24, 8), (160, 32), (7, 1), (3, 1)])
def test_as_many_groups_as_the_channels_allow(channels, groups):
    layer = group_norm(channels, 32)
    assert layer.groups == groups
    assert layer(np.ones((1, 2, 2, channels), "float32")).shape == (1, 2, 2, channels)


@pytest.mark.parametrize(
    ("name", "depth", "rule"),
    [
        ("wide_resnet", 27, r"`depth` must be 6n \+ 4.* or 6n \+ 2"),
        ("wide_resnet", 4, "n of at least 1"),
        ("resnet_cifar", 28, r"`depth` must be 6n \+ 2 with n"),
        ("resnet_cifar", 2, "n of at least 1"),
    ],
)
def test_other_depths_get_a_sentence(name, depth, rule):
    with pytest.raises(ValueError, match=rf"{rule}.*Received: depth={depth}\."):
        MODELS[name](IMAGE, 10, depth=depth)


def test_coupled_decay_is_half_the_squared_norm():
    model = MODELS["wide_resnet"]((8, 8, 1), 3, depth=8, width=1, l2=0.01)
    norms = sum(float((w.astype("float64") ** 2).sum()) for w in model.get_weights())
    np.testing.assert_allclose(float(sum(model.losses)), 0.005 * norms, rtol=1e-5)


# Odd lengths, as many classes as examples, and few filters.
TINY = {
    "wide_resnet": ((5, 4, 4), {"depth": 8, "width": 1}),
    "resnet50": ((9, 8, 4), {"blocks": (1,), "filters": 4}),
    "resnet18": ((9, 8, 4), {"blocks": (1, 1), "filters": 4}),
    "pooled_convnet": ((17, 16, 4), {"filters": (4, 4), "dense_units": 4}),
    "resnet_cifar": ((5, 4, 4), {"filters": 4}),
    "resnet_cifar with batch_norm": ((5, 4, 4), {"filters": 4, "batch_norm": True}),
}
CLASSES = 4


@pytest.fixture(params=TINY)
def tiny(request):
    keras.utils.set_random_seed(0)
    shape, arguments = TINY[request.param]
    x = np.random.default_rng(0).normal(size=(CLASSES, *shape)).astype("float32")
    name = request.param.partition(" ")[0]
    return MODELS[name](shape, CLASSES, **arguments), x, np.arange(CLASSES)


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_every_layer_has_a_rule(tiny):
    model, x, y = tiny
    found = per_example.squared_norms(model, x, y, cross_entropy(), on_unknown="raise")
    gradients = oracle.loop_gradients(model, x, y, cross_entropy())
    np.testing.assert_allclose(found, oracle.squared_norms(gradients), rtol=1e-3)


def test_saved_and_loaded(tiny, tmp_path):
    model, x, _ = tiny
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))


@pytest.mark.parametrize("tiny", ["wide_resnet", "resnet50"], indirect=True)
def test_a_compiled_step_of_clusters(tiny):
    network, x, y = tiny
    model = ClusterModel.from_model(network, groups_per_batch=1)
    model.compile(Discover(0.01, 2), cross_entropy(), jit_compile=True)
    before = [v.numpy() for v in network.trainable_variables]
    batch = ({"inputs": x, "cluster_ids": np.ones(CLASSES, "int32")}, y)
    assert np.isfinite(model.train_on_batch(*batch))
    for old, variable in zip(before, network.trainable_variables, strict=True):
        assert not np.array_equal(old, variable), variable.path


def test_dropout_stands_between_the_convolutions_of_each_block():
    shape, arguments = TINY["wide_resnet"]
    for dropout, expected in ((0.3, 3), (0.0, 0)):
        model = MODELS["wide_resnet"](shape, CLASSES, dropout=dropout, **arguments)
        found = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        assert len(found) == expected


def test_all_convolutions_of_resnet50_are_standardized():
    shape, arguments = TINY["resnet50"]
    convolutions = [
        layer
        for layer in MODELS["resnet50"](shape, CLASSES, **arguments).layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    assert {type(layer) for layer in convolutions} == {StandardizedConv2D}
    assert len(convolutions) == 1 + 4
