"""A picture of examples as training sees them, like Figure 5 of the Discover paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from keras_apps.reporting import pictures
from keras_apps.running.shown_examples import ShownExamples
from tf_gradvar.pages import Picture

# Inches of a row of examples, and of the caption of an example in points.
ROW = 1.0
LABEL_SIZE = 6


def examples_picture(shown: ShownExamples, folder: Path) -> Picture:
    """Draw one row of examples for each cluster, and write their labels beside it."""
    numbers: list[dict[str, Any]] = [
        {"cluster": cluster, "place": place, "label": label}
        for cluster, labels in zip(shown.clusters, shown.labels, strict=True)
        for place, label in enumerate(labels)
    ]

    def plot(ax: Axes) -> Axes:
        return _draw(shown, ax)

    height = ROW * len(shown.clusters)
    return pictures.draw(
        "examples",
        "Examples of each cluster as training sees them, in groups of two, with the labels that "
        "they are trained on.",
        folder,
        plot,
        numbers,
        height,
    )


def _draw(shown: ShownExamples, ax: Axes) -> Axes:
    rows, columns, *_, channels = shown.images.shape
    ax.set_axis_off()
    for row, (cluster, labels) in enumerate(zip(shown.clusters, shown.labels, strict=True)):
        for column, label in enumerate(labels):
            bounds = (column / columns, 1 - (row + 0.96) / rows, 0.92 / columns, 0.62 / rows)
            inset = ax.inset_axes(bounds)
            image = shown.images[row, column]
            inset.imshow(image[..., 0] if channels == 1 else image, cmap="gray", vmin=0, vmax=1)
            inset.set_title(label, fontsize=LABEL_SIZE, pad=1.5)
            inset.set_axis_off()
        place = (0.0, 1 - row / rows)
        ax.text(*place, cluster, fontsize=8, va="top", transform=ax.transAxes)
    return ax
