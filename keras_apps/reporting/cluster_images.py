"""Images of gradient clusters: in each row the nearest to a centre, and the most noisy."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from keras_apps.experiments.training_problem import Problem
from keras_apps.reporting import pictures
from tf_gradvar.pages import Picture

ROWS = 10
GAP = 2  # pixels between images
# Of a picture, what the axes have of its width, and what stands above them.
IMAGES_INCHES, TOP_INCHES = 4.1, 0.4

Members = dict[str, Any]


def cluster_images(
    problem: Problem, members: Sequence[Members], step: int, folder: Path
) -> list[Picture]:
    """Draw images of some clusters; nothing where there are no clusters or the data no images.

    Args:
        problem: The images and their targets.
        members: Of all clusters, as `keras_apps.running.cluster_members` finds them.
        step: At which they were found.
        folder: Of the pictures.
    """
    if not members or problem.x.ndim != 4:
        return []
    chosen = spread_by_noise(members, ROWS)
    caption = (
        f"Clusters of gradients found at step {step:,}, from the least noisy to the most: left the "
        "examples nearest to the centre, right those farthest from it; under the size the most "
        "frequent class and its share."
    )
    plot = functools.partial(plot_members, problem, chosen)
    columns = 2 * max(len(own["nearest"]) for own in chosen) + 0.5
    height = TOP_INCHES + IMAGES_INCHES * len(chosen) / columns
    rows = [numbers_of_cluster(own) for own in members]
    return [pictures.draw("cluster_images", caption, folder, plot, rows, height=height)]


def spread_by_noise(members: Sequence[Members], count: int) -> list[Members]:
    """Return so many clusters, evenly spread from the least noisy to the most.

    Example:
        >>> [own["noise"] for own in spread_by_noise([{"noise": n} for n in (5, 1, 4, 2, 3)], 3)]
        [1, 3, 5]
    """
    ordered = sorted(members, key=lambda own: own["noise"])
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered)))
    return [ordered[place] for place in np.rint(places).astype(int)]


def plot_members(problem: Problem, members: Sequence[Members], ax: Axes) -> Axes:
    """Draw a row of images for each cluster."""
    images = problem.x
    low, high = images.min(axis=(0, 1, 2)), images.max(axis=(0, 1, 2))
    columns = max(len(own["nearest"]) for own in members)
    height, width = (side + GAP for side in images.shape[1:3])
    middle = columns * width + width // 2
    canvas = np.ones((len(members) * height, middle + columns * width, 3))
    for place, own in enumerate(members):
        for first, rows in ((0, own["nearest"]), (middle, own["noisiest"])):
            for column, row in enumerate(rows):
                image = (images[row] - low) / (high - low)
                top, left = place * height, first + column * width
                canvas[top : top + height - GAP, left : left + width - GAP] = image[..., :3]
    ax.imshow(canvas, interpolation="nearest")
    ax.set_xticks([columns * width / 2, middle + columns * width / 2])
    ax.set_xticklabels(["nearest to the centre", "most noisy"])
    ax.xaxis.tick_top()
    ax.set_yticks([place * height + (height - GAP) / 2 for place in range(len(members))])
    ax.set_yticklabels([_row_label(own) for own in members], fontsize=8)
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def numbers_of_cluster(own: Members) -> dict[str, Any]:
    """Return a cluster as a row."""
    label, share = _most_frequent(own)
    return {
        "cluster": own["cluster"],
        "size": own["size"],
        "noise": own["noise"],
        "most_frequent_class": label,
        "its_share": share,
        **{name: " ".join(map(str, own[name])) for name in ("nearest", "noisiest")},
    }


def _row_label(own: Members) -> str:
    label, share = _most_frequent(own)
    return f"{own['size']} examples\nclass {label}: {100 * share:.0f} %"


def _most_frequent(own: Members) -> tuple[int, float]:
    counts = own["classes"]
    label = int(np.argmax(counts))
    return label, counts[label] / sum(counts)
