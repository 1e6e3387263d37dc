"""Clustering while a model trains: when, who is told, and that nothing else changes."""

import csv
import dataclasses
import logging
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.problems import training_mode_model
from tf_gradvar import (
    ClusterModel,
    Discover,
    DiscoverIGT,
    DiscoverOver,
    GradientClustering,
    cluster_batches,
    stratified_batches,
)
from tf_gradvar.callbacks import BetweenClusterVariance, Recluster, at
from tf_gradvar.data.fingerprint import fingerprint
from tf_gradvar.estimators import DiscoverEstimate, Stratified
from tf_gradvar.optimizers import cluster_transfer
from tf_gradvar.per_example import squared_norms
from tf_gradvar.records import RecordFile

N, K = 40, 3
LABELS = np.arange(N) % K
SHARES = (np.bincount(LABELS) / N).tolist()


@dataclasses.dataclass(frozen=True)
class Result:
    assignments: np.ndarray
    fingerprint: str
    objective: tuple = (3.0, 2.0)
    variance_ratio: float = 0.25

    @property
    def sizes(self):
        return np.bincount(self.assignments, minlength=K)


class ByNorm:
    """In place of a GradientClustering: clusters of unequal sizes by the gradients' norms."""

    def __init__(self):
        self.starts = []

    def fit(self, model, x, y=None, loss=None, initial_assignments=None):
        self.starts.append(initial_assignments)
        norms = np.asarray(squared_norms(model, x, y, loss))
        ranks = np.argsort(np.argsort(norms))
        return Result(np.digitize(ranks, [6, 18]), fingerprint(x, y))


class Failing(ByNorm):
    """Fails from the second time on."""

    def fit(self, *args, **kwargs):
        if self.starts:
            raise FloatingPointError("the gradients of 3 examples are not finite.")
        return super().fit(*args, **kwargs)


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 4)).astype("float32")
    return x, (x[:, :1] - 0.5 * LABELS[:, None]).astype("float32")


def linear_model(**options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="head")])
    model.compile(keras.optimizers.SGD(0.05), loss="mse", **options)
    return model


def fit(model, callbacks, epochs=1):
    """Four steps an epoch."""
    return model.fit(*data(), batch_size=10, epochs=epochs, verbose=0, callbacks=callbacks)


def recluster_of(clustering=None, **options):
    return Recluster(clustering or ByNorm(), *data(), **options)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"every": 3}, [0, 3, 6]),
        ({"every": 3, "start": 2}, [2, 5, 8]),
        ({"every": at([0, 5])}, [0, 5]),
        ({"every": at([1, 5, 7]), "start": 4}, [5, 7]),
    ],
)
def test_schedules(options, steps):
    recluster = recluster_of(**options)
    fit(linear_model(), [recluster], epochs=2)
    assert [record["step"] for record in recluster.history] == steps


def test_initial_assignments_keep_the_one_rule():
    column = np.array([[2], [0], [-1]])
    np.testing.assert_array_equal(
        recluster_of(initial_assignments=column, every=4).assignments, [2, 0, -1]
    )
    with pytest.raises(ValueError, match="`initial_assignments` must be integers"):
        recluster_of(initial_assignments=np.eye(3), every=4)


def test_several_steps_in_one_execution():
    recluster = recluster_of(every=3)
    fit(linear_model(steps_per_execution=4), [recluster], epochs=3)
    assert [record["step"] for record in recluster.history] == [0, 4, 8, 12]


def test_each_clustering_starts_from_the_one_before():
    clustering, found = ByNorm(), []
    listener = Stratified(LABELS)
    recluster = recluster_of(clustering, every=4, initial_assignments=LABELS, estimators=[listener])
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: found.append(listener.assignments)
    )
    fit(linear_model(), [recluster, keep], epochs=2)
    np.testing.assert_array_equal(clustering.starts[0], LABELS)
    np.testing.assert_array_equal(clustering.starts[1], found[0])
    np.testing.assert_array_equal(clustering.starts[2], found[3])
    np.testing.assert_array_equal(listener.assignments, recluster.assignments)
    assert (found[0] != found[3]).any()
    moved = recluster.history[1]["moved"]
    assert moved == pytest.approx(np.mean(found[0] != found[3]))


