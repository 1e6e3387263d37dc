"""Figures from the records of `GradientVarianceLogger`: functions (records, ax) -> ax.

    records = RecordFile("run/records.jsonl").read()        # or logger.history
    figure = matplotlib.figure.Figure(layout="constrained")
    plot_variance(records, figure.subplots())
    save(figure, "variance.png")                            # and variance.csv with its numbers

No function changes matplotlib's global state. Measured values are points, their smoothing is a
line. Variances have log axes; values that such an axis cannot show (0 at an SVRG snapshot, NaN)
are left out of the picture and stay in the CSV file. Every estimator has one colour in all
figures of the same records, from the palette of Okabe and Ito, which colour-blind readers can tell
apart. Needs matplotlib (`pip install tf_gradvar[plots]`).
"""

from tf_gradvar.plots.curves import plot_noise_scale, plot_variance
from tf_gradvar.plots.drawing import PALETTE, estimator_colors, smoothed
from tf_gradvar.plots.heat_maps import plot_layers, plot_norm_spectrum
from tf_gradvar.plots.numbers import save

__all__ = [
    "PALETTE",
    "estimator_colors",
    "plot_layers",
    "plot_noise_scale",
    "plot_norm_spectrum",
    "plot_variance",
    "save",
    "smoothed",
]
