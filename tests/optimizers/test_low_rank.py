"""Buffers of low rank in every form: the oracle, their exact average, files, bad input."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import BY_NAME, CLUSTERED, RATE, assert_close
from tests.oracles import discover_oracle as oracle
from tf_gradvar.optimizers import Discover
from tf_gradvar.optimizers.low_rank import FactoredBuffers

jax = pytest.mark.jax
# I = O = K = C, a kernel of a convolution, and variables that keep full buffers.
K = 5
SHAPES = [(5, 5), (2, 2, 3, 5), (5,), (5, 5, 5), (5, 1), ()]
NAMES = ["square", "kernel", "bias", "stack", "column", "scale"]
Q = [0.1, 0.3, 0.2, 0.25, 0.15]
FORMS = [dataclasses.replace(case, rank=2) for case in CLUSTERED]
LEARNED = dataclasses.replace(BY_NAME["Discover-learned-scale"], rank=2)
LOW = dataclasses.replace(BY_NAME["Discover"], rank=2)


def variables():
    return cases.variables(SHAPES, NAMES)


def built(**options):
    options = {"gain": 1.0, "alpha": 0.3, "cluster_probabilities": Q, **options}
    optimizer = Discover(RATE, K, buffers="low_rank", rank=2, **options)
    optimizer.build(variables())
    return optimizer


def draws(num_groups, **options):
    return cases.draws(num_groups, K, SHAPES, **options)


def check(case, draw, steps=9):
    """Compare weights and buffers with those of the oracle."""
    optimizer = case.optimizer(num_clusters=K)
    weights = variables()
    actual = cases.train(case, optimizer, weights, draw, steps)
    variate = case.variate(num_clusters=K, shapes=SHAPES)
    base = case.base(RATE)
    expected = oracle.train(base, variate, cases.initial_weights(SHAPES), draw, steps)[-1]
    assert_close(actual, expected, rtol=2e-5)
    stacked = [np.stack([held[k] for k in range(K)]) for held in variate.buffers]
    assert_close(cases.values(optimizer.cluster_gradients), stacked, rtol=2e-5)
    averages = [variate.average(i) for i in range(len(SHAPES))]
    assert_close(cases.values(optimizer.mean_cluster_gradients), averages, rtol=2e-5)
    return optimizer, variate


@jax
@pytest.mark.parametrize(
    ("case", "num_groups"),
    [*((case, 5) for case in FORMS), (LOW, 1), (LOW, 7), (LEARNED, 1), (LEARNED, 7)],
    ids=str,
)
def test_every_form(case, num_groups):
    optimizer, _ = check(case, draws(num_groups))
    reduced = [isinstance(b, FactoredBuffers) for b in optimizer.cluster_gradients]
    assert reduced == [True, True, False, True, False, False]


@jax
@pytest.mark.parametrize("num_groups", [1, 3, 7])
def test_sizes_and_groups_that_are_left_out(num_groups):
    equal = draws(num_groups)

    def draw(t, weights):
        groups, clusters, _ = equal(t, weights)
        sizes = np.random.default_rng(t).integers(0, 4, size=num_groups)
        sizes[0] = 1 + t % 2
        if t % 3 == 0:
            groups[t % 4][0] = np.nan
        if t % 3 == 1:
            clusters[-1] = -1 if t % 2 else K
        return groups, clusters, sizes

    optimizer, variate = check(LOW, draw)
    assert int(optimizer.skipped_groups.value) == variate.skipped > 0


@jax
@pytest.mark.parametrize("bad", ["nan", "id", "size 0"])
@pytest.mark.parametrize("num_groups", [1, 2, 6])
def test_a_step_without_a_valid_group_changes_nothing(num_groups, bad):
    optimizer = built()
    weights = [np.zeros(shape) for shape in SHAPES]
    for t in range(4):
        cases.corrected(LOW, optimizer, *draws(2)(t, weights))
    before = cases.values(optimizer.variables[2:])
    averages = cases.values(optimizer.mean_cluster_gradients)
    groups, clusters, sizes = draws(num_groups)(9, weights)
    if bad == "nan":
        groups[2][:] = np.nan  # of a vector; the matrices are finite
    if bad == "id":
        clusters = [K] * num_groups
    if bad == "size 0":
        sizes = [0] * num_groups
    v = cases.corrected(LOW, optimizer, groups, clusters, sizes)
    assert_close(cases.values(v), averages, rtol=1e-7)
    skipped = optimizer.skipped_groups
    for variable, then in zip(optimizer.variables[2:], before, strict=True):
        if variable is not skipped:
            np.testing.assert_array_equal(cases.values([variable])[0], then)


@jax
def test_clusters_that_are_absent_keep_their_factors_bit_for_bit():
    optimizer = built()
    weights = [np.zeros(shape) for shape in SHAPES]
    for t in range(4):
        cases.corrected(LOW, optimizer, *draws(3)(t, weights))
    held = optimizer.cluster_gradients[1]
    before = cases.values([held.left, held.right])
    groups, _, _ = draws(2)(9, weights)
    cases.corrected(LOW, optimizer, groups, [3, 1])
    for then, now in zip(before, cases.values([held.left, held.right]), strict=True):
        np.testing.assert_array_equal(now[[0, 2, 4]], then[[0, 2, 4]])
        assert np.abs(now[[1, 3]] - then[[1, 3]]).max() > 1e-3


@jax
def test_a_variable_without_a_gradient():
    def draw(t, weights):
        groups, clusters, sizes = draws(2)(t, weights)
        missing = (0, 2) if t % 2 else (1, 4)
        return [None if i in missing else g for i, g in enumerate(groups)], clusters, sizes

    case = dataclasses.replace(LOW, scale="auto")
    check(case, draw, steps=6)


@jax
@pytest.mark.parametrize("num_groups", [1, 2, 6])
def test_targets_of_true_rank_are_held_as_in_full(num_groups):
    """Every cluster has two directions of its own, in which its gradients move."""
    shapes, names = [(12, 8), (8,)], ["kernel", "bias"]
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(K, n, 2)))[0] for n in shapes[0])

    def draw(t, weights):
        drawn = np.random.default_rng([5, t])
        clusters = [int(k) for k in drawn.integers(K, size=num_groups)]
        inner = drawn.normal(size=(num_groups, 2, 2)) + 2 * np.eye(2)
        kernel = np.stack([left[k] @ m @ right[k].T for k, m in zip(clusters, inner, strict=True)])
        bias = drawn.normal(size=(num_groups, 8))
        return [kernel.astype("float32"), bias.astype("float32")], clusters, None

    optimizer = LOW.optimizer(num_clusters=K)
    actual = cases.train(LOW, optimizer, cases.variables(shapes, names), draw, 9)
    full = oracle.ControlVariate(shapes, K, cases.ALPHA)
    base = LOW.base(RATE)
    expected = oracle.train(base, full, cases.initial_weights(shapes), draw, 9)[-1]
    assert_close(actual, expected, rtol=2e-5)
    held = optimizer.cluster_gradients[0]
    stacked = np.stack([full.buffers[0][k] for k in range(K)])
    assert_close(cases.values([held]), [stacked], rtol=2e-5)
    assert np.abs(cases.values([held.shared])[0]).max() < 1e-5 < 0.1 < np.abs(stacked).max()


def exact_average(held):
    """gbar from U, W and m in float64."""
    left, right, shared = (
        np.float64(value)
        for value in cases.values(
            [ops.cast(v, "float32") for v in (held.left, held.right, held.shared)]
        )
    )
    average = shared + sum(q * u @ w.T for q, u, w in zip(Q, left, right, strict=True))
    return average.reshape(held.shape[1:])


def assert_exact(optimizer):
    for held, average in zip(
        optimizer.cluster_gradients, optimizer.mean_cluster_gradients, strict=True
    ):
        if isinstance(held, FactoredBuffers):
            found, expected = cases.values([average])[0], exact_average(held)
            assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@jax
@pytest.mark.parametrize(("dtype", "num_groups"), [("float32", 1), ("bfloat16", 3)])
def test_the_average_is_exact_after_a_thousand_steps(dtype, num_groups):
    optimizer = built(buffer_dtype=dtype)
    correct = cases.compiled(
        lambda *arguments: optimizer.correct_gradients(*arguments) and None, optimizer.variables
    )
    weights = [np.zeros(shape) for shape in SHAPES]
    for t in range(1000):
        correct(*cases.tensors(LOW, *draws(num_groups)(t, weights)))
    held = optimizer.cluster_gradients[0]
    assert keras.backend.standardize_dtype(held.left.dtype) == held.dtype == dtype
    assert np.abs(exact_average(held)).max() > 0.1
    assert_exact(optimizer)


@jax
def test_unbiased_whatever_the_buffers_hold():
    """The mean of v over the draws of one group, each from the same state."""
    optimizer = built()
    weights = [np.zeros(shape) for shape in SHAPES]
    for t in range(6):
        cases.corrected(LOW, optimizer, *draws(2)(t, weights))
    before = cases.values(optimizer.variables)
    groups = [np.random.default_rng(7).normal(size=(K, *shape)) for shape in SHAPES]
    mean = [np.zeros(shape) for shape in SHAPES]
    for k, q in enumerate(Q):
        for variable, value in zip(optimizer.variables, before, strict=True):
            variable.assign(value)
        v = cases.corrected(LOW, optimizer, [g[k : k + 1] for g in groups], [k])
        mean = [m + q * np.float64(x) for m, x in zip(mean, cases.values(v), strict=True)]
    assert_close(mean, [np.tensordot(Q, g, 1) for g in groups], rtol=1e-5)


@pytest.mark.parametrize(("num_groups", "scale"), [(1, 1.0), (3, "auto"), (6, 1.0)])
def test_xla(num_groups, scale):
    import tensorflow as tf

    eager, compiled = built(scale=scale), built(scale=scale)
    correct = tf.function(compiled.correct_gradients, jit_compile=True)
    weights = [np.zeros(shape) for shape in SHAPES]
    for t in range(4):
        arguments = cases.tensors(LOW, *draws(num_groups)(t, weights))
        expected = cases.values(eager.correct_gradients(*arguments))
        assert_close(cases.values(correct(*arguments)), expected)
    assert_close(cases.values(compiled.cluster_gradients), cases.values(eager.cluster_gradients))


TRANSFER = np.random.default_rng(0).dirichlet(np.ones(K), size=K)


@jax
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("matched", [True, False])
def test_reclustering_keeps_the_average_exact(matched, dtype):
    optimizer = built(buffer_dtype=dtype)
    weights = [np.zeros(shape) for shape in SHAPES]
    for t in range(6):
        cases.corrected(LOW, optimizer, *draws(2)(t, weights))
    held = cases.values(optimizer.cluster_gradients[:2])
    optimizer.recluster(TRANSFER if matched else None, Q)
    for i, old in enumerate(held):
        mixed = np.tensordot(TRANSFER, old, 1) if matched else np.broadcast_to(old, old.shape)
        average = cases.values([optimizer.mean_cluster_gradients[i]])[0]
        np.testing.assert_allclose(average, np.tensordot(Q, mixed, 1), rtol=1e-4, atol=1e-5)
        if not matched:
            rows = cases.values([optimizer.cluster_gradients[i]])[0]
            assert_close(rows, np.stack([average] * K), rtol=1e-6)
    assert_exact(optimizer)
    cases.corrected(LOW, optimizer, *draws(2)(9, weights))
    assert_exact(optimizer)


@jax
def test_rows_stand_for_the_stack():
    held = built().cluster_gradients[1]
    held.left.assign(np.random.default_rng(0).normal(size=held.left.shape))
    held.right.assign(np.random.default_rng(1).normal(size=held.right.shape))
    held.shared.assign(np.random.default_rng(2).normal(size=held.shared.shape))
    left, right, shared = cases.values([held.left, held.right, held.shared])
    assert (len(held), held.shape, held.dtype) == (K, (K, 2, 2, 3, 5), "float32")
    for k, row in enumerate(held):
        expected = shared + left[k] @ right[k].T
        assert_close([ops.convert_to_numpy(row)], [expected.reshape(2, 2, 3, 5)])
    np.testing.assert_array_equal(*cases.values([held[-1], held[K - 1]]))
    with pytest.raises(IndexError, match=r"There are 5 clusters\. Received: cluster 5"):
        held[K]


@jax
def test_the_memory_is_announced(capsys):
    optimizer = Discover(RATE, 1000, buffers="low_rank", rank=3)
    optimizer.build(cases.variables([(40, 50), (50,)], ["kernel", "bias"]))
    # 1000 * 3 * 90 + 2 * 2000 + 1001 * 50 numbers
    assert capsys.readouterr().out == (
        "Discover keeps 1000 gradient buffers of rank 3 and 2 full ones of 2,000 weights, "
        "and 1000 + 1 full ones of 50 others: 1.3 MB.\n"
    )


@jax
@pytest.mark.parametrize("rank", [0, -1, 2.0, "3", None, True], ids=repr)
def test_rank(rank):
    message = r"`rank` must be an integer of at least 1, the columns .*Received: rank="
    with pytest.raises(ValueError, match=message):
        Discover(0.1, K, buffers="low_rank", rank=rank)


@jax
def test_rank_of_full_buffers():
    message = r"`rank` belongs to `buffers='low_rank'`. Received: rank=2 with buffers='full'"
    with pytest.raises(ValueError, match=message):
        Discover(0.1, K, rank=2)


@jax
def test_unknown_buffers():
    with pytest.raises(ValueError, match=r"`buffers` must be one of \('full', 'low_rank', 'owned'"):
        Discover(0.1, K, buffers="half", rank=2)


@jax
@pytest.mark.parametrize("shapes", [[(5,), ()], [(5, 5), (5,)]], ids=str)
def test_nothing_to_reduce(shapes):
    """Vectors only, or a rank that makes no matrix smaller."""
    optimizer = Discover(0.1, K, buffers="low_rank", rank=3)
    message = r"`buffers='low_rank'` needs a variable .*Received: rank=3 and .*\(5,\)"
    with pytest.raises(ValueError, match=message):
        optimizer.build(cases.variables(shapes, NAMES[:2]))


def model_with(rank, clusters=K):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, name="dense")])
    buffers = {} if rank is None else {"buffers": "low_rank", "rank": rank}
    model.compile(Discover(0.1, clusters, **buffers), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


@jax
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize(
    ("saved", "loads"),
    [((None, K), (2, K)), ((2, K), (None, K)), ((1, K), (2, K)), ((2, 4), (2, K))],
)
def test_files_of_other_buffers_are_refused(saved, loads, suffix, tmp_path):
    model, path = model_with(*saved), tmp_path / f"model{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    rank, clusters = loads
    kind = "full" if rank is None else "low_rank"
    message = (
        rf"holds cluster buffers of shape .*`num_clusters`, `buffers` and `rank` must be those .*"
        rf"Received: num_clusters={clusters}, buffers='{kind}', rank={rank}\."
    )
    with pytest.raises(ValueError, match=message):
        model_with(*loads).load_weights(path)


def test_a_checkpoint_of_other_buffers_is_refused(tmp_path):
    import tensorflow as tf

    path = tf.train.Checkpoint(optimizer=model_with(1).optimizer).save(tmp_path / "c")
    for other in (model_with(2), model_with(None)):
        with pytest.raises(ValueError, match="shape"):
            tf.train.Checkpoint(optimizer=other.optimizer).restore(path)