def test_records_and_logs(tmp_path, capsys):
    path = tmp_path / "run" / "clusters.jsonl"
    recluster = recluster_of(every=at([2, 3, 10]), path=path, verbose=True)
    written = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = fit(linear_model(), [recluster, written], epochs=3).history
    assert RecordFile(path).read()[1:] == recluster.history[1:]
    first = recluster.history[0]
    assert (first["step"], first["epoch"], first["objective"]) == (2, 0, [3.0, 2.0])
    assert (first["variance_ratio"], first["sizes"]) == (0.25, [6, 12, 22])
    assert np.isnan(first["moved"])
    assert first["seconds"] > 0
    np.testing.assert_array_equal(history["recluster/variance_ratio"], [0.25, np.nan, 0.25])
    np.testing.assert_array_equal(history["recluster/objective"], [2.0, np.nan, 2.0])
    seconds = [recluster.history[1]["seconds"], np.nan, recluster.history[2]["seconds"]]
    np.testing.assert_array_equal(history["recluster/seconds"], seconds)
    with open(tmp_path / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["recluster/moved"]) == recluster.history[1]["moved"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 2  V[GC]/V[SG] 0.250  3 clusters of 6 to 22 examples  [")
    assert "% moved" in lines[1]


def test_nothing_changes_where_nothing_listens():
    """100 steps with batch normalization and dropout, bit by bit."""
    runs = []
    for clustered in (False, True):
        model = training_mode_model()
        recluster = recluster_of(every=25, estimators=[Stratified(LABELS)])
        fit(model, [recluster] if clustered else [], epochs=25)
        runs.append([np.array(v) for v in [*model.variables, *model.optimizer.variables]])
    assert len(recluster.history) == 5
    for plain, with_callback in zip(*runs, strict=True):
        np.testing.assert_array_equal(plain, with_callback)


OPTIMIZERS = {
    "Discover": lambda q: Discover(0.05, K, alpha=0.5, gain=1.0, cluster_probabilities=q),
    "DiscoverIGT": lambda q: DiscoverIGT(0.02, K, alpha=0.5, cluster_probabilities=q),
    "DiscoverOver": lambda q: DiscoverOver(
        keras.optimizers.Adam(0.05), K, alpha=0.5, cluster_probabilities=q
    ),
    "scaled": lambda q: keras.optimizers.LossScaleOptimizer(
        Discover(0.05, K, alpha=0.5, gain=1.0, cluster_probabilities=q)
    ),
}


def cluster_model(make, q=SHARES):
    keras.utils.set_random_seed(0)
    model = ClusterModel.from_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))
    model.compile(make(q), loss="mse")
    return model


def batches_of(clusters=LABELS, **options):
    settings = {"num_clusters": K, "group_size": 4, "groups_per_batch": 2, "seed": 0}
    options = {"cluster_probabilities": SHARES, "read_ahead": False, **options}
    return cluster_batches(data(), clusters, **settings, **options)


@pytest.mark.parametrize(
    ("name", "buffers"), [*((name, "match") for name in OPTIMIZERS), ("Discover", "restart")]
)
def test_sampler_and_optimizer_change_between_two_steps(name, buffers):
    """The same as stopping, changing both by hand, and going on with a new dataset."""
    model, batches = cluster_model(OPTIMIZERS[name]), batches_of()
    recluster = recluster_of(
        every=at([5]), dataset=batches, buffers=buffers, initial_assignments=LABELS
    )
    model.fit(batches, steps_per_epoch=8, epochs=1, verbose=0, callbacks=[recluster])

    other, batches = cluster_model(OPTIMIZERS[name]), batches_of()
    other.fit(batches, steps_per_epoch=5, epochs=1, verbose=0)
    optimizer = getattr(other.optimizer, "inner_optimizer", None) if name == "scaled" else None
    optimizer = optimizer or other.optimizer
    found = ByNorm().fit(other, *data(), "mse").assignments
    transfer = cluster_transfer(LABELS, found, K) if buffers == "match" else None
    q = np.bincount(found) / N
    optimizer.recluster(transfer, q)
    state = {"batches_taken": 5, "fingerprint": batches_of(
        found, cluster_probabilities=q).sampling.fingerprint()}  # fmt: skip
    rest = batches_of(found, cluster_probabilities=q, state=state)
    other.fit(rest, steps_per_epoch=3, epochs=1, verbose=0)

    np.testing.assert_array_equal(recluster.assignments, found)
    own = [*model.trainable_variables, *model.optimizer.variables]
    others = [*other.trainable_variables, *other.optimizer.variables]
    for a, b in zip(own, others, strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-6, atol=1e-7)
    assert recluster.history[0]["sizes"] == [6, 12, 22]


