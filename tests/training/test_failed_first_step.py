"""A first step that fails while it is traced: the next ones train as if it had never been."""

import keras
import numpy as np
import pytest

from tests.training.test_cluster_model import GROUP, K, X, Y, network
from tf_gradvar import ClusterModel, Discover, DiscoverIGT, DiscoverOver
from tf_gradvar.optimizers import IGT

IDS = np.repeat(np.arange(2, dtype="int32"), GROUP)
ROWS = slice(0, len(IDS))
OPTIMIZERS = {
    "Discover": lambda: Discover(0.1, K),
    "DiscoverIGT": lambda: DiscoverIGT(0.1, K),
    "DiscoverOver": lambda: DiscoverOver(keras.optimizers.Adam(0.1), K),
    "Adam": lambda: keras.optimizers.Adam(0.1),
}


class Breaking(keras.losses.SparseCategoricalCrossentropy):
    """A loss that raises as long as it is broken."""

    def __init__(self, broken):
        super().__init__(from_logits=True)
        self.broken = broken

    def call(self, y_true, y_pred):
        if self.broken:
            raise ValueError("broken")
        return super().call(y_true, y_pred)


class BreakingMetric(keras.metrics.Mean):
    """The same as a metric: the trace fails after the optimizer's step."""

    broken = True

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.broken:
            raise ValueError("broken")
        return super().update_state(y_pred)


def trained(model, x, loss, metrics=(), mend=None):
    model.compile(model.optimizer, loss, metrics=list(metrics))
    if mend is not None:
        with pytest.raises(ValueError, match="broken"):
            model.train_on_batch(x, Y[ROWS])
        mend()
    for _ in range(3):
        model.train_on_batch(x, Y[ROWS])
    assert int(model.optimizer.iterations) == 3
    return model.get_weights()


def cluster_model(name):
    model = ClusterModel.from_model(network(), groups_per_batch=2)
    model.compile(OPTIMIZERS[name]())
    return model


def plain_model():
    model = network()
    model.compile(IGT(0.1))
    return model


CLUSTERS = {"inputs": X[ROWS], "cluster_ids": IDS}


@pytest.mark.parametrize("where", ["loss", "metric"])
@pytest.mark.parametrize("name", [*OPTIMIZERS, "IGT"])
def test_the_second_try_trains(name, where):
    def make():
        return (plain_model(), X[ROWS]) if name == "IGT" else (cluster_model(name), CLUSTERS)

    expected = trained(*make(), Breaking(False))
    loss, metric = Breaking(where == "loss"), BreakingMetric()

    def mend():
        loss.broken = metric.broken = False

    metrics = [metric] if where == "metric" else []
    actual = trained(*make(), loss, metrics, mend)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_refusal_does_not_break_the_optimizer():
    model, other = cluster_model("Discover"), cluster_model("Discover")
    expected = trained(other, CLUSTERS, Breaking(False))
    model.compile(model.optimizer, Breaking(False))
    model.groups_per_batch = 3
    with pytest.raises(ValueError, match="must divide into its groups"):
        model.train_on_batch(CLUSTERS, Y[ROWS])
    model.groups_per_batch = 2
    actual = trained(model, CLUSTERS, Breaking(False))
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_an_unbuilt_model_is_not_taken_for_built():
    """Keras marks a model as built that has no variables yet."""

    class Own(ClusterModel):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(K)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model.built = True
    model.compile(keras.optimizers.SGD(0.1), Breaking(False))
    model.make_train_function()
    assert not model.optimizer.built
