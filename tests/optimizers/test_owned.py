"""Owned buffers on one device, where one replica owns every cluster."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import PROBABILITIES, RATE, SHAPES, K
from tests.oracles import discover_oracle
from tests.oracles.owned_oracle import OwnedControlVariate
from tf_gradvar.optimizers import (
    Discover,
    DiscoverIGT,
    DiscoverOver,
    DiscoverQHM,
    QHDiscover,
)

pytestmark = pytest.mark.jax
OWNED = {"num_clusters": K, "cluster_probabilities": PROBABILITIES, "buffers": "owned"}
FORMS = {
    "Discover": (lambda: Discover(RATE, **OWNED), "alpha", 1.0, discover_oracle.SGD(RATE)),
    "DiscoverQHM": (
        lambda: DiscoverQHM(RATE, momentum=0.9, nu=0.7, gain=0.4, **OWNED),
        0.4,
        1.0,
        discover_oracle.QHM(RATE, 0.9, 0.7),
    ),
    "QHDiscover": (
        lambda: QHDiscover(RATE, nu=0.7, gain=1.0, **OWNED),
        1.0,
        0.7,
        discover_oracle.SGD(RATE),
    ),
    "DiscoverIGT": (
        lambda: DiscoverIGT(RATE, momentum=0.8, **OWNED),
        1.0,
        1.0,
        discover_oracle.IGT(RATE, 0.8, 2.0),
    ),
    "DiscoverOver": (
        lambda: DiscoverOver(keras.optimizers.SGD(RATE), **OWNED),
        1.0,
        1.0,
        discover_oracle.SGD(RATE),
    ),
}
ANY = cases.BY_NAME["Discover"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_follows_the_oracle(form):
    make, gain, scale, base = FORMS[form]
    optimizer, draw = make(), cases.draws(3)
    actual = cases.train(ANY, optimizer, cases.variables(), draw, 12)
    variate = OwnedControlVariate(SHAPES, PROBABILITIES, 1, alpha=0.1, gain=gain, scale=scale)
    expected = discover_oracle.train(base, variate, cases.initial_weights(), draw, 12)
    cases.assert_close(actual, expected[-1])
    for i, (stack, mean) in enumerate(
        zip(optimizer.cluster_gradients, optimizer.mean_cluster_gradients, strict=True)
    ):
        held = ops.convert_to_numpy(stack)
        cases.assert_close(held, [variate.buffers[i][k] for k in range(K)])
        cases.assert_close([mean], [variate.average(i)])


def test_the_config_keeps_the_buffers():
    optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(Discover(RATE, **OWNED)))
    assert optimizer.buffers == "owned"


def test_a_bad_group_is_left_out_and_counted():
    optimizer, variate = Discover(RATE, **OWNED), OwnedControlVariate(SHAPES, PROBABILITIES, 1, 0.1)
    optimizer.build(cases.variables())
    groups, _, _ = cases.draws(4)(0, cases.initial_weights())
    groups[0][2] = np.nan
    clusters = [0, K, 1, 0]
    variate.gain = 0.1
    tensors = [ops.convert_to_tensor(g) for g in groups]
    v = optimizer.correct_gradients([tensors[0], None, tensors[2]], clusters)
    assert v[1] is None
    expected = variate.correct([groups[0], None, groups[2]], clusters)
    assert variate.skipped == int(optimizer.skipped_groups.value) == 2
    cases.assert_close([v[0], v[2]], [expected[0], expected[2]])


@pytest.mark.parametrize("before", ["owned", "full"])
def test_files_are_those_of_full_buffers(before, tmp_path):
    kinds = {"num_clusters": K, "cluster_probabilities": PROBABILITIES}
    first = Discover(RATE, buffers=before, **kinds)
    second = Discover(RATE, buffers={"owned": "full", "full": "owned"}[before], **kinds)
    models = []
    for optimizer in (first, second):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(optimizer, "mse")
        optimizer.build(model.trainable_variables)
        models.append(model)
    draw = cases.draws(2, shapes=[(3, 2), (2,)])
    cases.step(ANY, first, *draw(0, models[0].get_weights()))
    models[0].save_weights(tmp_path / "model.weights.h5")
    models[1].load_weights(tmp_path / "model.weights.h5")
    for one, other in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))
    assert np.abs(ops.convert_to_numpy(second.cluster_gradients[0])).max() > 0.01


def test_what_owned_buffers_lack_is_refused():
    for options, message in (
        ({"rank": 2}, r"`rank` belongs to `buffers='low_rank'`"),
        ({"buffer_dtype": "bfloat16"}, r"`buffer_dtype` must be 'float32' with `buffers='owned'`"),
        ({"scale": "auto", "gain": 1.0}, r"`scale` must be a number with `buffers='owned'`"),
        ({"buffers": "split"}, r"`buffers` must be one of .*'owned', 'sharded'"),
    ):
        with pytest.raises(ValueError, match=message):
            Discover(RATE, **{**OWNED, **options})
    optimizer = Discover(RATE, **OWNED)
    optimizer.build(cases.variables())
    with pytest.raises(ValueError, match="`recluster` does not go with `buffers='owned'`"):
        optimizer.recluster()
    groups = [ops.ones((2, *shape)) for shape in SHAPES]
    with pytest.raises(ValueError, match="`group_sizes` must be None with `buffers='owned'`"):
        optimizer.correct_gradients(groups, [0, 1], [1, 2])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles every step")
def test_a_compiled_step_is_the_same():
    import tensorflow as tf

    draw, ends = cases.draws(3), []
    for compiled in (False, True):
        optimizer, weights = Discover(RATE, **OWNED), cases.variables()
        optimizer.build(weights)

        @tf.function(jit_compile=compiled)
        def step(groups, clusters, optimizer=optimizer):
            optimizer.apply(optimizer.correct_gradients(groups, clusters))

        for t in range(3):
            groups, clusters, _ = draw(t, cases.values(weights))
            step([tf.constant(g) for g in groups], tf.constant(clusters))
        ends.append(cases.values([*weights, *optimizer.cluster_gradients]))
    cases.assert_close(ends[1], ends[0], rtol=1e-6)
