"""Every promise of `stratified_batches`."""

import itertools
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import estimator_oracle, stratified_oracle
from tests.problems import Enumerable
from tf_gradvar.clustering import GradientClustering
from tf_gradvar.data import stratified_batches
from tf_gradvar.data.fingerprint import fingerprint
from tf_gradvar.estimators import Stratified, gradient_variance
from tf_gradvar.sampling.allocation import TICKS
from tf_gradvar.sampling.systematic_stream import systematic_draws

IDS = np.array([1, 0, 2, 2, 1, 2, 3, 3, 3, 3, 3, 3])  # sizes 1, 2, 3, 6
SIZES = np.bincount(IDS)
X = np.arange(12.0)  # the example's own number, so that draws can be followed

SETTINGS = {
    "one each": {"max_weight": None},
    "several each": {"samples_per_cluster": [1, 2, 1, 3], "max_weight": 2.0},
    "bounded": {"max_weight": 1.5},
    "proportional": {"batch_size": 6},
    "fewer than clusters": {"batch_size": 3, "allocation": "equal"},
    "neyman": {"batch_size": 5, "allocation": "neyman", "standard_deviations": [0, 1, 2, 3]},
}
EVERY = pytest.mark.parametrize("name", SETTINGS)


def make(name="one each", ids=IDS, **changes):
    return stratified_batches((X, IDS), ids, **{"seed": 7, **SETTINGS[name], **changes})


def take(batches, count):
    return drawn_from(iter(batches.take(count)), count)


def drawn_from(iterator, count):
    return [tuple(part.numpy() for part in next(iterator)) for _ in range(count)]


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def all_counts(design):
    """All (probability, n) that the pipeline's own function gives, over orders and offsets."""
    ticks = tf.constant(design.ticks)
    found = []
    orders = list(itertools.permutations(range(len(design.ticks))))
    for order in orders:
        offsets = np.unique([0, *(-np.cumsum(design.ticks[list(order)]) % TICKS)])
        repeated = np.tile(np.array(order, np.int32), (len(offsets), 1))
        draws = systematic_draws(ticks, repeated, offsets).numpy()[:, np.argsort(order)]
        lengths = np.diff([*offsets, TICKS]) / TICKS / len(orders)
        found += [(p, tuple(counts)) for p, counts in zip(lengths, draws, strict=True)]
    return found


@EVERY
def test_unbiased_over_all_batches(name):
    """Every order, offset and draw of a problem of 5 examples in 4 clusters, one of them empty."""
    ids = np.array([0, 1, 3, 1, 1])
    settings = SETTINGS[name] | {"standard_deviations": [0, 2, 1]}
    if name != "neyman":
        del settings["standard_deviations"]
    if name == "several each":
        settings["samples_per_cluster"] = [1, 2, 1]
    design = stratified_batches((ids, ids), ids, seed=0, **settings).sampling.design
    gradients = np.random.default_rng(0).normal(size=(5, 3))
    _, dense = np.unique(ids, return_inverse=True)
    estimates = stratified_oracle.estimates(gradients, dense, all_counts(design), design.weights)
    assert sum(p for p, _ in estimates) == pytest.approx(1)
    mean = estimator_oracle.mean(estimates)
    np.testing.assert_allclose(mean, gradients.mean(axis=0), rtol=1e-8)
    assert estimator_oracle.variance(estimates) > 1e-3


@pytest.mark.parametrize("name", ["one each", "several each"])
def test_an_epoch_of_fixed_draws_adds_up_to_the_whole_gradient(name):
    """In 6 batches every member of a cluster is drawn equally often: no noise is left."""
    values = np.random.default_rng(0).normal(size=12)
    batches = take(make(name), 6)
    found = np.mean([np.mean(w * values[x.astype(int)]) for x, _, w in batches])
    assert found == pytest.approx(values.mean(), rel=1e-6)
    for x, _, weights in batches:
        assert weights.sum() == pytest.approx(len(x), rel=1e-6)


@pytest.mark.parametrize("name", ["bounded", "proportional", "fewer than clusters", "neyman"])
def test_systematic_draws_have_their_expectations(name):
    """Counts differ from e_k by less than 1 in a batch, and by chance alone in the mean."""
    batches = make(name)
    design = batches.sampling.design
    drawn = take(batches, 1500)
    counts = np.array([np.bincount(y, minlength=4) for _, y, _ in drawn])
    assert (np.abs(counts - design.expected_draws) < 1).all()
    assert set(counts.sum(axis=1)) == {design.batch_size}
    spread = np.sqrt(0.25 / len(drawn))
    assert (np.abs(counts.mean(axis=0) - design.expected_draws) < 4.5 * spread).all()
    for _, y, weights in drawn[:50]:
        np.testing.assert_allclose(weights, design.weights[y], rtol=1e-6)
    np.testing.assert_allclose(design.weights @ design.expected_draws, design.batch_size)


