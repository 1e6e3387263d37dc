"""Clusterings of small problems against brute force."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import clustering_oracle as oracle
from tests.problems import clustered_convolutions, clustered_mlp, cross_entropy
from tf_gradvar import GradientClustering, Stratified, gradient_variance
from tf_gradvar.data.fingerprint import fingerprint

LOSS = cross_entropy()
K = 4

PROBLEMS = pytest.mark.parametrize("problem", [clustered_mlp, clustered_convolutions])
EVERY_KIND = pytest.mark.parametrize(
    ("representation", "assignment"),
    [(r, a) for r in ("sketch", "full", "rank1", "svd") for a in ("exact", "paper")],
)


def fit(problem, representation="sketch", assignment="exact", **options):
    model, x, y, _ = problem()
    clustering = GradientClustering(
        K, representation, assignment, batch_size=options.pop("batch_size", 9), **options
    )
    return clustering, clustering.fit(model, x, y, LOSS)


@PROBLEMS
@EVERY_KIND
def test_every_kind_lowers_the_variance(problem, representation, assignment):
    *_, gradients = problem()
    _, result = fit(problem, representation, assignment, sketch_size=512, tolerance=0.0)
    found = oracle.stratified_share(gradients, result.assignments, K)
    partitions = [np.random.default_rng(s).permutation(len(gradients)) % K for s in range(5)]
    random = [oracle.stratified_share(gradients, partition, K) for partition in partitions]
    # Of few examples a partition by chance is 0.9 or so; the exact rule gets far below it.
    assert found < (0.75 if assignment == "exact" else 0.9) * np.mean(random)
    assert (result.sizes == np.bincount(result.assignments, minlength=K)).all()
    assert result.sizes.min() >= 1
    assert len(result.left_out) == 0


@PROBLEMS
def test_full_knows_the_objective_and_the_variance(problem):
    model, x, y, gradients = problem()
    _, result = fit(problem, "full", tolerance=0.0, max_passes=20)
    share = oracle.stratified_share(gradients, result.assignments, K)
    assert result.variance_ratio == pytest.approx(share, rel=1e-4)
    one = len(gradients) ** 2 * gradients.var(axis=0).sum()
    assert result.objective[-1] == pytest.approx(share * one / K, rel=1e-4)
    assert (np.diff(result.objective) <= 1e-6 * result.objective[0]).all()
    strata = Stratified(result.assignments, name="GC")
    measured = gradient_variance(model, x, y, LOSS, [strata])["GC"]
    expected = oracle.stratified_share(gradients, result.assignments, K)
    expected *= gradients.var(axis=0).sum() / K / gradients.shape[1]
    assert measured.average_variance == pytest.approx(expected, rel=1e-4)


def test_no_assignment_nearby_is_better():
    """The end of the exact rule with the full geometry, against every single move."""
    *_, gradients = clustered_mlp()
    _, result = fit(clustered_mlp, "full", tolerance=0.0, max_passes=50)
    for i in range(len(gradients)):
        costs = [oracle.pair_cost(gradients, result.assignments, i, k) for k in range(K)]
        assert costs[result.assignments[i]] <= min(costs) * (1 + 1e-4)


@PROBLEMS
def test_a_sketch_predicts_about_the_truth(problem):
    *_, gradients = problem()
    _, result = fit(problem, sketch_size=1024, tolerance=0.0)
    share = oracle.stratified_share(gradients, result.assignments, K)
    assert result.variance_ratio == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize(
    ("representation", "assignment"),
    [("sketch", "exact"), ("full", "exact"), ("svd", "exact"), ("rank1", "paper")],
)
def test_seeded_and_the_model_stays_as_it_is(representation, assignment):
    model = clustered_convolutions()[0]
    before = [w.copy() for w in model.get_weights()]
    _, one = fit(clustered_convolutions, representation, assignment, seed=3)
    _, two = fit(clustered_convolutions, representation, assignment, seed=3)
    np.testing.assert_array_equal(one.assignments, two.assignments)
    assert one.objective == two.objective
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("representation", ["sketch", "full", "rank1", "svd"])
def test_cuts_of_the_data_do_not_matter(representation):
    """Batches of other sizes, and a dataset in place of arrays."""
    model, x, y, _ = clustered_mlp()
    _, whole = fit(clustered_mlp, representation, batch_size=64)
    _, cut = fit(clustered_mlp, representation, batch_size=7)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(10)
    streamed = GradientClustering(K, representation, batch_size=8).fit(model, data, loss=LOSS)
    for result in (cut, streamed):
        np.testing.assert_array_equal(whole.assignments, result.assignments)
        assert result.fingerprint == fingerprint(x, y)
        np.testing.assert_allclose(result.objective, whole.objective, rtol=1e-4)


def test_only_the_named_layers_count():
    model, x, y, gradients = clustered_mlp()
    head = gradients[:, -(8 * 3 + 3) :]
    for name in ("head", "net/head"):
        result = GradientClustering(K, "full", layers=[name]).fit(model, x, y, LOSS)
        share = oracle.stratified_share(head, result.assignments, K)
        assert result.variance_ratio == pytest.approx(share, rel=1e-4)


def test_sample_weights_scale_the_gradients():
    model, x, y, gradients = clustered_mlp()
    weights = np.random.default_rng(5).uniform(0.1, 3.0, len(x)).astype("float32")
    result = GradientClustering(K, "full").fit(model, x, y, LOSS, sample_weight=weights)
    share = oracle.stratified_share(gradients * weights[:, None], result.assignments, K)
    assert result.variance_ratio == pytest.approx(share, rel=1e-4)


@pytest.mark.parametrize("representation", ["sketch", "full"])
@pytest.mark.parametrize("copies", [4, 20, 100])
def test_duplicates_find_together(representation, copies):
    """Five points that fill much of the data get clusters without another example."""
    model, x, y, gradients = clustered_mlp()
    rows = np.concatenate([np.arange(5, 41), np.repeat(np.arange(5), copies)])
    clustering = GradientClustering(16, representation, tolerance=0.0, max_passes=30)
    result = clustering.fit(model, x[rows], y[rows], LOSS)
    for point in range(5):
        mine = np.unique(result.assignments[rows == point])
        others = result.assignments[rows != point]
        if copies == 100:
            assert not np.isin(others, mine).any()
        assert len(mine) == 1
    assert oracle.stratified_share(gradients[rows], result.assignments, 16) < 0.25


def test_going_on_from_an_earlier_result():
    model, x, y, _ = clustered_mlp()
    clustering, first = fit(clustered_mlp, tolerance=0.0, max_passes=2)
    second = clustering.fit(model, x, y, LOSS, initial_assignments=first.assignments)
    assert second.objective[0] <= first.objective[-1] * (1 + 1e-6)
    # Clusters that are empty at the start are filled.
    given = np.zeros(len(x), int)
    assert clustering.fit(model, x, y, LOSS, initial_assignments=given).sizes.min() >= 1


@pytest.mark.parametrize("representation", ["sketch", "full", "rank1"])
def test_a_limit_on_the_sizes(representation):
    _, free = fit(clustered_mlp, representation)
    _, limited = fit(clustered_mlp, representation, max_size_ratio=1.1)
    largest = int(np.ceil(1.1 * 41 / K))
    assert limited.sizes.max() <= largest < free.sizes.max()
    assert limited.variance_ratio >= free.variance_ratio


@pytest.mark.parametrize("representation", ["sketch", "full", "rank1", "svd"])
@pytest.mark.parametrize("num_clusters", [1, 41])
def test_one_cluster_and_as_many_as_examples(representation, num_clusters):
    model, x, y, _ = clustered_mlp()
    result = GradientClustering(num_clusters, representation).fit(model, x, y, LOSS)
    assert result.variance_ratio == pytest.approx(1.0 if num_clusters == 1 else 0.0, abs=1e-6)
    assert result.num_clusters == num_clusters


@PROBLEMS
def test_predict_agrees_with_fit(problem):
    """At the end of the exact rule every example is where it costs least."""
    model, x, y, _ = problem()
    clustering, result = fit(problem, tolerance=0.0, max_passes=50)
    found = clustering.predict(model, x[:10], y[:10], LOSS)
    # `predict` counts an example of the data once more, so a few may change places.
    assert (found == result.assignments[:10]).mean() >= 0.8


def test_a_second_fit_traces_nothing_anew():
    model, x, y, _ = clustered_mlp()
    clustering, _ = fit(clustered_mlp)
    passes = clustering._passes_of(model, LOSS, None)
    function = next(iter(passes._compiled.values()))
    traces = function.experimental_get_tracing_count()
    clustering.fit(model, x, y, LOSS)
    assert function.experimental_get_tracing_count() == traces
    assert clustering._passes_of(model, LOSS, None) is passes


def test_save_and_load(tmp_path):
    model, x, y, _ = clustered_mlp()
    clustering, result = fit(clustered_mlp, layers=["hidden"])
    clustering.save(tmp_path / "clusters")
    loaded = GradientClustering.load(tmp_path / "clusters")
    assert loaded.get_config() == clustering.get_config()
    for name, value in vars(result).items():
        np.testing.assert_array_equal(getattr(loaded.result, name), value)
    np.testing.assert_array_equal(
        loaded.predict(model, x, y, LOSS), clustering.predict(model, x, y, LOSS)
    )
    np.testing.assert_array_equal(loaded.fit(model, x, y, LOSS).assignments, result.assignments)


def test_examples_with_gradients_that_are_not_finite_are_left_out(caplog):
    model, x, y, gradients = clustered_mlp()
    bad = x.copy()
    bad[[3, 17], 0] = np.nan
    for representation in ("sketch", "full", "rank1", "svd"):
        clustering = GradientClustering(K, representation, on_not_finite="exclude")
        result = clustering.fit(model, bad, y, LOSS)
        assert result.left_out.tolist() == [3, 17]
        assert (np.flatnonzero(result.assignments == -1) == [3, 17]).all()
        assert "Left out 2 examples whose gradients are not finite: 3, 17." in caplog.text
        kept = result.assignments >= 0
        assert result.sizes.sum() == kept.sum()
        if representation == "full":
            share = oracle.stratified_share(gradients[kept], result.assignments[kept], K)
            assert result.variance_ratio == pytest.approx(share, rel=1e-4)
        again = clustering.fit(model, x, y, LOSS, initial_assignments=result.assignments)
        assert again.assignments.min() == 0


@functools.cache
def linear():
    """A linear model without a bias, for which examples of one kind have one gradient."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.layers[0].set_weights([np.ones((4, 1), "float32")])
    return model


