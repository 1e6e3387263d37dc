"""The optimizers under test as data, each beside its oracle."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from tests.oracles import discover_oracle as oracle
from tf_gradvar.optimizers import (
    IGT,
    QHM,
    Discover,
    DiscoverIGT,
    DiscoverOver,
    DiscoverQHM,
    QHDiscover,
)

RATE, ALPHA = 0.05, 0.3
K = 3
PROBABILITIES = [0.5, 0.3, 0.2]
SHAPES = [(4, 3), (3,), ()]
NAMES = ["kernel", "bias", "scale"]


@dataclass(frozen=True)
class Case:
    """One optimizer: how to make it, and its base step in the oracle."""

    name: str
    make: Callable  # of (learning rate, cluster arguments, Keras' own arguments)
    base: Callable  # of (rate, decay=, spared=)
    clustered: bool = True
    gain: float | str = 1.0
    scale: float | str = 1.0

    def optimizer(self, rate=RATE, *, num_clusters=K, probabilities=PROBABILITIES, alpha=ALPHA,
                  buffer_dtype="float32", **kwargs):  # fmt: skip
        clusters = {
            "num_clusters": num_clusters,
            "cluster_probabilities": probabilities if num_clusters == K else None,
            "alpha": alpha,
            "buffer_dtype": buffer_dtype,
            "gain": self.gain,
            "scale": self.scale,
        }
        return self.make(rate, clusters, kwargs)

    def variate(self, *, num_clusters=K, probabilities=PROBABILITIES, alpha=ALPHA, shapes=SHAPES):
        if not self.clustered:
            return oracle.PlainMean()
        q = probabilities if num_clusters == K else None
        numbers = {"gain": self.gain, "scale": self.scale}
        return oracle.ControlVariate(shapes, num_clusters, alpha, q, **numbers)

    def __str__(self):
        return self.name


def _over(inner, **own):
    """DiscoverOver gives Keras' arguments to the optimizer inside."""
    return lambda rate, clusters, kwargs: DiscoverOver(inner(rate, **own, **kwargs), **clusters)


def _quasi_hyperbolic(rate, clusters, kwargs):
    clusters = dict(clusters)
    return QHDiscover(rate, nu=clusters.pop("scale"), **clusters, **kwargs)


CASES = [
    Case(
        "QHM",
        lambda rate, _, kwargs: QHM(rate, momentum=0.9, nu=0.7, **kwargs),
        lambda rate, **kwargs: oracle.QHM(rate, 0.9, 0.7, **kwargs),
        clustered=False,
    ),
    Case(
        "IGT",
        lambda rate, _, kwargs: IGT(rate, momentum=0.8, tail_fraction=2.0, **kwargs),
        lambda rate, **kwargs: oracle.IGT(rate, 0.8, 2.0, **kwargs),
        clustered=False,
    ),
    Case(
        "Discover",
        lambda rate, clusters, kwargs: Discover(rate, **clusters, **kwargs),
        oracle.SGD,
    ),
    Case(
        "DiscoverQHM",
        lambda rate, clusters, kwargs: DiscoverQHM(
            rate, momentum=0.9, nu=0.7, **clusters, **kwargs
        ),
        lambda rate, **kwargs: oracle.QHM(rate, 0.9, 0.7, **kwargs),
    ),
    Case(
        "DiscoverIGT",
        lambda rate, clusters, kwargs: DiscoverIGT(
            rate, momentum=0.8, tail_fraction=2.0, **clusters, **kwargs
        ),
        lambda rate, **kwargs: oracle.IGT(rate, 0.8, 2.0, **kwargs),
    ),
    Case(
        "Discover-gain",
        lambda rate, clusters, kwargs: Discover(rate, **clusters, **kwargs),
        oracle.SGD,
        gain=0.4,
    ),
    Case(
        "Discover-learned-scale",
        lambda rate, clusters, kwargs: Discover(rate, **clusters, **kwargs),
        oracle.SGD,
        scale="auto",
    ),
    Case("QHDiscover", _quasi_hyperbolic, oracle.SGD, gain="alpha", scale=0.7),
    Case("DiscoverOver-SGD", _over(keras.optimizers.SGD), oracle.SGD),
    # AdamW has a weight decay by default; the oracle gets the same through `decay`. With the
    # usual beta_2 of 0.999, Keras' float32 bias correction is only right to 6e-5.
    Case(
        "DiscoverOver-AdamW",
        lambda rate, clusters, kwargs: _over(keras.optimizers.AdamW, beta_2=0.9)(
            rate, clusters, {"weight_decay": 0.004, **kwargs}
        ),
        lambda rate, decay=0.004, **kwargs: oracle.Adam(rate, beta_2=0.9, decay=decay, **kwargs),
    ),
]
CLUSTERED = [case for case in CASES if case.clustered]
SHIFTING = [case for case in CASES if "IGT" in case.name]
BY_NAME = {case.name: case for case in CASES}


