"""The contract of a Keras optimizer, on the corrected gradient, for every one of ours."""

import json
import re

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import BY_NAME, CASES, CLUSTERED, RATE, SHIFTING, assert_close

pytestmark = pytest.mark.jax
STEPS = 4
STRAIGHT = [case for case in CASES if case not in SHIFTING]
DRAW = cases.draws(2)


def expected(case, base=None, draw=DRAW, steps=STEPS, **kwargs):
    base = base or case.base(RATE)
    return cases.oracle.train(base, case.variate(), cases.initial_weights(), draw, steps, **kwargs)


def trained(case, draw=DRAW, steps=STEPS, **kwargs):
    return cases.train(case, case.optimizer(**kwargs), cases.variables(), draw, steps)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_config_round_trip(case):
    schedule = keras.optimizers.schedules.CosineDecay(RATE, STEPS, warmup_target=0.1)
    optimizer = case.optimizer(rate=schedule, weight_decay=0.1, clipnorm=1.0)
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(json.loads(json.dumps(config)))
    assert type(again) is type(optimizer)
    assert keras.optimizers.serialize(again) == config
    assert type(again).from_config(again.get_config()).get_config() == again.get_config()
    one = cases.train(case, optimizer, cases.variables(), DRAW, 3)
    assert_close(cases.train(case, again, cases.variables(), DRAW, 3), one, rtol=1e-7)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_variable_without_a_gradient_stays(case):
    def draw(t, weights):
        groups, clusters, sizes = DRAW(t, weights)
        return [groups[0], None, groups[2]], clusters, sizes

    actual = trained(case, draw)
    np.testing.assert_array_equal(actual[1], cases.initial_weights()[1])
    assert_close(actual, expected(case, draw=draw)[-1])