def planted(count, seed, spread=0.02):
    """Examples of three kinds."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, count)
    x = np.eye(4)[kinds] * (1 + np.arange(3))[kinds, None] + spread * rng.normal(size=(count, 4))
    return linear(), x.astype("float32"), np.zeros((count, 1), "float32"), kinds


def same_partition(one, two):
    return len(np.unique(np.stack([one, two]), axis=1).T) == len(np.unique(one)) == 3


def test_a_stream_in_batches():
    clustering = GradientClustering(3, online_rate=0.2, seed=0)
    labels, kinds = [], []
    for step in range(12):
        model, x, y, kind = planted(16, seed=step)
        labels.append(clustering.partial_fit(model, x, y, "mse"))
        kinds.append(kind)
    assert same_partition(np.concatenate(labels[2:]), np.concatenate(kinds[2:]))
    model, x, y, kind = planted(40, seed=99)
    assert same_partition(clustering.predict(model, x, y, "mse"), kind)
    # An exponential average of 16 examples a batch holds 16 / 0.2 of them in the long run.
    assert clustering._sums.sizes.sum() == pytest.approx(16 * (1 - 0.8**12) / 0.2, rel=1e-6)


def test_a_stream_whose_kinds_change():
    """A kind that is gone loses its cluster, a new one gets it."""
    clustering = GradientClustering(3, online_rate=0.3, seed=0)
    for step in range(30):
        model, x, y, kinds = planted(24, seed=step, spread=0.0)
        if step >= 5:
            x[kinds == 0] = [0, 0, 0, 5.0]
        labels = clustering.partial_fit(model, x, y, "mse")
    assert same_partition(labels, kinds)


def test_partial_fit_goes_on_after_fit():
    model, x, y, kinds = planted(60, seed=0)
    clustering = GradientClustering(3, seed=0)
    result = clustering.fit(model, x, y, "mse")
    assert same_partition(result.assignments, kinds)
    model, x, y, more = planted(20, seed=1)
    labels = clustering.partial_fit(model, x, y, "mse")
    mapping = dict(zip(kinds, result.assignments, strict=True))
    assert labels.tolist() == [mapping[kind] for kind in more]
