"""Tables and the figure of `benchmarks.stratified_training`, from its records."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tf_gradvar.plots import PALETTE

COLORS = (*PALETTE, "#999999", "#882255")
Row = dict[str, Any]


def curves(records: list[Row], arm: str, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Steps `[P]` and losses `[seeds, P]`; what follows a loss that is not finite is infinite."""
    steps = sorted({record["step"] for record in records})
    mine = [r for r in records if r["arm"] == arm and r["learning_rate"] == rate]
    seeds = sorted({record["seed"] for record in mine})
    found = np.full((len(seeds), len(steps)), np.inf)
    for record in mine:
        place = seeds.index(record["seed"]), steps.index(record["step"])
        found[place] = record["loss"] if np.isfinite(record["loss"]) else np.inf
    return np.array(steps), found


def summarise(records: list[Row], arms: Sequence[str], rates: Sequence[float]) -> list[Row]:
    """One row for each arm and learning rate."""
    rows = []
    for rate in rates:
        for arm in arms:
            steps, losses = curves(records, arm, rate)
            mine = [r for r in records if r["arm"] == arm and r["learning_rate"] == rate]
            weights = [r["largest_weight"] for r in mine if "largest_weight" in r]
            ratios = [r["variance_ratio"] for r in mine if "variance_ratio" in r]
            settled = losses[:, steps >= 200]
            rows.append(
                {
                    "learning_rate": rate,
                    "arm": arm,
                    "final_loss": float(np.median(losses[:, -1])),
                    "lowest_final_loss": float(losses[:, -1].min()),
                    "highest_final_loss": float(losses[:, -1].max()),
                    "highest_loss_after_step_200": float(settled.max()),
                    "largest_weight": max(weights, default=1.0),
                    "variance_ratio": float(np.median(ratios)) if ratios else None,
                }
            )
    return rows


def plot(records: list[Row], arms: Sequence[str], rates: Sequence[float], path: Path) -> None:
    """Loss against steps: a panel for each learning rate, thin lines seeds, thick the median."""
    figure = Figure(figsize=(5.0 * len(rates), 4.6), layout="constrained")
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    for ax, rate in zip(panels, rates, strict=True):
        for arm, color in zip(arms, COLORS, strict=True):
            steps, found = curves(records, arm, rate)
            losses = np.where(np.isfinite(found), found, np.nan)
            style = "--" if arm.startswith("plain") else "-"
            ax.plot(steps, losses.T, style, color=color, linewidth=0.6, alpha=0.4)
            middle = np.median(found, axis=0)
            ax.plot(steps, np.where(np.isfinite(middle), middle, np.nan), style, color=color,
                    linewidth=1.8, label=arm)  # fmt: skip
        ax.set_yscale("log")
        ax.set_xlabel("step")
        ax.set_title(f"learning rate {rate:g}")
    panels[0].set_ylim(top=20.0)  # runs that leave through the top are lost
    panels[0].set_ylabel("training loss (nats per example)")
    panels[0].legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(path, dpi=150)


def write_csv(path: Path, rows: list[Row]) -> None:
    """The rows as a table."""
    with open(path, "w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def print_table(rows: list[Row]) -> None:
    """The summary as text."""
    columns = {
        "final loss": "final_loss",
        "lowest": "lowest_final_loss",
        "highest": "highest_final_loss",
        "worst after 200": "highest_loss_after_step_200",
        "largest weight": "largest_weight",
    }
    print(f"\n{'rate':>5} {'arm':<22}" + "".join(f"{title:>16}" for title in columns))
    for row in rows:
        values = "".join(f"{row[name]:>16.4g}" for name in columns.values())
        print(f"{row['learning_rate']:>5g} {row['arm']:<22}{values}")


def print_variances(rows: list[Row]) -> None:
    """What each bound leaves of the lower variance, as text."""
    print(f"\n{'step':>5} {'max_weight':>10} {'V / V[plain]':>13} {'within':>8} {'between':>8}")
    for row in rows:
        print(
            f"{row['step']:>5} {row['max_weight']:>10} {row['ratio']:>13.3f} {row['within']:>8.3f} "
            f"{row['between']:>8.3f}"
        )
