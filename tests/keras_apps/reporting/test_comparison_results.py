"""The numbers of a comparison, and its tables, against what the made-up records must give."""

import csv
import io
import math
import statistics

import pytest
from rich.console import Console

from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.comparison_tables import summary_rows, summary_table
from keras_apps.reporting.pictures import write_csv
from keras_apps.reporting.terminal import rich_table
from tests.keras_apps.synthetic import EXPERIMENT, LOSSES, loss, records


def arm_of(found, name, groups=1):
    return Results.of(found, EXPERIMENT).arm(name, groups)


def cells_of(found):
    return summary_table(Results.of(found, EXPERIMENT)).cells


def test_rows_come_in_the_order_of_the_experiment():
    arms = Results.of(records(), EXPERIMENT).arms
    assert [(arm.groups, arm.optimizer.name) for arm in arms] == [
        (groups, name) for groups in (1, 8) for name in LOSSES
    ]
    assert Results.of([], EXPERIMENT).arms == []


@pytest.mark.parametrize("name", LOSSES)
def test_final_early_and_late_values(name):
    row = arm_of(records(), name)
    at = {step: [loss(name, 1, seed, step) for seed in (0, 1)] for step in range(100, 601, 100)}
    assert row.early_step == 100
    assert row.early["training_loss"].mean == pytest.approx(sum(at[100]) / 2)
    assert row.final["training_loss"].mean == pytest.approx(sum(at[600]) / 2)
    assert row.final["training_loss"].deviation == pytest.approx(statistics.stdev(at[600]))
    late = [sum(at[step][seed] for step in (400, 500, 600)) / 3 for seed in (0, 1)]
    assert row.late["training_loss"].mean == pytest.approx(sum(late) / 2)
    assert row.late["training_loss"].deviation == pytest.approx(statistics.stdev(late))
    assert row.steps_per_second == 450
    assert row.diverged == 0


def test_runs_that_are_not_finished_or_only_tune_do_not_count():
    whole = records()
    last = next(r for r in whole if r["kind"] == "finished" and r["run"] == "SGD-C1-seed1")
    whole.remove(last)
    whole.append({**last, "run": "tuning", "tunes": True})
    results = Results.of(whole, EXPERIMENT)
    assert results.tuning_runs == 1
    row = results.arm("SGD", 1)
    assert len(row.final["training_loss"].values) == 1
    assert row.final["training_loss"].mean == pytest.approx(loss("SGD", 1, 0, 600))


def test_a_diverged_seed_shows():
    changed = [
        {**r, "training_loss": math.nan}
        if (r["run"], r.get("step")) == ("SGD-C1-seed1", 300)
        else {**r, "diverged": True}
        if (r["run"], r["kind"]) == ("SGD-C1-seed1", "finished")
        else r
        for r in records()
        if not (r["run"] == "SGD-C1-seed1" and r.get("step", 0) > 300)
    ]
    arm = arm_of(changed, "SGD")
    assert math.isnan(arm.final["training_loss"].mean)
    assert arm.diverged == 1
    assert any("SGD (1 diverged)" in line for line in cells_of(changed))


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0.1, "best of 3, the smallest"),
        (0.2, "best of 3"),
        (0.4, "best of 3, the largest"),
        (0.3, "given"),
    ],
)
def test_how_the_rate_was_chosen(rate, text):
    changed = [{**r, "learning_rate": rate} if r["kind"] == "finished" else r for r in records()]
    assert arm_of(changed, "SGD").chosen == text


def test_the_table_as_text():
    table = summary_table(Results.of(records(), EXPERIMENT))
    assert table.headings == [
        "C",
        "optimizer",
        "training loss, end",
        "test accuracy, %",
        "training loss, step 100",
        "learning rate",
        "rate chosen",
        "steps/s",
    ]
    cells = table.cells
    assert cells[0][2:5] == ["0.4200 ± 0.0283", "90.50 ± 0.71", "2.520 ± 0.170"]
    assert cells[0][5:] == ["0.1", "best of 3, the smallest", "450"]
    assert cells[4][1] == "DiscoverOver(Adam)"
    assert cells_of(records(seeds=(0,)))[0][2] == "0.4000"


def test_the_table_in_the_terminal():
    text = io.StringIO()
    table = summary_table(Results.of(records(), EXPERIMENT))
    Console(file=text, width=80).print(rich_table(table, "title"))
    line = next(line for line in text.getvalue().splitlines() if "DiscoverOver(Adam)" in line)
    assert line.split() == [
        *("1", "DiscoverOver(Adam)", "0.1890", "±", "0.0127", "91.00", "±", "0.71"),
        *("1.134", "±", "0.076", "0.1"),
    ]


def test_the_csv_has_all_digits(tmp_path):
    results = Results.of(records(), EXPERIMENT)
    write_csv(summary_rows(results), tmp_path / "summary.csv")
    with open(tmp_path / "summary.csv") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(results.arms)
    assert (
        float(lines[0]["final_training_loss_mean"]) == results.arms[0].final["training_loss"].mean
    )
    assert lines[0]["rate_chosen"] == "best of 3, the smallest"
