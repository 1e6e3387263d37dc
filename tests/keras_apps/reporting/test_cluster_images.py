"""Images of gradient clusters: which are chosen, where they stand, their numbers."""

import csv
import dataclasses

import numpy as np
from matplotlib.figure import Figure

from keras_apps.experiments.classification import Classification
from keras_apps.reporting.cluster_images import (
    GAP,
    cluster_images,
    plot_members,
    spread_by_noise,
)
from keras_apps.running.cluster_members import members_of_clusters

PROBLEM = Classification(
    "digits", model_arguments={"hidden_units": [4]}, training_examples=60
).build()


def members():
    vectors = PROBLEM.x.reshape(60, -1).astype("float64")
    return members_of_clusters(vectors, np.arange(60) % 12, PROBLEM.y)


def test_images_stand_in_their_rows():
    found = members()[:2]
    ax = plot_members(PROBLEM, found, Figure().subplots())
    canvas = ax.images[0].get_array()
    low, high = PROBLEM.x.min(), PROBLEM.x.max()
    side = 8 + GAP
    second = (PROBLEM.x[found[1]["nearest"][1], ..., 0] - low) / (high - low)
    np.testing.assert_allclose(canvas[side : side + 8, side : side + 8, 0], second, rtol=1e-6)
    middle = 5 * side + side // 2
    noisy = (PROBLEM.x[found[0]["noisiest"][0], ..., 0] - low) / (high - low)
    np.testing.assert_allclose(canvas[:8, middle : middle + 8, 2], noisy, rtol=1e-6)
    assert ax.get_yticklabels()[0].get_text().startswith("5 examples\nclass ")


def test_clusters_are_spread_from_least_to_most_noisy():
    noises = [own["noise"] for own in spread_by_noise(members(), 5)]
    every = sorted(own["noise"] for own in members())
    assert noises == sorted(noises)
    assert (noises[0], noises[-1]) == (every[0], every[-1])
    assert len(spread_by_noise(members()[:2], 5)) == 2


def test_the_numbers_of_all_clusters(tmp_path):
    (picture,) = cluster_images(PROBLEM, members(), 1500, tmp_path)
    assert "found at step 1,500" in picture.caption
    with open(tmp_path / "cluster_images.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["size"] for row in rows] == ["5"] * 12
    for row, own in zip(rows, members(), strict=True):
        assert row["nearest"] == " ".join(map(str, own["nearest"]))
        assert int(row["most_frequent_class"]) == int(np.argmax(own["classes"]))
    assert (tmp_path / "cluster_images.png").stat().st_size < 200_000


def test_nothing_without_clusters_or_images(tmp_path):
    assert cluster_images(PROBLEM, [], 0, tmp_path) == []
    flat = dataclasses.replace(PROBLEM, x=PROBLEM.x.reshape(60, -1))
    assert cluster_images(flat, members(), 0, tmp_path) == []
