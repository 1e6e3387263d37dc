"""Every source in the same form; without a network, a sentence."""

import socket
import sys
import time
import types

import numpy as np
import pytest

from keras_apps import sources
from keras_apps.sources import tfds as tfds_sources

tfds = pytest.importorskip("tensorflow_datasets")

BUNDLED = {
    "mnist5k": ((4000, 28, 28, 1), (1000, 28, 28, 1)),
    "digits": ((1438, 8, 8, 1), (359, 8, 8, 1)),
}


def check_form(source):
    assert source.x_train.dtype == source.x_test.dtype == np.float32
    assert source.y_train.dtype == source.y_test.dtype == np.int32
    assert source.x_train.shape[1:] == source.x_test.shape[1:] == source.input_shape
    assert len(source.x_train) == len(source.y_train)
    assert len(source.x_test) == len(source.y_test)
    pixels = source.x_train.astype("float64")
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(pixels.std(axis=(0, 1, 2)), 1, atol=1e-5)
    scaled = pixels * source.channel_deviations + source.channel_means
    assert scaled.min() == pytest.approx(0, abs=1e-6)
    assert scaled.max() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sources(name):
    source = sources.load(name)
    check_form(source)
    assert (source.x_train.shape, source.x_test.shape) == BUNDLED[name]
    assert source.num_classes == 10
    for label in range(10):
        test, train = ((y == label).sum() for y in (source.y_test, source.y_train))
        assert test == round(0.2 * (train + test))


def test_the_split_depends_on_the_seed_alone():
    first, again, other = (sources.load("digits", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.x_test, again.x_test)
    assert not np.array_equal(first.x_test, other.x_test)
    rows = {image.tobytes() for image in np.round(denormalised(first), 6)}
    assert rows == {image.tobytes() for image in np.round(denormalised(other), 6)}


def denormalised(source):
    pixels = np.concatenate([source.x_train, source.x_test]).astype("float64")
    return pixels * source.channel_deviations[0] + source.channel_means[0]


@pytest.mark.parametrize(("name", "shape"), [("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))])
def test_tfds_sources(name, shape):
    with tfds.testing.mock_data(num_examples=200):
        source = sources.load(name)
    check_form(source)
    assert source.input_shape == shape
    assert source.num_classes == 10
    assert len(source.x_train) == len(source.x_test) == 200


@pytest.mark.parametrize(("name", "bundled"), [("mnist", "mnist5k"), ("cifar10", "digits")])
def test_without_a_network_a_sentence_names_the_bundled_set(name, bundled, monkeypatch, tmp_path):
    def no_network(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(tfds_sources.urllib.request, "getproxies", dict)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=rf"use the bundled '{bundled}', which needs none"):
        sources.load(name, data_dir=tmp_path)
    assert time.monotonic() - start < 10


def test_datasets_that_do_not_import_get_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", types.ModuleType("broken"))
    with pytest.raises(ImportError, match="could not be imported whole"):
        sources.load("mnist")


def test_a_download_that_breaks_off_gets_the_same_sentence(monkeypatch, tmp_path):
    load = tfds.load

    def broken_download(*arguments, download, **options):
        if download:
            raise OSError("connection reset")
        return load(*arguments, download=False, **options)

    monkeypatch.setattr(tfds_sources.urllib.request, "getproxies", lambda: {"https": "proxy"})
    monkeypatch.setattr(tfds, "load", broken_download)
    with pytest.raises(ConnectionError, match=r"connection reset.*use the bundled 'mnist5k'"):
        sources.load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"), [("mnist5", "Did you mean 'mnist5k'"), ("imagenet", "cifar10")]
)
def test_unknown_names_list_the_known(name, hint):
    with pytest.raises(ValueError, match=rf"`name` must be one of .*{hint}"):
        sources.load(name)