@EVERY
def test_without_replacement_until_a_cluster_is_used_up(name):
    drawn = np.concatenate([x for x, _, _ in take(make(name), 60)])
    for k in range(1, 4):
        members = X[k == IDS]
        mine = drawn[np.isin(drawn, members)]
        passes = mine[: len(mine) // len(members) * len(members)].reshape(-1, len(members))
        expected = np.tile(np.sort(members), (len(passes), 1))
        np.testing.assert_array_equal(np.sort(passes, axis=1), expected)
        assert len(np.unique(passes, axis=0)) > 1, "a used-up cluster must be reshuffled"


@pytest.mark.parametrize("name", ["several each", "bounded"])
def test_resumes_exactly_and_twice_and_starts_again(name):
    whole = make(name)
    batches = take(whole, 90)
    assert_same(take(whole, 5), batches[:5])
    resumed = make(name, state=json.loads(json.dumps(whole.sampling.state(70))))
    assert_same(take(resumed, 6), batches[70:76])
    again = make(name, state=resumed.sampling.state(12))
    assert_same(take(again, 6), batches[82:88])


def test_the_seed_alone_decides_the_batches():
    batches = take(make("bounded"), 5)
    keras.utils.set_random_seed(3)
    assert_same(take(make("bounded"), 5), batches)
    others = take(make("bounded", seed=8), 5)
    assert any((a[0] != b[0]).any() for a, b in zip(others, batches, strict=True))


def test_static_shapes_and_the_users_own_weights():
    x, y, weights = make().element_spec
    assert x == tf.TensorSpec([4], tf.float64)
    assert weights == tf.TensorSpec([4], tf.float32)
    given = np.stack([X, 2 * X], axis=1)
    data = ({"a": X, "b": X[:, None]}, (IDS, X), given)
    plain = take(make(), 3)
    for (x, y, w), (numbers, ids, expected) in zip(
        stratified_batches(data, IDS, seed=7, max_weight=None).take(3), plain, strict=True
    ):
        np.testing.assert_array_equal(x["b"][:, 0], numbers)
        np.testing.assert_array_equal(y[0], ids)
        assert w.dtype == tf.float64
        np.testing.assert_allclose(w, given[numbers.astype(int)] * expected[:, None], rtol=1e-6)


def test_no_python_in_the_pipeline():
    graph = tf.raw_ops.DatasetToGraphV2(
        input_dataset=make()._variant_tensor, external_state_policy=1
    ).numpy()
    assert b"PyFunc" not in graph


def test_examples_left_out_and_numbers_that_do_not_occur():
    ids = np.where(X == 4, -1, IDS * 3)
    batches = stratified_batches((X, IDS), ids, seed=0, max_weight=None)
    drawn = take(batches, 30)
    assert not any(4 in x for x, _, _ in drawn)
    np.testing.assert_allclose(batches.sampling.design.weights, 4 * np.array([1, 1, 3, 6]) / 11)
    assert batches.sampling.batches_per_epoch == 11 // 4


def result_for(x, y, ids):
    return SimpleNamespace(assignments=ids, fingerprint=fingerprint(x, y))


def test_a_clustering_result_is_taken_for_its_own_data_only():
    batches = stratified_batches((X, IDS), result_for(X, IDS, IDS), seed=7, max_weight=None)
    assert_same(take(batches, 3), take(make(), 3))
    for other in (result_for(X[::-1], IDS, IDS), SimpleNamespace(assignments=IDS)):
        with pytest.raises(ValueError, match="`assignments` must be of the same data"):
            stratified_batches((X, IDS), other, seed=7)


OTHER = np.roll(IDS, 5)
ASSIGNED = {"one each": {}, "neyman": {"standard_deviations": [3, 2, 1, 0]}}


@pytest.mark.parametrize("name", ASSIGNED)
def test_new_clusters_hold_at_once_and_are_what_a_new_dataset_has(name):
    other = stratified_batches((X, IDS), OTHER, seed=7, **SETTINGS[name] | ASSIGNED[name])
    expected = take(other, 40)
    batches = make(name)
    iterator = iter(batches)
    drawn = drawn_from(iterator, 9)
    batches.reassign(OTHER, **ASSIGNED[name])
    drawn += drawn_from(iterator, 20)
    assert_same(drawn[:9], take(make(name), 9))
    assert_same(drawn[9:], expected[9:29])
    assert_same(take(batches, 4), expected[:4])
    resumed = stratified_batches(
        (X, IDS), OTHER, seed=7, state=batches.sampling.state(29), **SETTINGS[name] | ASSIGNED[name]
    )
    assert_same(take(resumed, 5), expected[29:34])


def test_new_clusters_wait_for_the_next_epoch():
    batches, expected = make(), take(make(ids=OTHER), 20)
    before = take(make(), 20)
    assert batches.sampling.batches_per_epoch == 3
    iterator = iter(batches)
    assert_same(drawn_from(iterator, 4), before[:4])
    batches.reassign(np.zeros(12, int), when="next_epoch")  # never comes to hold
    batches.reassign(OTHER, when="next_epoch")
    drawn = drawn_from(iterator, 8)
    assert_same(drawn, before[4:6] + expected[6:12])
    state = batches.sampling.state
    assert state(5)["fingerprint"] == make().sampling.fingerprint()
    assert state(6)["fingerprint"] == batches.sampling.fingerprint() != state(5)["fingerprint"]
    batches.reassign(IDS, when="next_epoch")  # twelve batches are drawn: at once
    assert_same(drawn_from(iterator, 3), take(make(), 15)[12:])


def test_fewer_clusters_share_the_draws():
    batches = make()
    batches.reassign(np.minimum(OTHER, 2))
    design = batches.sampling.design
    np.testing.assert_allclose(design.expected_draws, [4 / 3, 4 / 3, 4 / 3, 0], atol=1e-9)
    for x, _, weights in take(batches, 20):
        np.testing.assert_allclose(weights, design.weights[np.minimum(OTHER, 2)[x.astype(int)]])
    batches.reassign(OTHER)
    assert set(batches.sampling.design.ticks) == {TICKS}


def linear_model(**compile_arguments):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[0.3], [-0.2]])])
    model.compile(keras.optimizers.SGD(0.01), "mse", **compile_arguments)
    return model


