"""Every sentence that the optimizers refuse something with."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import CLUSTERED, SHIFTING, K
from tf_gradvar.optimizers import (
    IGT,
    QHM,
    Discover,
    DiscoverIGT,
    DiscoverOver,
    DiscoverQHM,
    QHDiscover,
)

pytestmark = pytest.mark.jax

NUM_CLUSTERS = [0, -1, 2.0, 2.5, "3", None, True]
ALPHAS = [0, -0.1, 1.01, float("nan"), "a lot", None]
PROBABILITIES = {
    "length": ([0.5, 0.5], r"one probability for each .*num_clusters=3.*shape \(2,\)"),
    "rank": ([[0.5, 0.3, 0.2]], r"shape \(1, 3\)"),
    "negative": ([-0.1, 0.6, 0.5], r"must not be negative.*\[-0.1, 0.6, 0.5\]"),
    "nan": ([float("nan"), 0.5, 0.5], r"must not be negative"),
    "sum": ([0.5, 0.5, 0.5], r"must sum to 1.*sum to 1.5"),
}


@pytest.mark.parametrize("value", NUM_CLUSTERS, ids=repr)
@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_num_clusters(case, value):
    with pytest.raises(ValueError, match="`num_clusters` must be an integer of at least 1"):
        case.optimizer(num_clusters=value)


@pytest.mark.parametrize("value", ALPHAS, ids=repr)
@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_alpha(case, value):
    with pytest.raises(ValueError, match=r"`alpha` must be a number in \(0, 1\]. Received: alpha"):
        case.optimizer(alpha=value)


@pytest.mark.parametrize("value", [*ALPHAS, "auto"], ids=repr)
@pytest.mark.parametrize("make", [Discover, DiscoverQHM, DiscoverIGT, QHDiscover])
def test_gain(make, value):
    match = r"`gain` must be a number in \(0, 1\], or 'alpha'. Received: gain="
    with pytest.raises(ValueError, match=match):
        make(0.1, K, gain=value)
    with pytest.raises(ValueError, match=match):
        DiscoverOver(keras.optimizers.SGD(), K, gain=value)


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), "alpha", None], ids=repr)
def test_scale(value):
    match = r"`scale` must be a number in \[0, 1\], or 'auto'. Received: scale="
    with pytest.raises(ValueError, match=match):
        Discover(0.1, K, scale=value)


@pytest.mark.parametrize("gain", [0.5, "alpha"])
def test_a_learned_scale_needs_the_gain_1(gain):
    with pytest.raises(ValueError, match=r"`scale='auto'` needs gain=1.*Received: gain="):
        Discover(0.1, K, scale="auto", gain=gain)
    assert Discover(0.1, K, alpha=1.0, scale="auto", gain="alpha").scale == "auto"


@pytest.mark.parametrize(("value", "match"), PROBABILITIES.values(), ids=list(PROBABILITIES))
def test_cluster_probabilities(value, match):
    with pytest.raises(ValueError, match=f"`cluster_probabilities`.*{match}"):
        Discover(0.1, K, cluster_probabilities=value)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has them")
def test_slices_of_buffers_need_jax():
    with pytest.raises(ValueError, match=r"`buffers='sharded'` needs the JAX backend.*'owned'"):
        Discover(0.1, K, buffers="sharded")


def test_buffer_dtype():
    message = r"`buffer_dtype` must be one of \('float32', 'bfloat16'\)\. Received: .*'float16'"
    with pytest.raises(ValueError, match=message):
        Discover(0.1, K, buffer_dtype="float16")


@pytest.mark.parametrize("momentum", [-0.1, 1, float("nan"), "heavy"])
@pytest.mark.parametrize("make", [QHM, IGT, lambda **k: DiscoverQHM(0.1, K, **k)])
def test_momentum(make, momentum):
    with pytest.raises(ValueError, match=r"`momentum` must be a number in \[0, 1\)"):
        make(momentum=momentum)


@pytest.mark.parametrize("nu", [-0.1, 1.1])
@pytest.mark.parametrize(
    "make", [QHM, lambda **k: DiscoverQHM(0.1, K, **k), lambda **k: QHDiscover(0.1, K, **k)]
)
def test_nu(make, nu):
    with pytest.raises(ValueError, match=r"`nu` must be a number in \[0, 1\]"):
        make(nu=nu)


@pytest.mark.parametrize("tail_fraction", [0.5, 0, float("inf")])
@pytest.mark.parametrize("make", [IGT, lambda **k: DiscoverIGT(0.1, K, **k)])
def test_tail_fraction(make, tail_fraction):
    with pytest.raises(ValueError, match=r"`tail_fraction` must be a number in \[1, inf\)"):
        make(tail_fraction=tail_fraction)


@pytest.mark.parametrize("case", SHIFTING, ids=str)
def test_igt_has_no_ema(case):
    with pytest.raises(ValueError, match="`use_ema` would average the shifted weights"):
        case.optimizer(use_ema=True)


@pytest.mark.parametrize("case", SHIFTING, ids=str)
def test_igt_has_no_constraints(case):
    dense = keras.layers.Dense(2, kernel_constraint="non_neg")
    dense.build((None, 3))
    with pytest.raises(ValueError, match=r"cannot keep a constraint.*kernel"):
        case.optimizer().build(dense.trainable_variables)


@pytest.mark.parametrize("argument", ["weight_decay", "clipnorm", "use_ema", "loss_scale_factor"])
def test_arguments_of_the_inner_optimizer(argument):
    match = rf"`{argument}` belongs to the inner optimizer.*SGD\(\.\.\., {argument}=\.\.\.\)"
    with pytest.raises(ValueError, match=match):
        DiscoverOver(keras.optimizers.SGD(0.1), K, **{argument: 1.0})


def test_unknown_argument_of_discover_over():
    with pytest.raises(ValueError, match="`momentum` is not an argument of DiscoverOver"):
        DiscoverOver(keras.optimizers.SGD(0.1), K, momentum=0.9)


@pytest.mark.parametrize("optimizer", ["sgd", None, keras.optimizers.SGD], ids=repr)
def test_discover_over_needs_an_optimizer(optimizer):
    with pytest.raises(TypeError, match="`optimizer` must be a Keras optimizer"):
        DiscoverOver(optimizer, K)


def test_discover_over_needs_a_plain_optimizer():
    for optimizer in (
        Discover(0.1, K),
        DiscoverOver(keras.optimizers.SGD(0.1), K),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
    ):
        with pytest.raises(
            TypeError, match=f"must be a plain optimizer.*{type(optimizer).__name__}"
        ):
            DiscoverOver(optimizer, K)


@pytest.fixture
def optimizer():
    result = Discover(0.1, K)
    result.build(cases.variables())
    return result


def gradients(num_groups=2):
    return [ops.ones((num_groups, *shape)) for shape in cases.SHAPES]


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_gradients_of_an_optimizer_that_is_not_built(case):
    with pytest.raises(ValueError, match=r"not built. Call `optimizer.build\("):
        case.optimizer().correct_gradients(gradients(), [0, 1])


def test_number_of_gradients(optimizer):
    with pytest.raises(ValueError, match=r"`group_gradients` .* 3 variables.*Received 2 entries"):
        optimizer.correct_gradients(gradients()[:2], [0, 1])


def test_shape_of_a_gradient(optimizer):
    bad = [gradients()[0], ops.ones((3,)), None]
    with pytest.raises(ValueError, match=r"one mean gradient .*C=2.*needs \(2, 3\).*shape \(3,\)"):
        optimizer.correct_gradients(bad, [0, 1])


@pytest.mark.parametrize(
    "clusters",
    [np.array([0.0, 1.0], "float32"), np.array([True, False]), np.array([[0, 1]]), np.array(0)],
    ids=["float", "bool", "matrix", "scalar"],
)
def test_group_clusters(optimizer, clusters):
    with pytest.raises(ValueError, match=r"`group_clusters` must be integers of a static shape"):
        optimizer.correct_gradients(gradients(), ops.convert_to_tensor(clusters))


def test_group_sizes(optimizer):
    with pytest.raises(ValueError, match=r"`group_sizes` must have the shape .*\(2,\).*\(3,\)"):
        optimizer.correct_gradients(gradients(), [0, 1], [1, 2, 3])