@pytest.mark.parametrize("sampler", ["cluster_batches", "stratified_batches"])
def test_clustering_of_gradients_itself(sampler):
    """Whichever way they are drawn, the batches are those of the clusters that were found."""
    clustering = GradientClustering(K, seed=3, verbose=False)
    if sampler == "cluster_batches":
        model, batches = cluster_model(OPTIMIZERS["Discover"]), batches_of()
    else:
        model, batches = linear_model(), stratified_batches(data(), LABELS, seed=0)
    recluster = recluster_of(clustering, every=3, dataset=batches)
    model.fit(batches, steps_per_epoch=8, epochs=1, verbose=0, shuffle=False, callbacks=[recluster])
    assert [record["step"] for record in recluster.history] == [0, 3, 6]
    np.testing.assert_array_equal(recluster.assignments, clustering.result.assignments)
    assert max(record["variance_ratio"] for record in recluster.history) < 0.6
    sizes = np.bincount(recluster.assignments, minlength=K)
    if sampler == "cluster_batches":
        assert batches.sampling.cluster_sizes == tuple(sizes)
        drawn, _ = next(iter(batches))
        rows = [np.flatnonzero((data()[0] == x).all(axis=1))[0] for x in drawn["inputs"].numpy()]
        np.testing.assert_array_equal(recluster.assignments[rows], drawn["cluster_ids"])
    else:
        np.testing.assert_array_equal(batches.sampling.design.sizes, sizes)


def test_before_the_first_step_and_on_to_another_fit():
    model, batches = cluster_model(OPTIMIZERS["Discover"]), batches_of()
    discover = model.optimizer
    recluster = recluster_of(every=4, dataset=batches)
    model.fit(batches, steps_per_epoch=4, epochs=1, verbose=0, callbacks=[recluster])
    assert discover.cluster_probabilities == pytest.approx([6 / N, 12 / N, 22 / N])
    assert batches.sampling.cluster_sizes == (6, 12, 22)
    model.fit(batches, steps_per_epoch=4, epochs=1, verbose=0, callbacks=[recluster])
    assert [record["step"] for record in recluster.history] == [0, 4, 8]


def test_without_the_sampler_the_optimizer_keeps_its_clusters():
    model, batches = cluster_model(OPTIMIZERS["Discover"]), batches_of()
    recluster = recluster_of(every=2)
    model.fit(batches, steps_per_epoch=4, epochs=1, verbose=0, callbacks=[recluster])
    assert model.optimizer.cluster_probabilities == SHARES
    assert batches.sampling.cluster_sizes == tuple(np.bincount(LABELS))


def test_whoever_measures_follows():
    model, batches = cluster_model(OPTIMIZERS["Discover"]), batches_of()
    model.optimizer.build(model.trainable_variables)
    estimate = DiscoverEstimate(model.optimizer, LABELS, group_size=4)
    between = BetweenClusterVariance(*data(), LABELS, K, SHARES, every=100)
    recluster = recluster_of(every=at([3]), dataset=batches, estimators=[estimate, between])
    model.fit(batches, steps_per_epoch=3, epochs=1, verbose=0, callbacks=[recluster, between])
    np.testing.assert_array_equal(estimate.assignments, recluster.assignments)
    again = BetweenClusterVariance(
        *data(), recluster.assignments, K, estimate.probabilities, every=100
    )
    again.set_model(model)
    assert between.measure() == pytest.approx(again.measure(), rel=1e-6)


def test_a_stratified_estimator_of_a_design_follows_the_sampler_s():
    """Its expected numbers of draws are those of the new clusters, of 6, 12 and 22 examples."""
    batches = stratified_batches(data(), LABELS, batch_size=8, seed=0)
    of_design, fixed = Stratified(batches), Stratified(LABELS)
    recluster = recluster_of(every=at([1]), dataset=batches, estimators=[of_design, fixed])
    linear_model().fit(
        batches, steps_per_epoch=2, epochs=1, verbose=0, shuffle=False, callbacks=[recluster]
    )
    np.testing.assert_array_equal(of_design.assignments, recluster.assignments)
    np.testing.assert_allclose(of_design.expected_draws, np.array([6, 12, 22]) / N * 8)
    np.testing.assert_array_equal(fixed.assignments, recluster.assignments)
    np.testing.assert_array_equal(fixed.expected_draws, [1, 1, 1])


