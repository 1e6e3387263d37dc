"""Optimizers and the group gradients that they get, as data drawn with hypothesis."""

import math
from dataclasses import dataclass, field

import hypothesis.strategies as st
import keras
import ml_dtypes
import numpy as np

from tests.hunt.problem import Data
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

NAMES = (
    *("QHM", "IGT", "Discover", "DiscoverQHM", "QHDiscover", "DiscoverIGT"),
    *("DiscoverOver", "DiscoverAdam"),
)
DTYPES = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


@dataclass(frozen=True, repr=False)
class Move(Data):
    """One step: the cluster of each group, its size, and what is wrong with it.

    Attributes:
        clusters: C integers; -1 and K are no clusters.
        sizes: C numbers, or None for groups of equal size.
        broken: Places in the batch of groups whose gradient is not finite.
        recluster: None, `"mean"` or `"transfer"` before the step.
    """

    clusters: tuple
    sizes: tuple | None = None
    broken: tuple = ()
    recluster: str | None = None


@dataclass(frozen=True, repr=False)
class Run(Data):
    """An optimizer and the steps that it takes.

    Attributes:
        rank: Of the buffers of matrices; None for full ones.
        without: Variables that never have a gradient.
        compiled: Whether the steps run in a `tf.function`.
        saved_after: The state goes to a new optimizer after so many steps, or never (None).
    """

    name: str
    shapes: tuple
    num_clusters: int
    moves: tuple
    probabilities: tuple | None = None
    alpha: float = 0.1
    gain: float | str = 1.0
    scale: float | str = 1.0
    momentum: float = 0.9
    nu: float = 0.7
    tail_fraction: float = 2.0
    decay: float = 0.0
    schedule: bool = False
    clip: dict = field(default_factory=dict)
    buffer_dtype: str = "float32"
    rank: int | None = None
    gradient_dtype: str = "float32"
    without: tuple = ()
    compiled: bool = False
    saved_after: int | None = None
    seed: int = 0

    @property
    def clustered(self):
        """Whether the optimizer has buffers."""
        return self.name not in ("QHM", "IGT")


RATE = 0.05


@st.composite
def runs(draw):
    """Draw a `Run`."""
    num_clusters = draw(st.integers(1, 5))
    shapes = tuple(draw(st.lists(st.sampled_from([(), (3,), (2, 3), (3, 3), (1,)]), min_size=1,
                                 max_size=3)))  # fmt: skip
    rank = draw(st.sampled_from([None, None, 1, 2]))
    if rank is not None:
        shapes = (*shapes[1:], (5, 5) if rank == 2 else draw(st.sampled_from([(3, 3), (2, 2, 3)])))
    probabilities = draw(st.none() | _probabilities(num_clusters))
    groups = draw(st.integers(1, 6))
    same_number = draw(st.booleans())
    moves = []
    for _ in range(draw(st.integers(1, 8))):
        count = groups if same_number else draw(st.integers(1, 6))
        moves.append(draw(_moves(num_clusters, count)))
    gain = draw(st.sampled_from([1.0, 1.0, 0.3, "alpha"]))
    return Run(
        draw(st.sampled_from(NAMES)),
        shapes,
        num_clusters,
        tuple(moves),
        probabilities=probabilities,
        alpha=draw(st.sampled_from([0.1, 0.3, 1.0])),
        gain=gain,
        scale=draw(st.sampled_from([1.0, 1.0, 0.4, "auto"] if gain == 1.0 else [1.0, 0.4])),
        momentum=draw(st.sampled_from([0.0, 0.9])),
        nu=draw(st.sampled_from([0.0, 0.7, 1.0])),
        tail_fraction=draw(st.sampled_from([1.0, 2.0, 4.5])),
        decay=draw(st.sampled_from([0.0, 0.0, 0.1])),
        schedule=draw(st.booleans()),
        clip=draw(
            st.sampled_from(
                [{}, {}, {"clipnorm": 0.7}, {"global_clipnorm": 0.7}, {"clipvalue": 0.3}]
            )
        ),
        buffer_dtype=draw(st.sampled_from(["float32", "float32", "float32", "bfloat16"]))
        if rank is None
        else "float32",
        rank=rank,
        gradient_dtype=draw(st.sampled_from(["float32", "float32", *DTYPES])),
        without=(len(shapes) - 1,) if len(shapes) > 1 and draw(st.integers(0, 3)) == 0 else (),
        compiled=same_number and draw(st.integers(0, 3)) == 0,
        saved_after=draw(st.none() | st.integers(0, len(moves) - 1)),
        seed=draw(st.integers(0, 999)),
    )


def _probabilities(num_clusters):
    """K probabilities, some of them 0."""
    shares = st.lists(st.integers(0, 8), min_size=num_clusters, max_size=num_clusters).filter(any)
    return shares.map(lambda n: tuple(share / sum(n) for share in n))


