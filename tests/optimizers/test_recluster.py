"""Other clusters during training: new buffers, their average, and what stays unbiased."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.optimizers import cases
from tests.optimizers.cases import BY_NAME, CLUSTERED, PROBABILITIES, RATE, K, assert_close
from tf_gradvar.optimizers import Discover, cluster_transfer

pytestmark = pytest.mark.jax
DISCOVER = BY_NAME["Discover"]
NEW = [0.2, 0.2, 0.6]
TRANSFER = [[0.5, 0.5, 0.0], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0]]
DRAW = cases.draws(2)


@pytest.mark.parametrize("transfer", [TRANSFER, None], ids=["matched", "restarted"])
@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_training_goes_on_as_the_oracle_does(case, transfer):
    weights, optimizer = cases.variables(), case.optimizer()
    optimizer.build(weights)
    base, variate = case.base(RATE), case.variate()
    expected = [np.float64(w) for w in cases.initial_weights()]
    for t in range(6):
        if t == 3:
            optimizer.recluster(transfer, NEW)
            variate.recluster(transfer, NEW)
            assert_same_buffers(optimizer, variate)
        gradients = variate.correct(*DRAW(t, base.seen(expected)))
        expected = base.step(expected, gradients)
        cases.step(case, optimizer, *DRAW(t, cases.values(weights)))
    cases.use_true_weights(optimizer)
    assert_close(cases.values(weights), expected)
    assert_same_buffers(optimizer, variate)
    assert optimizer.cluster_probabilities == pytest.approx(NEW)
    assert optimizer.get_config()["cluster_probabilities"] == pytest.approx(NEW)


def assert_same_buffers(optimizer, variate):
    stacked = [np.stack([b[k] for k in range(K)]) for b in variate.buffers]
    assert_close(cases.values(optimizer.cluster_gradients), stacked)
    averages = [variate.average(i) for i in range(len(variate.buffers))]
    assert_close(cases.values(optimizer.mean_cluster_gradients), averages)


def test_a_compiled_step_draws_on_the_new_probabilities():
    """They are variables: a step that was compiled before the change follows it."""
    weights, optimizer = cases.variables(), DISCOVER.optimizer()
    optimizer.build(weights)
    take = cases.compiled_step(DISCOVER, optimizer, weights)
    variate, base = DISCOVER.variate(), DISCOVER.base(RATE)
    expected = [np.float64(w) for w in cases.initial_weights()]
    for t in range(6):
        if t == 3:
            optimizer.recluster(TRANSFER, NEW)
            variate.recluster(TRANSFER, NEW)
        expected = base.step(expected, variate.correct(*DRAW(t, expected)))
        take(*DRAW(t, cases.values(weights)))
    assert_close(cases.values(weights), expected)
    assert_same_buffers(optimizer, variate)


def test_the_average_is_that_of_rounded_buffers():
    optimizer = DISCOVER.optimizer(buffer_dtype="bfloat16")
    cases.train(DISCOVER, optimizer, cases.variables(), DRAW, 5)
    optimizer.recluster(TRANSFER, NEW)
    for buffers, average in zip(
        optimizer.cluster_gradients, optimizer.mean_cluster_gradients, strict=True
    ):
        held = ops.convert_to_numpy(ops.cast(buffers, "float32")).astype("float64")
        expected = np.tensordot(NEW, held, axes=1)
        np.testing.assert_allclose(cases.values([average])[0], expected, rtol=1e-6, atol=1e-7)
    assert {v.dtype for v in optimizer.cluster_gradients} == {"bfloat16"}


# Nine examples with a gradient each, first in three clusters, then in three others.
GRADIENTS = np.random.default_rng(0).normal(size=(9, 4))
BEFORE = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
AFTER = np.array([2, 2, 0, 2, 1, 0, 2, 2, 2])


def refreshed(transfer, probabilities, new_probabilities):
    """An optimizer that has seen some groups, then got other clusters."""
    optimizer = Discover(0.1, K, alpha=0.5, gain=1.0, cluster_probabilities=probabilities)
    optimizer.build([keras.Variable(np.zeros(4))])
    for cluster in (0, 1, 2, 0):
        group = ops.convert_to_tensor(GRADIENTS[cluster == BEFORE][:1], "float32")
        optimizer.correct_gradients([group], [cluster])
    optimizer.recluster(transfer, new_probabilities)
    return optimizer


def enumerated(make, clusters, probabilities):
    """v_t of every cluster and example of a step of one group, and their probabilities."""
    results, weights = [], []
    for example, cluster in enumerate(clusters):
        optimizer = make()
        group = ops.convert_to_tensor(GRADIENTS[example][None], "float32")
        (v,) = optimizer.correct_gradients([group], [int(cluster)])
        results.append(ops.convert_to_numpy(v).astype("float64"))
        weights.append(probabilities[cluster] / (cluster == clusters).sum())
    return np.stack(results), np.array(weights)


@pytest.mark.parametrize("matched", [True, False])
@pytest.mark.parametrize("probabilities", [[2 / 9, 1 / 9, 6 / 9], [0.5, 0.25, 0.25]])
def test_unbiased_after_a_refresh(matched, probabilities):
    """With q_k = N_k/N for the mean of the data, with any other q for its own risk."""
    transfer = cluster_transfer(BEFORE, AFTER, K) if matched else None
    v, weights = enumerated(
        lambda: refreshed(transfer, [4 / 9, 3 / 9, 2 / 9], probabilities), AFTER, probabilities
    )
    means = np.stack([GRADIENTS[k == AFTER].mean(axis=0) for k in range(K)])
    np.testing.assert_allclose(weights @ v, probabilities @ means, atol=1e-6)
    if probabilities[0] == 2 / 9:
        np.testing.assert_allclose(weights @ v, GRADIENTS.mean(axis=0), atol=1e-6)
    assert np.abs(v - v.mean(axis=0)).max() > 0.1


def test_matching_keeps_the_average_where_the_probabilities_are_shares_of_the_data():
    before, after = (np.bincount(ids) / 9 for ids in (BEFORE, AFTER))
    transfer = cluster_transfer(BEFORE, AFTER, K)
    kept = refreshed(transfer, before, after)
    same = refreshed(np.eye(K), before, before)
    (one,), (other,) = (cases.values(o.mean_cluster_gradients) for o in (kept, same))
    assert_close([one], [other], rtol=1e-6)
    assert np.abs(one).max() > 0.1


def test_a_restart_at_the_average_disturbs_less_than_buffers_of_zero():
    """At first both are the plain gradient; later it matters which clusters were seen."""
    risks = np.random.default_rng(1).normal(size=(K, 4)) + 3.0  # with a large common part
    risks = risks.astype("float32")

    def variance_left(restarted):
        optimizer = Discover(0.1, K, gain=1.0, cluster_probabilities=PROBABILITIES)
        optimizer.build([keras.Variable(np.zeros(4))])
        if restarted:  # from buffers that had arrived at the gradients of old clusters
            optimizer.cluster_gradients[0].assign(risks[[1, 0, 2]])
            optimizer.mean_cluster_gradients[0].assign(np.array(PROBABILITIES) @ risks)
            optimizer.recluster(None, PROBABILITIES)
        for clusters in ([], [0] * 9 + [1] * 6 + [2]):
            for k in clusters:
                optimizer.correct_gradients([ops.convert_to_tensor(risks[[k]])], [k])
            left = risks - cases.values(optimizer.cluster_gradients)[0]
            spread = np.square(left - np.array(PROBABILITIES) @ left).sum(axis=1)
            yield float(np.array(PROBABILITIES) @ spread)

    (at_first, restarted), (plain, zero) = variance_left(True), variance_left(False)
    assert at_first == pytest.approx(plain, rel=1e-6)
    assert restarted < plain / 3
    assert zero > plain


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_the_new_probabilities_are_saved(case, tmp_path):
    model, other = (compiled_model(case) for _ in range(2))
    model.optimizer.recluster(TRANSFER, NEW)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert other.optimizer.cluster_probabilities == pytest.approx(NEW)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.cluster_probabilities == pytest.approx(NEW)


@pytest.mark.parametrize("case", CLUSTERED, ids=str)
def test_a_state_from_before_probabilities_were_saved(case):
    model, other = (compiled_model(case) for _ in range(2))
    cases.step(case, model.optimizer, *cases.draws(2, shapes=[(3, 2), (2,)])(0, [0.0, 0.0]))
    store: dict = {}
    model.optimizer.save_own_variables(store)
    del store[str(len(model.optimizer.variables) - 1)]
    other.optimizer.load_own_variables(store)
    for a, b in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(*cases.values([a, b]))
    assert other.optimizer.cluster_probabilities == PROBABILITIES


def compiled_model(case):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    model.compile(case.optimizer(), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_transfer_of_clusters():
    transfer = cluster_transfer(BEFORE, AFTER, K)
    np.testing.assert_allclose(transfer.sum(axis=1), 1.0)
    np.testing.assert_allclose(transfer, [[0.5, 0.5, 0], [0, 1, 0], [0.5, 1 / 6, 1 / 3]])
    # A cluster without examples gets the average of the old ones.
    np.testing.assert_allclose(cluster_transfer(BEFORE, AFTER, K + 1)[K], [4 / 9, 3 / 9, 2 / 9, 0])


def test_examples_that_were_left_out_do_not_count():
    before, after = BEFORE.copy(), AFTER.copy()
    before[0], after[4] = -1, -1
    kept = [1, 2, 3, 5, 6, 7, 8]
    expected = cluster_transfer(BEFORE[kept], AFTER[kept], K)
    np.testing.assert_array_equal(cluster_transfer(before, after, K), expected)
    uniform = cluster_transfer(np.full(9, -1), AFTER, K)
    np.testing.assert_allclose(uniform, np.full((K, K), 1 / K))


@pytest.mark.parametrize(
    ("previous", "assignments", "message"),
    [
        ([0, 1, 3], [0, 1, 2], r"`previous` .*\[0, 3\).* from 0 to 3"),
        ([0, 1, 2], [0, -2, 2], r"`assignments` .* from -2 to 2"),
        ([0, 1, 2], [0, 1], r"`assignments` .*of shape \(3,\).*shape \(2,\)"),
        ([0.0, 1.0], [0, 1], r"`previous` .*dtype float64"),
        ([0, 1], [[0, 1]], r"`assignments` .*shape \(1, 2\)"),
    ],
)
def test_bad_assignments(previous, assignments, message):
    with pytest.raises(ValueError, match=message):
        cluster_transfer(previous, assignments, K)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(K + 1),), r"`transfer` must hold the shares of the 3 old .*shape \(4, 4\)"),
        ((2 * np.eye(K),), r"`transfer` .*rows that sum to 2 to 2"),
        ((np.eye(K) - 0.1,), r"`transfer` .*rows of numbers >= 0"),
        ((np.full((K, K), np.nan),), "`transfer` .*rows of numbers >= 0"),
        ((None, [0.5, 0.5]), "`cluster_probabilities` must hold one probability for each"),
    ],
)
def test_bad_arguments(arguments, message):
    optimizer = DISCOVER.optimizer()
    optimizer.build(cases.variables())
    with pytest.raises(ValueError, match=message):
        optimizer.recluster(*arguments)
    assert optimizer.cluster_probabilities == PROBABILITIES


def test_not_built():
    with pytest.raises(ValueError, match=r"`recluster` needs the buffers .*not built"):
        DISCOVER.optimizer().recluster()
