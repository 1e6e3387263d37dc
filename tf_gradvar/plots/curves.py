"""Values over training: points and the line of their smoothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes

from tf_gradvar.plots.drawing import draw_points, estimator_colors
from tf_gradvar.plots.numbers import Record, Row, finish, measurements

_LABELS = {
    "average_variance": "average variance\n(squared gradient per parameter)",
    "normalized_variance": "normalized variance (no unit)",
    "standard_error": "standard error of the average variance\n(squared gradient per parameter)",
}


def plot_variance(
    records: Iterable[Record],
    ax: Axes,
    *,
    value: str = "average_variance",
    estimators: Sequence[str] | None = None,
    smoothing: int | None = None,
    colors: Mapping[str, str] | None = None,
) -> Axes:
    """A variance over training, the estimators compared.

    Args:
        records: Of `GradientVarianceLogger`.
        ax: Axes to draw into.
        value: "average_variance" (default), "normalized_variance" or another value that the
            records have for each estimator. Where there is a standard error, the average
            variance has bars of one.
        estimators: Names to draw. Defaults to all.
        smoothing: Points in the running geometric mean that the line shows. Defaults to a
            thirtieth of the points; 1 draws the line through the points.
        colors: Estimator's name -> colour. Defaults to those of `estimator_colors`.

    Returns:
        The axes.

    Raises:
        ValueError: No record, or none with such a value.

    Example:
        >>> from matplotlib.figure import Figure
        >>> records = [{"step": s, "estimators": {"SG-8": {"average_variance": 1.0 / s}}}
        ...            for s in (1, 10, 100)]
        >>> ax = plot_variance(records, Figure().subplots())
        >>> ax.get_yscale(), [text.get_text() for text in ax.get_legend().get_texts()]
        ('log', ['SG-8'])

    Cost: a point for each record and estimator.
    """
    records = measurements(records)
    colors = colors or estimator_colors(records)
    rows: list[Row] = []
    for name in estimators or list(estimator_colors(records)):
        found = [r for r in records if value in r["estimators"].get(name, {})]
        points = [(r["step"], float(r["estimators"][name][value])) for r in found]
        if not points:
            continue
        errors = [r["estimators"][name].get("standard_error") for r in found]
        draw_points(ax, points, colors.get(name, "#999999"), name, smoothing)
        if value == "average_variance" and None not in errors:
            steps, values = zip(*points, strict=True)
            style = {"fmt": "none", "elinewidth": 0.8, "alpha": 0.5}
            ax.errorbar(steps, values, errors, ecolor=colors.get(name, "#999999"), **style)
        rows += [
            {"step": step, "estimator": name, value: number, "standard_error": error}
            for (step, number), error in zip(points, errors, strict=True)
        ]
    if not rows:
        raise ValueError(
            f"`records` must hold {value!r} of the estimators {estimators or 'at all'}, they do "
            "not. Measure it, or draw another value."
        )
    ax.set_yscale("log")
    ax.set_ylabel(_LABELS.get(value, value.replace("_", " ")))
    ax.legend(frameon=False)
    return finish(ax, rows)


def plot_noise_scale(
    records: Iterable[Record],
    ax: Axes,
    *,
    smoothing: int | None = None,
    color: str = "#000000",
) -> Axes:
    """The gradient noise scale V[g_i] / ||m||^2 over training.

    It is a property of the data and the weights, the same for all estimators: that of the first
    one that has it is drawn.

    Args:
        records: Of `GradientVarianceLogger`.
        ax: Axes to draw into.
        smoothing: As for `plot_variance`.
        color: Of points and line. Defaults to black.

    Returns:
        The axes.

    Raises:
        ValueError: No record, or none with a noise scale.

    Example:
        >>> from matplotlib.figure import Figure
        >>> records = [{"step": 5, "estimators": {"SG-8": {"noise_scale": 30.0}}}]
        >>> plot_noise_scale(records, Figure().subplots()).get_xlabel()
        'step'

    Source: McCandlish et al. 2018, arXiv:1812.06162, equation 2.9 (what is drawn).

    Cost: a point for each record.
    """
    points = []
    for record in measurements(records):
        scales = (values.get("noise_scale") for values in record["estimators"].values())
        scale = next((s for s in scales if s is not None), None)
        if scale is not None:
            points.append((record["step"], float(scale)))
    if not points:
        raise ValueError("`records` must hold a noise scale, they do not. Measure a `MiniBatch`.")
    draw_points(ax, points, color, "noise scale", smoothing)
    ax.set_yscale("log")
    ax.set_ylabel("gradient noise scale (examples)")
    return finish(ax, [{"step": step, "noise_scale": scale} for step, scale in points])
