"""Random sequences of group gradients: every optimizer against the float64 oracle."""

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.hunt import cases, settings
from tests.hunt.optimizer_runs import (
    gradients_of,
    optimizer_of,
    oracle_of,
    runs,
    transfer_of,
)
from tests.oracles import discover_oracle as oracle


class Trained:
    """The optimizer under test, with its variables."""

    def __init__(self, run):
        self.run = run
        rng = np.random.default_rng([run.seed, 2])
        self.start = [rng.normal(size=shape).astype("float32") for shape in run.shapes]
        self.weights = [keras.Variable(w, name=f"w{i}") for i, w in enumerate(self.start)]
        self.optimizer = optimizer_of(run)
        self.optimizer.build(self.weights)
        self.take = self._function()

    def _function(self):
        if not self.run.compiled:
            return self._step
        return tf.function(self._step, reduce_retracing=True)

    def _step(self, groups, clusters, sizes):
        if not self.run.clustered:
            gradients = groups
        else:
            gradients = self.optimizer.correct_gradients(groups, clusters, sizes)
        self.optimizer.apply(gradients)

    def step(self, groups, move):
        """Take a step with group gradients, or with their plain mean."""
        if not self.run.clustered:
            groups = oracle.PlainMean().correct(groups, move.clusters, move.sizes)
        groups = [None if g is None else ops.convert_to_tensor(g) for g in groups]
        clusters = ops.convert_to_tensor(np.asarray(move.clusters, "int32"))
        sizes = None if move.sizes is None else ops.convert_to_tensor(move.sizes, "float32")
        self.take(groups, clusters, sizes)

    def replace_optimizer(self):
        """Go on with a new optimizer that has the configuration and state of this one."""
        state = {}
        self.optimizer.save_own_variables(state)
        config = self.optimizer.get_config()
        self.optimizer = type(self.optimizer).from_config(config)
        self.optimizer.build(self.weights)
        self.optimizer.load_own_variables({key: np.array(v) for key, v in state.items()})
        self.take = self._function()

    def shifting(self):
        """Return the optimizer that shifts the weights, or None."""
        return self.optimizer if hasattr(self.optimizer, "use_true_weights") else None


def check(run):
    """Train both; compare the weights after every step, the buffers at the end."""
    trained = Trained(run)
    base, variate = oracle_of(run)
    expected = [np.float64(w) for w in trained.start]
    for t, move in enumerate(run.moves):
        if move.recluster and run.clustered:
            transfer, probabilities = transfer_of(run, t)
            if move.recluster == "mean":
                transfer = None
            trained.optimizer.recluster(transfer, probabilities)
            variate.recluster(transfer, probabilities)
        if trained.shifting():
            trained.shifting().use_shifted_weights()
        seen = [ops.convert_to_numpy(w) for w in trained.weights]
        assert_close(run, seen, base.seen(expected), t)
        groups = gradients_of(run, t, seen)
        trained.step(groups, move)
        exact = [None if g is None else g.astype(np.float64) for g in groups]
        gradients = variate.correct(exact, move.clusters, move.sizes)
        expected = base.step(expected, oracle.clipped(gradients, **run.clip))
        if trained.shifting():
            trained.shifting().use_true_weights()
        assert_close(run, [ops.convert_to_numpy(w) for w in trained.weights], expected, t)
        if run.saved_after == t:
            trained.replace_optimizer()
    if run.clustered:
        check_buffers(run, trained.optimizer, variate)


def check_buffers(run, optimizer, variate):
    """Compare the buffers, their average and the count of groups that were left out."""
    assert int(optimizer.skipped_groups) == variate.skipped
    for i, (buffers, average) in enumerate(
        zip(optimizer.cluster_gradients, optimizer.mean_cluster_gradients, strict=True)
    ):
        stacked = np.stack([variate.buffers[i][k] for k in range(run.num_clusters)])
        held = ops.stack([ops.cast(buffers[k], "float32") for k in range(run.num_clusters)])
        actual = [ops.convert_to_numpy(v) for v in (held, average)]
        assert_close(run, actual, [stacked, variate.average(i)], len(run.moves))


def assert_close(run, actual, expected, t):
    """Equal up to rounding, relative to the size 1 of weights and gradients."""
    tolerance = 2e-5 if run.buffer_dtype == "float32" else 2e-2
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        np.testing.assert_allclose(
            np.asarray(a, np.float64), e, rtol=tolerance, atol=tolerance,
            err_msg=f"variable {i} at step {t}",
        )  # fmt: skip


@pytest.mark.parametrize("seed", settings.seeds(settings.RUNS))
def test_random_runs(seed):
    def one(run):
        hypothesis.note(f"RUN = {run!r}")
        check(run)

    settings.hunt(seed, runs(), one)


@pytest.mark.parametrize("name", cases.RUNS)
def test_found_runs(name):
    check(cases.RUNS[name])