def test_a_failing_clustering_leaves_everything_as_it_is(caplog):
    listener = Stratified(LABELS)
    recluster = recluster_of(Failing(), every=3, estimators=[listener])
    model = linear_model()
    with caplog.at_level(logging.WARNING):
        fit(model, [recluster], epochs=2)
    assert int(model.optimizer.iterations) == 8
    assert "at step 3 failed" in caplog.text
    assert "the gradients of 3 examples are not finite" in caplog.text
    assert [record["step"] for record in recluster.history] == [0, 3, 6]
    assert "not finite" in recluster.history[2]["failed"]
    np.testing.assert_array_equal(recluster.assignments, listener.assignments)
    assert (listener.assignments != LABELS).any()


def test_a_diverged_run_keeps_its_clusters(caplog):
    model, clustering = linear_model(), GradientClustering(K, verbose=False)
    model.optimizer.learning_rate = 1e30
    recluster = recluster_of(clustering, every=4)
    with caplog.at_level(logging.WARNING):
        fit(model, [recluster], epochs=2)
    assert int(model.optimizer.iterations) == 8
    assert ["failed" in record for record in recluster.history] == [False, True, True]
    assert "The gradients of 40 of 40 examples are infinite or not a number" in caplog.text
    np.testing.assert_array_equal(recluster.assignments, clustering.result.assignments)


MIRRORED = """
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.callbacks.test_recluster import (
    LABELS, OPTIMIZERS, SHARES, ByNorm, K, N, batches_of, data)
from tf_gradvar import ClusterModel, GradientClustering
from tf_gradvar.callbacks import Recluster, at
from tf_gradvar.estimators import Stratified

def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    plain, same = network(), network()
    for model in (plain, same):
        model.compile(keras.optimizers.SGD(0.05), loss="mse")
    clustered = ClusterModel.from_model(network())
    clustered.compile(OPTIMIZERS["Discover"](SHARES), loss="mse")

def fit(model, callbacks):
    model.fit(tf.data.Dataset.from_tensor_slices(data()).batch(8), epochs=2, verbose=0,
              callbacks=callbacks)
    return model.get_weights()
clustering = GradientClustering(K, verbose=False)
recluster = Recluster(clustering, *data(), every=4, estimators=[Stratified(LABELS)])
expected, found = fit(plain, []), fit(same, [recluster])
assert all(np.array_equal(a, b) for a, b in zip(expected, found))
assert [record["step"] for record in recluster.history] == [0, 4, 8]

batches = batches_of()
recluster = Recluster(ByNorm(), *data(), every=at([3, 6]), dataset=batches,
                      initial_assignments=LABELS)
clustered.fit(batches, steps_per_epoch=9, epochs=1, verbose=0, callbacks=[recluster])
discover = clustered.optimizer
assert np.allclose(discover.cluster_probabilities, [6 / N, 12 / N, 22 / N])
for buffers, average in zip(discover.cluster_gradients, discover.mean_cluster_gradients):
    copies = [np.array(copy) for copy in buffers.value.values]
    assert np.array_equal(*copies)
    expected = np.tensordot(discover.cluster_probabilities, copies[0], 1)
    assert np.allclose(average.value.values[0], expected, atol=1e-6)
assert "failed" not in recluster.history[1]
print("as expected")
"""


@pytest.mark.slow
def test_mirrored_strategy():
    """Two logical CPUs, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED], check=False, capture_output=True, text=True
    )
    assert "as expected" in done.stdout, done.stderr[-3000:]


def test_a_failure_before_the_first_step_stops():
    clustering = Failing()
    clustering.starts.append(None)
    with pytest.raises(FloatingPointError, match="not finite"):
        fit(linear_model(), [recluster_of(clustering, every=3)])


def test_a_sampler_that_cannot_follow():
    model, batches = cluster_model(OPTIMIZERS["Discover"]), batches_of(read_ahead=True)
    recluster = recluster_of(every=2, dataset=batches)
    with pytest.raises(ValueError, match="`reassign` needs cluster batches"):
        model.fit(batches, steps_per_epoch=4, epochs=1, verbose=0, callbacks=[recluster])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "`every` must be an integer of at least 1"),
        ({"every": 2, "start": -1}, "`start` must be an integer of at least 0"),
        ({"every": 2, "start": 1.5}, "`start` must be an integer of at least 0"),
        ({"every": 2, "buffers": "zero"}, "`buffers` must be one of"),
        ({"every": 2, "dataset": [1, 2]}, "`dataset` must have a method `reassign`"),
        ({"every": 2, "estimators": [3]}, "`estimators` must have a method `reassign`"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        recluster_of(**options)
