"""Every source in the same form; without a network, a sentence."""

import gzip
import socket
import struct
import sys
import time
import types

import numpy as np
import pytest

from keras_apps import sources
from keras_apps.sources import idx
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
    assert source.pixels_train.dtype == source.pixels_test.dtype == np.uint8
    for pixels, x in ((source.pixels_train, source.x_train), (source.pixels_test, source.x_test)):
        floats = pixels[:50].astype("float64")
        scaled = floats / source.largest_pixel - source.channel_means
        np.testing.assert_allclose(x[:50], scaled / source.channel_deviations, rtol=1e-6, atol=1e-7)
        again = source.normalised(floats.astype("float32"))
        np.testing.assert_allclose(again, x[:50], rtol=1e-4, atol=1e-5)


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
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert not np.array_equal(first.x_test, other.x_test)
    rows = {image.tobytes() for image in np.round(denormalised(first), 6)}
    assert rows == {image.tobytes() for image in np.round(denormalised(other), 6)}


def denormalised(source):
    pixels = np.concatenate([source.x_train, source.x_test]).astype("float64")
    return pixels * source.channel_deviations[0] + source.channel_means[0]


def write_idx(path, array, kind=8):
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def tiny_idx(tmp_path):
    """Twenty images of 28 x 28 for training and ten for testing, one file of four gzipped."""
    generator = np.random.default_rng(0)
    written = {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        images = generator.integers(0, 256, (count, 28, 28))
        images[0, 0, :2] = (0, 255)
        written[prefix] = (images, np.arange(count) % 10)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", images)
        ending = ".gz" if prefix == "train" else ""
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte{ending}", np.arange(count) % 10)
    return tmp_path, written


def test_idx_files(tiny_idx):
    folder, written = tiny_idx
    source = sources.load("fashion_mnist", data_dir=folder)
    check_form(source)
    assert source.num_classes == 10
    for prefix, x, y in (
        ("train", source.x_train, source.y_train),
        ("t10k", source.x_test, source.y_test),
    ):
        images, labels = written[prefix]
        pixels = x[..., 0].astype("float64") * source.channel_deviations + source.channel_means
        np.testing.assert_allclose(255 * pixels, images, atol=1e-3)
        np.testing.assert_array_equal(y, labels)
    assert "20 images" in source.description


def test_other_data_have_another_fingerprint(tiny_idx):
    folder, written = tiny_idx
    found = [sources.load("fashion_mnist", data_dir=folder) for _ in range(2)]
    images, _ = written["t10k"]
    write_idx(folder / "t10k-images-idx3-ubyte", 255 - images)
    found.append(sources.load("fashion_mnist", data_dir=folder))
    first, second, changed = (source.fingerprint for source in found)
    assert first == second != changed
    assert len(changed) == 16
    assert changed in found[-1].description


def torn(path):
    path.write_bytes(path.read_bytes()[:-1])


def not_gzipped(path):
    path.write_bytes(b"labels")


def of_floats(path):
    write_idx(path, np.zeros((10, 28, 28)), kind=13)


def empty(path):
    path.write_bytes(b"")


def too_few(path):
    write_idx(path, np.zeros((9, 28, 28)))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("t10k-images-idx3-ubyte", torn, "with 3 dimensions, and is damaged"),
        ("t10k-images-idx3-ubyte", of_floats, "with 3 dimensions, and is damaged"),
        ("t10k-images-idx3-ubyte", empty, "with 3 dimensions, and is damaged"),
        ("t10k-images-idx3-ubyte", too_few, "Received: 9 images and 10 labels of the part 'test'"),
        ("train-labels-idx1-ubyte.gz", not_gzipped, "with 1 dimensions, and is damaged"),
        ("train-labels-idx1-ubyte.gz", torn, "with 1 dimensions, and is damaged"),
    ],
)
def test_damaged_idx_files_get_a_sentence(name, damage, message, tiny_idx):
    damage(tiny_idx[0] / name)
    with pytest.raises(ValueError, match=message):
        sources.load("fashion_mnist", data_dir=tiny_idx[0])


def test_a_missing_idx_file_gets_a_sentence(tiny_idx):
    (tiny_idx[0] / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="must hold t10k-labels-idx1-ubyte or"):
        sources.load("fashion_mnist", data_dir=tiny_idx[0])


@pytest.mark.skipif(idx.folder_of(None) is None, reason="needs the package dataset-fashion-mnist")
def test_the_installed_fashion_mnist():
    source = sources.load("fashion_mnist")
    check_form(source)
    assert source.x_train.shape == (60_000, 28, 28, 1)
    assert source.x_test.shape == (10_000, 28, 28, 1)
    assert set(np.bincount(source.y_train)) == {6000}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fashion_mnist", (28, 28, 1)),
        ("mnist", (28, 28, 1)),
        ("cifar10", (32, 32, 3)),
        ("cifar100", (32, 32, 3)),
    ],
)
def test_tfds_sources(name, shape, monkeypatch, tmp_path):
    monkeypatch.setattr(idx, "FASHION_MNIST", tmp_path)
    with tfds.testing.mock_data(num_examples=200):
        source = sources.load(name)
    check_form(source)
    assert source.input_shape == shape
    assert source.num_classes == (100 if name == "cifar100" else 10)
    assert len(source.x_train) == len(source.x_test) == 200


@pytest.mark.parametrize(
    ("name", "bundled"),
    [
        ("fashion_mnist", "mnist5k"),
        ("mnist", "mnist5k"),
        ("cifar10", "digits"),
        ("cifar100", "digits"),
    ],
)
def test_without_a_network_a_sentence_names_the_bundled_set(name, bundled, monkeypatch, tmp_path):
    monkeypatch.setattr(idx, "FASHION_MNIST", tmp_path)

    def no_network(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(tfds_sources.urllib.request, "getproxies", dict)
    start = time.monotonic()
    with pytest.raises(
        ConnectionError, match=rf"use the bundled '{bundled}', which needs none"
    ) as error:
        sources.load(name, data_dir=tmp_path)
    assert ("dataset-fashion-mnist" in str(error.value)) == (name == "fashion_mnist")
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
    ("name", "hint"),
    [
        ("mnist5", "Did you mean 'mnist5k'"),
        ("imagenet", "Received: name='imagenet'"),
        ("nowhere/at/all.npz", "or the path of a file or folder"),
    ],
)
def test_unknown_names_list_the_known(name, hint):
    with pytest.raises(ValueError, match=rf"`name` must be .*'cifar10'.*{hint}"):
        sources.load(name)
