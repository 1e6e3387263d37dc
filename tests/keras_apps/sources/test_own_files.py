"""Files of the user's own; what is wrong with them is said in a sentence."""

import gzip

import numpy as np
import pytest

from keras_apps import sources, train
from keras_apps.running.configurations import load, to_json
from keras_apps.running.workdir import Workdir
from tests.keras_apps.sources.test_sources import check_form, write_idx

WHOLE = ("x_train", "y_train", "x_test", "y_test")


def images(count, *shape, seed=0):
    """Random pixels in which no channel is alike, 0 and 255 among them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype("uint8")
    pixels[0, 0, :2] = np.reshape([0, 255], (2, *[1] * (len(shape) - 2)))
    return pixels


def arrays(train=12, test=6, shape=(5, 4, 3)):
    """Three classes, the labels of training as a column, as those of `keras.datasets`."""
    return dict(
        zip(
            WHOLE,
            (
                images(train, *shape),
                np.arange(train)[:, None] % 3,
                images(test, *shape, seed=1),
                np.arange(test) % 3,
            ),
            strict=True,
        )
    )


def saved(folder, content, name="mine.npz"):
    np.savez(folder / name, **content)
    return folder / name


def test_four_arrays(tmp_path):
    content = arrays()
    file = saved(tmp_path, content)
    source, of_folder = (sources.load(str(path)) for path in (file, tmp_path))
    check_form(source)
    for part in ("train", "test"):
        found, labels = getattr(source, f"pixels_{part}"), getattr(source, f"y_{part}")
        np.testing.assert_array_equal(found, content[f"x_{part}"])
        np.testing.assert_array_equal(labels, content[f"y_{part}"].ravel())
    assert (source.name, source.num_classes) == ("mine", 3)
    assert f"12 images for training and 6 for testing, from {file}" in source.description
    assert of_folder.fingerprint == source.fingerprint


def test_two_arrays_are_split_by_the_seed(tmp_path):
    x, y = images(30, 5, 5), np.arange(30) % 3
    path = str(saved(tmp_path, {"x": x, "y": y}))
    first, other = (sources.load(path, seed=seed) for seed in (0, 1))
    check_form(first)
    assert first.pixels_test.shape == (6, 5, 5, 1)
    assert np.bincount(first.y_test).tolist() == [2, 2, 2]
    assert not np.array_equal(first.pixels_test, other.pixels_test)
    both = np.concatenate([first.pixels_train, first.pixels_test])[..., 0]
    assert sorted(map(bytes, both)) == sorted(map(bytes, x))


def write_all(folder, content, compress=False):
    for part, prefix in (("train", "train"), ("test", "t10k")):
        ending = ".gz" if compress else ""
        write_idx(folder / f"{prefix}-images-idx3-ubyte{ending}", content[f"x_{part}"])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{ending}", content[f"y_{part}"].ravel())


def test_idx_files(tmp_path):
    content = arrays(shape=(5, 4))
    write_all(tmp_path, content, compress=True)
    source = sources.load(str(tmp_path))
    check_form(source)
    np.testing.assert_array_equal(source.pixels_test[..., 0], content["x_test"])
    assert source.num_classes == 3


def without(name):
    return lambda content: content.pop(name)


def replaced(name, change):
    def damage(content):
        content[name] = change(content[name])

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("y_test"), "must hold the arrays .* or x and y. Received: x_test, x_train, y_tra"),
        (replaced("x_train", lambda x: x / 255), "type uint8.*Received: float64 of shape"),
        (replaced("x_test", lambda x: x[..., None]), r"\(6, 5, 4, 3, 1\)"),
        (replaced("x_test", lambda x: x[:0]), r"Received: uint8 of shape \(0, 5, 4, 3\)"),
        (replaced("x_test", lambda x: x[:, :4]), r"one shape. Received: \(5, 4, 3\) and \(4, 4, 3"),
        (replaced("y_test", lambda y: y[:5]), "one integer for each image.* for 6 images"),
        (replaced("y_train", lambda y: y * 1.0), "Received: float64 of shape"),
        (replaced("y_train", lambda y: y + 1), r"without gaps.*Received: \[1, 2, 3\] there, and"),
        (replaced("y_train", lambda y: 2 * y), r"Received: \[0, 2, 4\] there, and \[1\] for test"),
        (replaced("y_test", lambda y: y + 1), r"Received: \[0, 1, 2\] there, and \[3\] for test"),
        (replaced("y_train", lambda y: 0 * y), "at least two of them"),
        (
            replaced("x_train", lambda x: x * np.uint8([1, 0, 1])),
            "must differ in every channel. Received: channel 1, in which all pixels are alike",
        ),
        (replaced("y_test", lambda y: y.astype(object)), "plain arrays, and is damaged or holds"),
    ],
)
def test_arrays_that_do_not_fit_get_a_sentence(damage, message, tmp_path):
    content = arrays()
    damage(content)
    with pytest.raises(ValueError, match=message):
        sources.load(str(saved(tmp_path, content)))


def test_too_few_to_split_get_a_sentence(tmp_path):
    file = saved(tmp_path, {"x": images(5, 4, 4), "y": np.array([0, 0, 0, 1, 1])})
    with pytest.raises(ValueError, match=r"at least 3 images of each class. Received: 2 of one"):
        sources.load(str(file))


@pytest.mark.parametrize(
    "content", [b"", b"not a zip file", gzip.compress(b"x")], ids=["empty", "text", "gzip"]
)
def test_a_damaged_file_gets_a_sentence(content, tmp_path):
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"must be a .npz file of plain arrays, and is damaged"):
        sources.load(str(tmp_path))


def test_a_torn_file_gets_a_sentence(tmp_path):
    file = saved(tmp_path, arrays())
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"must be a .npz file of plain arrays, and is damaged"):
        sources.load(str(file))


def test_a_folder_without_data_or_with_several_files_gets_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold one .npz file.*Received: none"):
        sources.load(str(tmp_path))
    for name in ("one.npz", "two.npz"):
        saved(tmp_path, arrays(), name)
    with pytest.raises(FileNotFoundError, match=r"Received: one\.npz, two\.npz\. Give the path"):
        sources.load(str(tmp_path))


def test_idx_files_that_do_not_fit_get_a_sentence(tmp_path):
    write_all(tmp_path, arrays(shape=(5, 4)))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(5))
    with pytest.raises(ValueError, match=r"5 labels of the part 'test'. Write it anew"):
        sources.load(str(tmp_path))
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="must hold t10k-labels-idx1-ubyte or"):
        sources.load(str(tmp_path))


def test_changed_data_do_not_continue_an_experiment(tmp_path, capsys):
    content = arrays(train=60, test=30)
    file, folder = saved(tmp_path, content), tmp_path / "run"
    change = f"problem.source={file}"
    config = to_json(load("digits_classes:quick", [change]).config)
    fingerprint = sources.load(str(file)).fingerprint
    Workdir(folder, config, fingerprint).close()
    saved(tmp_path, {**content, "x_test": 255 - content["x_test"]})
    with pytest.raises(SystemExit):
        train.main(["--config", "digits_classes:quick", "--set", change, "--workdir", str(folder)])
    assert f"other data, whose fingerprint is {fingerprint}" in capsys.readouterr().err