def initial_weights(shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def variables(shapes=SHAPES, names=NAMES):
    return [
        keras.Variable(w, name=name) for w, name in zip(initial_weights(shapes), names, strict=True)
    ]


def values(tensors):
    return [None if t is None else ops.convert_to_numpy(t) for t in tensors]


def draws(num_groups, num_clusters=K, shapes=SHAPES, seed=1, pull=0.3):
    """A function of (step, weights): random group gradients that depend on the weights.

    The pull towards 0 tells gradients at the shifted weights from those at the true ones.
    Groups of one cluster are alike, so that clusters differ, and clusters repeat.
    """
    centers = [np.random.default_rng(seed).normal(size=(num_clusters, *s)) for s in shapes]

    def draw(t, weights):
        rng = np.random.default_rng([seed, t])
        clusters = rng.integers(num_clusters, size=num_groups)
        groups = [
            (center[clusters] + 0.5 * rng.normal(size=(num_groups, *s)) + pull * np.asarray(w))
            .astype("float32")
            for center, s, w in zip(centers, shapes, weights, strict=True)
        ]  # fmt: skip
        return groups, [int(k) for k in clusters], None

    return draw


def tensors(case, groups, clusters, sizes=None):
    """The arguments of a step: group gradients and clusters, or the plain mean gradient."""
    if not case.clustered:
        groups = oracle.PlainMean().correct(groups, clusters, sizes)
    groups = [None if g is None else ops.convert_to_tensor(g, "float32") for g in groups]
    if not case.clustered:
        return (groups,)
    clusters = ops.convert_to_tensor(np.asarray(clusters, "int32"))
    sizes = None if sizes is None else ops.convert_to_tensor(np.asarray(sizes, "float32"))
    return groups, clusters, sizes


def corrected(case, optimizer, *draw):
    """The gradient that the base optimizer gets, as tensors."""
    arguments = tensors(case, *draw)
    return optimizer.correct_gradients(*arguments) if case.clustered else arguments[0]


def step(case, optimizer, *draw):
    optimizer.apply(corrected(case, optimizer, *draw))


def compiled_step(case, optimizer, weights):
    """The same as `step` in one compiled function."""

    def take(*arguments):
        gradients = optimizer.correct_gradients(*arguments) if case.clustered else arguments[0]
        optimizer.apply(gradients)

    function = compiled(take, [*optimizer.variables, *weights])
    return lambda *draw: function(*tensors(case, *draw))


def compiled(function, state):
    """A function that assigns the variables in `state`, compiled as its backend does it."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() == "torch":
        return function
    import jax

    @jax.jit
    def pure(before, *arguments):
        with keras.StatelessScope(state_mapping=list(zip(state, before, strict=True))) as scope:
            function(*arguments)
        return [scope.get_current_value(v) for v in state]

    def run(*arguments):
        for variable, value in zip(state, pure([v.value for v in state], *arguments), strict=True):
            variable.assign(value)

    return run


def train(case, optimizer, weights, draw, steps):
    """Take steps on `draw`; leaves the true weights in the variables."""
    if not optimizer.built:
        optimizer.build(weights)
    take = compiled_step(case, optimizer, weights)
    if steps < 10 and keras.backend.backend() == "tensorflow":  # tracing would take longer
        take = functools.partial(step, case, optimizer)
    for t in range(steps):
        take(*draw(t, values(weights)))
    use_true_weights(optimizer)
    return values(weights)


def use_true_weights(optimizer):
    shifting = find_shifting(optimizer)
    if shifting:
        shifting.use_true_weights()


def use_shifted_weights(optimizer):
    shifting = find_shifting(optimizer)
    if shifting:
        shifting.use_shifted_weights()


def find_shifting(optimizer):
    """The optimizer of the family of IGT inside an optimizer, or None."""
    while optimizer is not None and not hasattr(optimizer, "use_true_weights"):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer


def assert_close(actual, expected, rtol=1e-5):
    """Equal up to rounding, which is relative to the size 1 of weights and gradients."""
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float64), e, rtol=rtol, atol=rtol)