@st.composite
def _moves(draw, num_clusters, count):
    strange = draw(st.integers(0, 5)) == 0
    low, high = (-1, num_clusters) if strange else (0, num_clusters - 1)
    clusters = tuple(draw(st.integers(low, high)) for _ in range(count))
    sizes = draw(
        st.none()
        | st.tuples(*[st.sampled_from([0, 1, 2, 3, 0.5])] * count).filter(lambda s: sum(s) > 0)
    )
    broken = ()
    if draw(st.integers(0, 5)) == 0:
        broken = (draw(st.integers(0, count - 1)),)
    again = draw(st.sampled_from([*[None] * 8, "mean", "transfer"]))
    return Move(clusters, sizes, broken, again)


def optimizer_of(run):
    """Return the optimizer of a run, not built."""
    rate = RATE
    if run.schedule:
        rate = keras.optimizers.schedules.CosineDecay(RATE, 6, alpha=0.1)
    own = {**run.clip, **({"weight_decay": run.decay} if run.decay else {})}
    clusters = {
        "num_clusters": run.num_clusters,
        "alpha": run.alpha,
        "cluster_probabilities": run.probabilities and list(run.probabilities),
        "buffer_dtype": run.buffer_dtype,
        "gain": run.gain,
        **({} if run.rank is None else {"buffers": "low_rank", "rank": run.rank}),
    }
    scale = {"scale": run.scale}
    slow = {"momentum": run.momentum}
    return {
        "QHM": lambda: QHM(rate, nu=run.nu, **slow, **own),
        "IGT": lambda: IGT(rate, tail_fraction=run.tail_fraction, **slow, **own),
        "Discover": lambda: Discover(rate, **clusters, **scale, **own),
        "DiscoverQHM": lambda: DiscoverQHM(rate, nu=run.nu, **slow, **clusters, **scale, **own),
        "QHDiscover": lambda: QHDiscover(rate, nu=run.nu, **clusters, **own),
        "DiscoverIGT": lambda: DiscoverIGT(
            rate, tail_fraction=run.tail_fraction, **slow, **clusters, **scale, **own
        ),
        "DiscoverOver": lambda: DiscoverOver(
            keras.optimizers.SGD(rate, **slow, **own), **clusters, **scale
        ),
        "DiscoverAdam": lambda: DiscoverOver(
            keras.optimizers.AdamW(rate, beta_2=0.9, **{"weight_decay": 0.0, **own}),
            **clusters,
            **scale,
        ),
    }[run.name]()


def oracle_of(run):
    """Return the base step and the control variate of the oracle."""
    rate = RATE
    if run.schedule:

        def rate(taken):
            share = (1 + math.cos(math.pi * min(taken, 6) / 6)) / 2
            return RATE * (0.9 * share + 0.1)

    base = {
        "QHM": lambda: oracle.QHM(rate, run.momentum, run.nu, decay=run.decay),
        "IGT": lambda: oracle.IGT(rate, run.momentum, run.tail_fraction, decay=run.decay),
        "Discover": lambda: oracle.SGD(rate, decay=run.decay),
        "DiscoverOver": lambda: oracle.SGD(rate, run.momentum, decay=run.decay),
        "DiscoverAdam": lambda: oracle.Adam(rate, beta_2=0.9, decay=run.decay),
    }
    base["DiscoverQHM"], base["DiscoverIGT"] = base["QHM"], base["IGT"]
    base["QHDiscover"] = base["Discover"]
    if not run.clustered:
        return base[run.name](), oracle.PlainMean()
    arguments = (
        run.shapes,
        run.num_clusters,
        run.alpha,
        run.probabilities,
        rounding(run),
        run.gain,
        run.nu if run.name == "QHDiscover" else run.scale,
    )
    if run.rank is None:
        return base[run.name](), oracle.ControlVariate(*arguments)
    return base[run.name](), oracle.LowRankControlVariate(*arguments, rank=run.rank)


def rounding(run):
    """Return what stands for the buffers' dtype in the oracle."""
    if run.buffer_dtype == "float32":
        return lambda buffer: buffer
    return lambda buffer: np.asarray(buffer).astype(ml_dtypes.bfloat16).astype(np.float64)


def gradients_of(run, t, seen):
    """Return the group gradients [C, *shape] of step t, as the optimizer gets them."""
    move, rng = run.moves[t], np.random.default_rng([run.seed, t])
    centres = np.random.default_rng(run.seed)
    found = []
    for i, shape in enumerate(run.shapes):
        centre = centres.normal(size=(run.num_clusters + 2, *shape))[list(move.clusters)]
        noise = 0.5 * rng.normal(size=(len(move.clusters), *shape))
        group = (centre + noise + 0.3 * seen[i]).astype(DTYPES[run.gradient_dtype])
        for c in move.broken if run.clustered else ():
            if i == c % len(run.shapes):
                group[c] = np.nan if c % 2 else np.inf
        found.append(None if i in run.without else group)
    return found


def transfer_of(run, t):
    """Return random shares of the old clusters in the new ones, and new probabilities."""
    rng = np.random.default_rng([run.seed, t, 1])
    shares = rng.dirichlet(np.ones(run.num_clusters), size=run.num_clusters)
    return shares, rng.dirichlet(np.ones(run.num_clusters)).tolist()