INPUTS = np.random.default_rng(1).normal(size=(12, 2)).astype("float32")
LABELS = INPUTS.sum(axis=1, keepdims=True)


def linear_batches(**changes):
    return stratified_batches((INPUTS, LABELS), IDS, **{"seed": 7, "max_weight": None, **changes})


def test_the_step_that_keras_takes_is_eq_1():
    model, batches = linear_model(jit_compile=False), linear_batches()
    start = model.get_weights()[0]
    model.fit(batches, steps_per_epoch=1, verbose=0)
    ((x, y, _),) = take(batches, 1)
    residuals = x @ start - y
    clusters = [IDS[np.flatnonzero((row == INPUTS).all(axis=1))[0]] for row in x]
    assert sorted(clusters) == [0, 1, 2, 3]
    gradient = sum(
        SIZES[k] / 12 * 2 * r * row for k, r, row in zip(clusters, residuals, x, strict=True)
    )
    np.testing.assert_allclose(model.get_weights()[0][:, 0], start[:, 0] - 0.01 * gradient, 1e-5)


@pytest.mark.parametrize(
    "arguments", [{"jit_compile": True}, {"jit_compile": False, "steps_per_execution": 3}], ids=str
)
def test_compiled_and_several_steps_at_a_time(arguments):
    weights = []
    for options in ({"jit_compile": False}, arguments):
        model = linear_model(**options)
        model.fit(linear_batches(max_weight=1.2), steps_per_epoch=6, epochs=2, verbose=0)
        weights.append(model.get_weights()[0])
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-5)
    assert np.abs(weights[0] - [[0.3], [-0.2]]).max() > 0.01


def test_a_callback_that_reassigns_in_fit_decides_the_next_batch():
    batches = linear_batches()
    expected = take(batches, 4) + take(stratified_batches(
        (INPUTS, LABELS), OTHER, seed=7, max_weight=None), 10)[4:]  # fmt: skip
    fitted, stepped = linear_model(jit_compile=False), linear_model(jit_compile=False)
    reassign = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: batch == 3 and batches.reassign(OTHER)
    )
    fitted.fit(batches, steps_per_epoch=10, verbose=0, callbacks=[reassign])
    for batch in expected:
        stepped.train_on_batch(*batch)
    np.testing.assert_allclose(fitted.get_weights()[0], stepped.get_weights()[0], rtol=1e-6)


