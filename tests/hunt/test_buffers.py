"""Random models trained by cluster: buffers with alpha = 1 against each cluster's own gradient.

The definition: the gradient of a group is that of the loss that Keras computes for a batch of this
group alone. The groups are known to the model (contiguous, of equal size) or only their ids.
"""

import contextlib
import io
from dataclasses import replace

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.hunt import cases, settings
from tests.hunt.building import (
    build,
    in_order,
    make_inputs,
    make_targets,
    packed,
    policy_of,
)
from tests.hunt.checking import FaultError, UnusableError, is_a_sentence
from tests.hunt.models import problems
from tests.hunt.objectives import rank_of_loss
from tests.hunt.problem import describe
from tf_gradvar import ClusterModel, Discover

# These draw noise, or compute something else, in training mode.
_TRAINING = ("BatchNormalization", "Dropout", "SpectralNormalization", "noise")
_CLUSTERS = 3


@st.composite
def trained(draw):
    """Draw a problem without layers that differ in training mode, the ids, and C or None."""
    problem = draw(problems())
    hypothesis.assume(not any(name in _TRAINING for name in problem.names()))
    hypothesis.assume(problem.policy in ("float32", "float64"))
    groups = draw(st.none() | st.integers(1, 3))
    if groups:
        size = draw(st.integers(1, 2))
        ids = [draw(st.integers(0, _CLUSTERS - 1)) for _ in range(groups)]
        ids = tuple(k for k in ids for _ in range(size))
    else:
        number = problem.batch
        ids = tuple(draw(st.integers(0, _CLUSTERS - 1)) for _ in range(number))
    return replace(problem, batch=len(ids)), ids, groups


def check(example):
    """Compare the buffers after one step with the clusters' own gradients."""
    problem, ids, groups = example
    keras.backend.clear_session()
    line = f"{describe(problem)}; IDS = {ids}; GROUPS = {groups}"
    with policy_of(problem):
        try:
            task = Task(problem, ids, groups)
            expected = task.expected()
        except Exception as error:
            raise UnusableError(str(error)) from error
        try:
            found = task.buffers()
        except Exception as error:
            if problem.may_be_refused and is_a_sentence(error):
                return "refused"
            raise FaultError(f"{type(error).__name__}: {str(error)[-1500:]}\n{line}") from error
    scale = 1e-30 + max(np.abs(g).max() for row in expected.values() for g in row)
    for k, gradients in expected.items():
        for buffer, gradient in zip(found, gradients, strict=True):
            error = np.abs(buffer[k] - gradient).max() / scale
            if not error <= 1e-4:
                raise FaultError(f"The buffer of cluster {k} is wrong by {error:.2g}\n{line}")
    return "right"


class Task:
    """A built problem with the cluster of each example."""

    def __init__(self, problem, ids, groups):
        self.ids, self.groups = np.array(ids, "int32"), groups
        x = make_inputs(problem)
        self.model = build(problem, x)
        outputs = self.model(x)
        y, self.loss, weight, self.factors = make_targets(problem, outputs)
        if weight is not None:
            weight = _as_keras_takes_them(problem, weight, outputs)
        self.batch = (x, y, weight)
        self.model.compile(loss=self.loss, loss_weights=self.factors)

    def expected(self):
        """Return the gradients of each cluster that occurs.

        Raises:
            ValueError: If one is not finite.
        """
        found = {}
        for k in sorted(set(self.ids.tolist())):
            mine = np.flatnonzero(self.ids == k)
            size = len(self.ids) // self.groups if self.groups else len(mine)
            rows = [self._gradient(places) for places in np.split(mine, len(mine) // size)]
            found[k] = [np.mean(column, axis=0) for column in zip(*rows, strict=True)]
        if not all(np.isfinite(g).all() for row in found.values() for g in row):
            raise ValueError("The gradients are not finite.")
        return found

    def _gradient(self, places):
        x, y, weight = keras.tree.map_structure(
            lambda a: None if a is None else tf.convert_to_tensor(a[places]), self.batch
        )
        with tf.GradientTape() as tape:
            outputs = self.model(x)
            value = self.model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weight)
            value = tf.reduce_sum(value)
        variables = [v.value for v in self.model.trainable_variables]
        gradients = tape.gradient(value, variables, unconnected_gradients="zero")
        return [tf.convert_to_tensor(g).numpy().astype(np.float64) for g in gradients]

    def buffers(self):
        """Return the buffers [K, *shape] of each variable after one step with alpha = 1."""
        model = ClusterModel.from_model(self.model, groups_per_batch=self.groups)
        optimizer = Discover(1e-9, num_clusters=_CLUSTERS, alpha=1.0, gain=1.0)
        model.compile(optimizer, self.loss, loss_weights=self.factors, run_eagerly=True)
        x, y, weight = self.batch
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its memory
            model.train_on_batch({"inputs": x, "cluster_ids": self.ids}, y, weight)
        assert int(optimizer.skipped_groups) == 0
        return [np.array(v) for v in optimizer.cluster_gradients]


def _as_keras_takes_them(problem, weights, outputs):
    """Weights of examples as [B, 1, ...], because Keras broadcasts them along the last axis."""
    shaped = []
    for output, weight, value in zip(
        problem.outputs, in_order(weights), in_order(outputs), strict=True
    ):
        rank = rank_of_loss(output, len(value.shape))
        whole = output.sample_weight == "BT"
        shaped.append(weight if whole else np.reshape(weight, [-1, *[1] * (rank - 1)]))
    return packed(problem, "out", shaped)


@pytest.mark.parametrize("seed", settings.seeds(settings.BUFFERS))
def test_buffers_of_random_models(seed):
    def one(example):
        with contextlib.suppress(UnusableError):
            check(example)

    settings.hunt(seed, trained(), one, settings.BUFFERS)


@pytest.mark.parametrize("name", cases.BUFFERS)
def test_found_buffers(name):
    check(cases.BUFFERS[name])
