"""Experiments on JAX: two devices go on where one stopped; what JAX lacks is refused."""

import keras
import pytest

from keras_apps import train
from keras_apps.running import devices
from tests.keras_apps.begun import measured, places, train_runs, words
from tf_gradvar.keras_internals import keeps_batches_in_order

pytestmark = [
    pytest.mark.jax,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs the JAX backend"),
]


several_devices = pytest.mark.skipif(not keeps_batches_in_order(), reason="needs Keras 3.10")


@several_devices
def test_two_devices_go_on_where_one_stopped_to_the_same_losses(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    changes = ["optimizers=Discover", "optimizers.Discover.measures_variance=false"]
    options = [word for change in changes for word in ("--set", change)]
    train_runs(one, changes)
    train_runs(two, changes, stop_at=25)
    assert train.main(words(two, *options, "--devices", "2")) == 0
    expected, found = measured(one), measured(two)
    assert list(found) == list(expected)
    assert len(found) == 3
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-5), key
    assert places(one) == [("jax", "one_device", 1)]
    assert places(two) == [("jax", "data_parallel", 2)]
    assert keras.distribution.distribution() is None


@several_devices
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "mirrored"], "needs the TensorFlow backend of Keras. Received: --strategy"),
        (["--devices", "9"], "at most the devices that JAX has. Received: --devices 9, and there"),
        (["--devices", "4"], "must hold multiples of the 4 replicas"),
    ],
)
def test_devices_that_cannot_be_used(arguments, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_error:
        train.main(words(tmp_path / "run", *arguments))
    assert exit_error.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_several_devices_need_batches_in_their_order(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "keeps_batches_in_order", lambda: False)
    with pytest.raises(SystemExit):
        train.main(words(tmp_path / "run", "--devices", "2"))
    assert "must be 1 on JAX before Keras 3.10" in " ".join(capsys.readouterr().err.split())


def test_a_trajectory_of_gradient_variances_is_refused_and_can_be_left_out(capsys, tmp_path):
    arguments = ["--config", "mnist5k_classes:quick", "--workdir", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        train.main(arguments)
    assert "`--set gradient_variance=none`" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        train.main([*arguments, "--set", "gradient_variance=none", "--devices", "9"])
    assert "at most the devices" in " ".join(capsys.readouterr().err.split())