BAD = {
    "assignments shape": ({"assignments": IDS[:-1]}, r"`assignments` must be integers of shape"),
    "assignments type": ({"assignments": IDS / 2}, r"`assignments` must be integers of shape"),
    "below -1": ({"assignments": IDS - 2}, "`assignments` must be numbers of clusters from 0"),
    "none left": ({"assignments": np.full(12, -1)}, "left out, not all of them"),
    "result of another length": (
        {"assignments": SimpleNamespace(assignments=IDS[:5], fingerprint=fingerprint(X, IDS))},
        r"`assignments` must be integers of shape \(12,\)",
    ),
    "no draws": ({"samples_per_cluster": 0}, "`samples_per_cluster` must be an integer of at"),
    "draws of a fraction": ({"samples_per_cluster": 1.5}, "`samples_per_cluster` must be"),
    "draws for others": ({"samples_per_cluster": [1, 2]}, "one for each of the 4 clusters"),
    "both sizes": ({"samples_per_cluster": 2, "batch_size": 8}, "exclude each other"),
    "batch_size": ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
    "allocation alone": ({"allocation": "equal"}, "`allocation` shares out the draws of a"),
    "max_weight": ({"max_weight": 0.9}, r"`max_weight` must be a number in \[1, inf\]"),
    "seed": ({"seed": 0.5}, "`seed` must be an integer of at most 63 bits"),
    "data": ({"data": X}, r"`data` must be \(x, y\) or \(x, y, sample_weight\), or a tf"),
    "weights": ({"data": (X, IDS, IDS)}, "sample weights of a floating-point type"),
    "weights of other outputs": (
        {"data": (X, {"b": IDS, "a": IDS}, [X, X])},
        r"a structure of them like y\. Received: the structures \('\.\.\.', '\.\.\.'\) and \{'",
    ),
    "state": ({"state": {"batches_taken": 3}}, "`state` must come from stratified batches"),
    "state of other clusters": (
        {"assignments": OTHER, "state": make().sampling.state(3)},
        "`state` must come from stratified batches",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_sentence(name):
    changes, message = BAD[name]
    arguments = {"data": (X, IDS), "assignments": IDS, "seed": 0, **changes}
    data, assignments = arguments.pop("data"), arguments.pop("assignments")
    with pytest.raises(ValueError, match=message):
        stratified_batches(data, assignments, **arguments)


def test_bad_reassignments_get_a_sentence_and_change_nothing():
    batches = make("several each")
    before = take(batches, 3)
    for arguments, message in [
        ((IDS[:-1],), "`assignments` must be integers of shape"),
        ((np.arange(12) % 5,), "`assignments` must be to at most the 4 clusters"),
        ((np.arange(12) % 3,), "one for each of the 3 clusters that have examples"),
        ((IDS, "soon"), "`when` must be one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            batches.reassign(*arguments)
    with pytest.raises(ValueError, match="`allocation='neyman'` needs `standard_deviations`"):
        make("neyman").reassign(OTHER)
    with pytest.raises(ValueError, match="`batches_taken` must be an integer of at least 0"):
        batches.sampling.state(-1)
    assert_same(take(batches, 3), before)


def test_inside_the_scope_of_a_strategy_it_is_refused():
    with (
        tf.distribute.OneDeviceStrategy("CPU:0").scope(),
        pytest.raises(ValueError, match=r"`stratified_batches` must be called outside of"),
    ):
        make()


@pytest.mark.parametrize("arguments", [{"max_weight": None}, {"max_weight": 1.1}], ids=str)
def test_what_is_drawn_is_what_the_estimator_measures(arguments):
    """The variance over all batches of the sampler, and `Stratified` with its expected draws."""
    solved = Enumerable.make("float64")
    groups = Enumerable.ASSIGNMENTS
    batches = stratified_batches((solved.x, solved.y), groups, seed=0, **arguments)
    design = batches.sampling.design
    drawn = stratified_oracle.estimates(
        solved.gradients, groups, all_counts(design), design.weights
    )
    estimators = [Stratified(groups, expected_draws=design.expected_draws), Stratified(groups)]
    measured, fixed = gradient_variance(*solved.data, estimators).values()
    assert measured.variance == pytest.approx(estimator_oracle.variance(drawn), rel=0.02)
    if arguments["max_weight"] is None:
        assert measured.variance == pytest.approx(fixed.variance)


def test_the_result_of_gradient_clustering():
    model = linear_model()
    found = GradientClustering(3, verbose=False).fit(model, INPUTS, LABELS, "mse")
    batches = stratified_batches((INPUTS, LABELS), found, seed=0, max_weight=None)
    expected = 3 * np.bincount(found.assignments) / 12
    np.testing.assert_allclose(batches.sampling.design.weights, expected)
    with pytest.raises(ValueError, match="`assignments` must be of the same data"):
        stratified_batches((INPUTS[::-1], LABELS), found, seed=0)