@pytest.mark.parametrize("how", ["names", "variables"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_exclude_from_weight_decay(case, how):
    optimizer, weights = case.optimizer(weight_decay=0.5), cases.variables()
    excluded = {"var_names": ["bias"]} if how == "names" else {"var_list": [weights[1]]}
    optimizer.exclude_from_weight_decay(**excluded)
    actual = cases.train(case, optimizer, weights, DRAW, STEPS)
    assert_close(actual, expected(case, case.base(RATE, decay=0.5, spared=(1,)))[-1])


CLIPS = [{"clipnorm": 0.7}, {"global_clipnorm": 1.1}, {"clipvalue": 0.3}]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: next(iter(clip)))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_clipping_acts_on_the_corrected_gradient(case, clip):
    assert_close(trained(case, **clip), expected(case, clip=clip)[-1])


@pytest.mark.parametrize("case", STRAIGHT, ids=str)
def test_ema_averages_the_weights(case):
    optimizer, weights = case.optimizer(use_ema=True, ema_momentum=0.8), cases.variables()
    cases.train(case, optimizer, weights, DRAW, STEPS)
    optimizer.finalize_variable_values(weights)
    history = expected(case)
    average = history[0]
    for after in history[1:]:
        average = [0.8 * a + 0.2 * w for a, w in zip(average, after, strict=True)]
    assert_close(cases.values(weights), average)


@pytest.mark.parametrize("case", STRAIGHT, ids=str)
def test_ema_overwrites_the_weights(case):
    kwargs = {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 1}
    history = [trained(case, steps=2, **kwargs)]
    first, second = expected(case, steps=2)
    average = [0.8 * a + 0.2 * b for a, b in zip(first, second, strict=True)]
    assert_close(history[-1], average)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_scale_factor_is_taken_out(case):
    """Gradients of the loss times the factor, which is linear, give the same weights."""
    optimizer, weights = case.optimizer(loss_scale_factor=64.0, clipnorm=0.7), cases.variables()
    optimizer.build(weights)
    assert float(optimizer.scale_loss(ops.ones(()))) == 64.0
    for t in range(STEPS):
        gradients = cases.corrected(case, optimizer, *DRAW(t, cases.values(weights)))
        optimizer.apply([64.0 * g for g in gradients])
    cases.use_true_weights(optimizer)
    assert_close(cases.values(weights), expected(case, clip={"clipnorm": 0.7})[-1])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_accumulated_steps_are_corrected_one_by_one(case):
    """Clusters are corrected and buffers move every time; the base steps on the mean."""
    kwargs = {"gradient_accumulation_steps": 2, "clipnorm": 0.7, "weight_decay": 0.1}
    optimizer, weights = case.optimizer(**kwargs), cases.variables()
    actual = cases.train(case, optimizer, weights, DRAW, 2 * STEPS)
    assert int(optimizer.iterations) == STEPS

    base, variate = case.base(RATE, decay=0.1), case.variate()
    now = [np.asarray(w, np.float64) for w in cases.initial_weights()]
    for t in range(STEPS):
        parts = [variate.correct(*DRAW(2 * t + i, base.seen(now))) for i in range(2)]
        mean = [(a + b) / 2 for a, b in zip(*parts, strict=True)]
        now = base.step(now, cases.oracle.clipped(mean, clipnorm=0.7))
    assert_close(actual, now)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_learning_rate_can_be_set_between_steps(case):
    optimizer, weights = case.optimizer(), cases.variables()
    optimizer.build(weights)
    take = cases.compiled_step(case, optimizer, weights)
    for t in range(STEPS):
        if t == 2:
            optimizer.learning_rate = RATE / 2
            assert float(optimizer.learning_rate) == pytest.approx(RATE / 2)
        take(*DRAW(t, cases.values(weights)))
    cases.use_true_weights(optimizer)
    base = case.base(lambda taken: RATE if taken < 2 else RATE / 2)
    assert_close(cases.values(weights), expected(case, base)[-1])


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_shared_state_moves_once_a_step(case):
    def draw(t, weights):
        groups, clusters, sizes = DRAW(t, weights)
        return groups, [-1, clusters[1]], sizes

    optimizer = case.optimizer()
    cases.train(case, optimizer, cases.variables(), draw, STEPS)
    assert int(optimizer.iterations) == STEPS
    assert int(optimizer.skipped_groups.value) == STEPS


OWN = ["iteration", "learning_rate"]
BUFFERS = [
    f"{name}_{kind}"
    for name in cases.NAMES
    for kind in ("cluster_gradients", "mean_cluster_gradient")
] + ["skipped_groups"]
FACTORS = ("left_factors", "right_factors", "shared_gradient", "mean_cluster_gradient")
LOW_RANK = [f"kernel_{kind}" for kind in FACTORS] + BUFFERS[2:]
LEARNED_SCALE = [f"correction_{name}" for name in ("scale", "covariances", "variances")]
QHM_SLOTS = [f"{name}_momentum" for name in cases.NAMES]
IGT_SLOTS = [
    f"{name}_{slot}"
    for name in cases.NAMES
    for slot in ("gradient_average", "momentum", "true_weights")
] + ["variables_hold_true_weights", "last_learning_rate"]
ADAM_SLOTS = [f"{name}_{slot}" for name in cases.NAMES for slot in ("momentum", "velocity")]

# Keras saves and loads state by position: another order breaks the files of our users.
ORDER = {
    "QHM": [f"qhm/{name}" for name in OWN + QHM_SLOTS],
    "IGT": [f"igt/{name}" for name in OWN + IGT_SLOTS],
    "Discover": [f"discover/{name}" for name in OWN + BUFFERS],
    "Discover-gain": [f"discover/{name}" for name in OWN + BUFFERS],
    "Discover-low-rank": [f"discover/{name}" for name in OWN + LOW_RANK],
    "Discover-learned-scale": [
        f"discover/{name}" for name in [*OWN, *BUFFERS[:-1], *LEARNED_SCALE, BUFFERS[-1]]
    ],
    "QHDiscover": [f"qh_discover/{name}" for name in OWN + BUFFERS],
    "DiscoverQHM": [f"discover_qhm/{name}" for name in OWN + QHM_SLOTS + BUFFERS],
    "DiscoverIGT": [f"discover_igt/{name}" for name in OWN + IGT_SLOTS + BUFFERS],
    "DiscoverOver-SGD": [f"discover_over/{name}" for name in OWN + BUFFERS]
    + [f"sgd/{name}" for name in OWN],
    "DiscoverOver-AdamW": [f"discover_over/{name}" for name in OWN + BUFFERS]
    + [f"adam_w/{name}" for name in OWN + ADAM_SLOTS],
}
# After all others, so that files from before they were saved still load.
LAST = {
    "Discover": "discover",
    "Discover-gain": "discover",
    "Discover-low-rank": "discover",
    "Discover-learned-scale": "discover",
    "QHDiscover": "qh_discover",
    "DiscoverQHM": "discover_qhm",
    "DiscoverIGT": "discover_igt",
    "DiscoverOver-SGD": "discover_over",
    "DiscoverOver-AdamW": "discover_over",
}
for name, own in LAST.items():
    ORDER[name].append(f"{own}/cluster_probabilities")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_order_of_variables_is_frozen(case):
    optimizer = case.optimizer()
    optimizer.build(cases.variables())
    paths = [re.sub(r"_\d+/", "/", variable.path) for variable in optimizer.variables]
    # Keras has named its own optimizers in more than one way.
    paths = [re.sub("^SGD/", "sgd/", re.sub("^adamw/", "adam_w/", path)) for path in paths]
    assert paths == ORDER[case.name]


def test_the_memory_is_announced_once(capsys):
    shapes = [(11, 17), (17,)]
    for dtype in ("float32", "float32", "bfloat16"):
        optimizer = BY_NAME["DiscoverQHM"].optimizer(num_clusters=100, buffer_dtype=dtype)
        optimizer.build(cases.variables(shapes, ["kernel", "bias"]))
        optimizer.build(cases.variables(shapes, ["kernel", "bias"]))
    assert capsys.readouterr().out.splitlines() == [
        "DiscoverQHM keeps 100 + 1 gradient buffers of 204 weights: 0.1 MB.",
        "DiscoverQHM keeps 100 + 1 gradient buffers of 204 weights: 0.0 MB.",
    ]
    names = [v.dtype for v in optimizer.cluster_gradients + optimizer.mean_cluster_gradients]
    assert names == ["bfloat16", "bfloat16", "float32", "float32"]


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_gradients_must_be_corrected(case):
    optimizer, weights = case.optimizer(), cases.variables()
    gradients = [ops.ones(shape) for shape in cases.SHAPES]
    with pytest.raises(ValueError, match=r"`apply` of .* needs gradients .*`correct_gradients"):
        optimizer.apply_gradients(list(zip(gradients, weights, strict=True)))
    optimizer.build(weights)
    cases.step(case, optimizer, *DRAW(0, cases.values(weights)))
    with pytest.raises(ValueError, match="`correct_gradients"):  # a correction serves once
        optimizer.apply(gradients)


@pytest.mark.parametrize("case", [case for case in CLUSTERED if case.gain == 1.0], ids=str)
def test_one_cluster_needs_no_correction(case):
    optimizer, weights = case.optimizer(num_clusters=1), cases.variables()
    gradients = [ops.ones(shape) for shape in cases.SHAPES]
    optimizer.apply_gradients(list(zip(gradients, weights, strict=True)))
    assert int(optimizer.iterations) == 1


@pytest.mark.parametrize("case", [case for case in CLUSTERED if case.gain != 1.0], ids=str)
def test_one_cluster_with_a_gain_is_momentum_and_needs_its_correction(case):
    optimizer, weights = case.optimizer(num_clusters=1), cases.variables()
    optimizer.build(weights)
    gradients = [ops.ones(shape) for shape in cases.SHAPES]
    with pytest.raises(ValueError, match="needs gradients that went through"):
        optimizer.apply_gradients(list(zip(gradients, weights, strict=True)))
