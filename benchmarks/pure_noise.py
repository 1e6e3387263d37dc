"""The normalized variance of pure noise: the published statistic exceeds 1, ours is 1.

    python -m benchmarks.pure_noise [--folder benchmarks/results]

Estimates of a gradient that is nothing but noise (standard normal coordinates) have Var[e_j] /
E[e_j^2] = 1, and no estimate can have more. The statistic behind the published figures takes n
estimates around the mean of n earlier ones and expects

    1 + 1/(n-2)     `method="paper_2020"`
    1               `method="monte_carlo"`, the unbiased one, from n estimates

so that a plateau above 1 is the ceiling of the statistic. For each n both are computed on simulated
estimates by the code that `gradient_variance` uses. Writes pure_noise.png and pure_noise.csv.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_gradvar.estimators.draws import MonteCarlo, Paper2020
from tf_gradvar.moments import Layout
from tf_gradvar.plots import PALETTE

DRAWS = (5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50)
COORDINATES = 200_000

Row = dict[str, float]


def measure(draws: int, coordinates: int = COORDINATES) -> Row:
    """Both statistics on simulated noise, beside what theory says.

    Args:
        draws: n, estimates in each statistic.
        coordinates: Independent coordinates of an estimate, over which the statistics average.

    Returns:
        A row of the table.
    """
    layout = Layout(("noise",), (0,), (coordinates,))
    published, ours = Paper2020(layout, True, draws), MonteCarlo(layout, True)
    rng = np.random.default_rng(draws)
    for place in range(2 * draws):
        estimate = rng.normal(size=coordinates)
        published.add([estimate])
        if place < draws:
            ours.add([estimate])
    results = [s.result(None, method="-", per_layer=False) for s in (published, ours)]
    return {
        "draws": draws,
        "paper_2020": results[0].normalized_variance or 0.0,
        "paper_2020_theory": 1 + 1 / (draws - 2),
        "monte_carlo": results[1].normalized_variance or 0.0,
        "monte_carlo_theory": 1.0,
    }


def plot(rows: Sequence[Row], ax: Axes) -> Axes:
    """Points that were measured on the lines of theory."""
    lines = {"paper_2020": ("theory 1 + 1/(n-2)", "published statistic")}
    lines["monte_carlo"] = ("theory 1", "unbiased, ours")
    draws = [row["draws"] for row in rows]
    for (name, (theory, label)), color in zip(lines.items(), PALETTE[1::-1], strict=True):
        expected = [row[f"{name}_theory"] for row in rows]
        ax.plot(draws, expected, color=color, linewidth=1.2, label=theory)
        ax.plot(draws, [row[name] for row in rows], "o", color=color, markersize=4, label=label)
    ax.set_xlabel("estimates drawn, n")
    ax.set_ylabel("normalized variance of pure noise (no unit)")
    ax.set_ylim(0.9, None)
    ax.legend(frameon=False)
    return ax


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    folder = parser.parse_args().folder
    rows = [measure(draws) for draws in DRAWS]
    for row in rows:
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()))
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "pure_noise.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    plot(rows, figure.subplots())
    figure.savefig(folder / "pure_noise.png", dpi=110)


if __name__ == "__main__":
    main()
