"""The numbers of a comparison, and its tables, against what the made-up records must give."""

import csv
import dataclasses
import io
import math
import statistics

import pytest
from rich.console import Console

from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.search import Candidate
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.comparison_tables import rivals_table, summary_rows, summary_table
from keras_apps.reporting.pictures import write_csv
from keras_apps.reporting.terminal import rich_table
from tests.keras_apps.synthetic import EXPERIMENT, LOSSES, loss, records
from tf_gradvar.pages import MINUS, PERCENT


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
    arm = arm_of(changed, "SGD")
    assert (arm.chosen, arm.how) == (Candidate(rate), text)


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


def searched(tried):
    """The records with a Discover whose gain was searched; these tuning runs."""
    search = {"learning_rate": (0.1, 0.2), "gain": (1.0, 0.3)}
    discover = OptimizerChoice("Discover", base="SGD", search=search)
    others = tuple(o for o in EXPERIMENT.optimizers if o.name != "Discover")
    experiment = dataclasses.replace(EXPERIMENT, optimizers=(*others, discover), tuning_budget=3)
    found = [
        {**r, "learning_rate": 0.2, "arguments": {"gain": 0.3}}
        if (r["kind"], r["optimizer"]) == ("finished", "Discover")
        else r
        for r in records()
    ]
    end = next(r for r in found if r["kind"] == "finished" and r["optimizer"] == "Discover")
    found += [
        {**end, "run": f"tuning-{index}", "learning_rate": rate, "tunes": True}
        for index, rate in enumerate(tried)
    ]
    return Results.of(found, experiment)


@pytest.mark.parametrize(
    ("tried", "text"),
    [
        ((0.1, 0.2, 0.4), "best of 3"),
        ((0.2, 0.4), "best of 2; none tried below it"),
        ((0.1, 0.2), "best of 2; none tried above it"),
        ((0.2,), "best of 1; none tried above it; none tried below it"),
    ],
)
def test_chosen_arguments_and_what_was_tried_beside_them(tried, text):
    results = searched(tried)
    arm = results.arm("Discover", 1)
    assert arm.chosen == Candidate(0.2, {"gain": 0.3})
    assert arm.how == text
    table = summary_table(results)
    assert table.headings[-4:] == ["learning rate", "arguments", "rate chosen", "steps/s"]
    assert table.cells[4][-4:-1] == ["0.2", "gain 0.3", text]
    assert table.cells[0][-4:-2] == ["0.1", ""]
    row = next(row for row in summary_rows(results) if row["optimizer"] == "Discover")
    assert (row["learning_rate"], row["argument_gain"]) == (0.2, 0.3)


def test_forms_beside_the_best_rival_on_the_same_batches():
    rows = rivals_table(Results.of(records(), EXPERIMENT)).cells
    ours, loss_of_adam = (
        ["Discover", "DiscoverOver(Adam)"] * 2,
        ["0.21 ± 0.0141", "0.105 ± 0.00707"],
    )
    losses = ["0.315 ± 0.0212", "0.189 ± 0.0127", "0.21 ± 0.0141", "0.105 ± 0.00707"]
    changes = [f"+50{PERCENT}", f"{MINUS}10{PERCENT}", f"+100{PERCENT}", f"+0{PERCENT}"]
    verdicts = ["higher on every seed", "lower on every seed", "higher on every seed"]
    assert [row[0] for row in rows] == ["1", "1", "8", "8"]
    assert [row[1] for row in rows] == ours
    assert [row[2] for row in rows] == losses
    assert [row[3] for row in rows] == ["Adam"] * 4
    assert [row[4] for row in rows] == [loss_of_adam[0]] * 2 + [loss_of_adam[1]] * 2
    assert [row[5] for row in rows] == changes
    assert [row[6] for row in rows] == [*verdicts, "lower on some seeds, higher on others"]
    one = rivals_table(Results.of(records(seeds=(0,)), EXPERIMENT))
    assert {row[-1] for row in one.cells} == {"one seed: no verdict"}


def test_rivals_are_on_the_same_clusters_and_did_not_diverge():
    on_random = tuple(
        dataclasses.replace(o, clusters="random") if o.name in ("SGD", "Discover") else o
        for o in EXPERIMENT.optimizers
    )
    experiment = dataclasses.replace(EXPERIMENT, optimizers=on_random)
    results = Results.of(records(), experiment)
    assert results.best_rival(results.arm("Discover", 1)).optimizer.name == "SGD"
    diverged = [
        {**r, "training_loss": math.nan} if r["optimizer"] == "SGD" and "step" in r else r
        for r in records()
    ]
    results = Results.of(diverged, experiment)
    assert results.best_rival(results.arm("Discover", 1)) is None
    assert [row[1] for row in rivals_table(results).cells] == ["DiscoverOver(Adam)"] * 2
