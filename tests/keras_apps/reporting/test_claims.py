"""Verdicts of claims, from made-up finals of three seeds; the page and its command."""

import dataclasses
import json

import pytest

from keras_apps import claims as command
from keras_apps.experiments.carried_buffers import (
    BUFFER_FOR_ALL,
    BUFFER_FOR_EACH,
    value_name,
)
from keras_apps.reporting import discover_claims, variance_claims
from keras_apps.reporting.claims import Compared, Ordered, markdown
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.curves_over_steps import PREFIX
from keras_apps.reporting.kept_rows import rows_on
from keras_apps.reporting.verdicts import FAILS, HOLDS, NOT_RUN, OPEN, Claim
from keras_apps.running import configurations
from tests.keras_apps.reporting import feature_records
from tests.keras_apps.synthetic import EXPERIMENT
from tf_gradvar.records import RecordFile

NAME = "made:up"
SEEDS = (0, 1, 2)
MADE = dataclasses.replace(EXPERIMENT, groups_per_batch=(1,), seeds=SEEDS)


def results(finals, value="test_accuracy", experiment=MADE, early=None):
    """Results of optimizers with these final values, one for each seed."""
    found = []
    for name, numbers in finals.items():
        for seed, number in zip(SEEDS, numbers, strict=True):
            run = {"run": f"{name}-{seed}", "optimizer": name, "groups": 1, "seed": seed}
            run["tunes"] = False
            start = number if early is None else early[name][seed]
            for step, now in ((100, start), (600, number)):
                found.append({"kind": "evaluation", **run, "step": step, value: now})
            found.append({"kind": "finished", **run, "learning_rate": 0.1, "diverged": False})
    return Results.of(found, experiment)


def verdict(own, other, expected, **options):
    evidence = Compared(
        NAME, {"gain 1": (("Discover", "SGD"),)}, "test_accuracy", expected, **options
    )
    (row,) = evidence({NAME: results({"Discover": own, "SGD": other})})
    assert (row.experiment, row.reading) == (NAME, "gain 1")
    return row.verdict


LOW, HIGH, MIXED = (0.5, 0.6, 0.7), (0.6, 0.7, 0.8), (0.6, 0.5, 0.8)


@pytest.mark.parametrize(
    ("own", "other", "lower", "higher", "same"),
    [
        (LOW, HIGH, HOLDS, FAILS, HOLDS),  # by as much as the seeds scatter
        (HIGH, LOW, FAILS, HOLDS, HOLDS),
        (MIXED, LOW, OPEN, OPEN, HOLDS),
        ((0.1, 0.11, 0.12), LOW, HOLDS, FAILS, FAILS),
    ],
)
def test_verdicts_follow_from_the_seeds(own, other, lower, higher, same):
    found = [verdict(own, other, expected) for expected in ("lower", "higher", "same")]
    assert found == [lower, higher, same]


def test_what_was_measured_stands_in_the_row():
    evidence = Compared(NAME, {"": (("Discover", "SGD"),)}, "test_accuracy", "higher")
    (row,) = evidence({NAME: results({"Discover": HIGH, "SGD": LOW})})
    assert row.measured == (
        "Discover 70 ± 10 %, SGD 60 ± 10 % (+10.00 points; lower on 0 of 3 seeds)"
    )


def test_losses_and_early_values():
    early = {"Discover": (2.0, 2.0, 2.0), "SGD": (4.0, 4.0, 4.0)}
    made = results({"Discover": (1, 1, 1), "SGD": (1, 1, 1)}, "training_loss", early=early)
    pairs = {"": (("Discover", "SGD"),)}
    (row,) = Compared(NAME, pairs, "training_loss", "lower", "early")({NAME: made})
    assert row.verdict == HOLDS
    assert "at step 100 (\N{MINUS SIGN}50.0 %; lower on 3 of 3 seeds)" in row.measured
    (row,) = Compared(NAME, pairs, "training_loss", "lower")({NAME: made})
    assert row.verdict == OPEN


def test_order_of_several():
    def verdict_of(*finals):
        names = ("Discover", "SGD", "Momentum")
        evidence = Ordered("", [(NAME, name, name.lower()) for name in names], "test_accuracy")
        (row,) = evidence({NAME: results(dict(zip(names, finals, strict=True)))})
        return row.verdict

    best, middle, worst = (0.9, 0.8, 0.9), (0.5, 0.6, 0.7), (0.1, 0.2, 0.3)
    assert verdict_of(best, middle, worst) == HOLDS
    assert verdict_of(best, worst, middle) == FAILS
    assert verdict_of(best, (0.5, 0.6, 0.85), worst) == OPEN


@pytest.mark.parametrize("made", [{}, {NAME: results({"SGD": LOW})}], ids=["nothing", "a half"])
def test_what_was_not_run_is_called_so(made):
    pairs = {"": (("Discover", "SGD"),)}
    evidences = [
        Compared(NAME, pairs, "test_accuracy", "higher"),
        Ordered("", [(NAME, "SGD", "a"), (NAME, "Discover", "b")], "test_accuracy"),
    ]
    rows = [row for evidence in evidences for row in evidence(made)]
    assert [row.verdict for row in rows] == [NOT_RUN, NOT_RUN]


def carried(of_all, of_each):
    """Results of one optimizer that carries buffers, with these values of each seed."""
    made = configurations.load("cifar10_variance:quick").config
    made = dataclasses.replace(made, seeds=SEEDS)
    (optimizer,) = made.optimizers
    alpha = optimizer.arguments["alphas"][0]
    optimizer.arguments = {"alphas": (alpha,)}
    found = []
    for seed in SEEDS:
        run = {"run": f"r{seed}", "optimizer": optimizer.name, "groups": 1, "seed": seed}
        run["tunes"] = False
        values = {
            "sgd": 4.0,
            value_name(BUFFER_FOR_ALL, alpha): of_all[seed],
            value_name(BUFFER_FOR_EACH, alpha): of_each[seed],
        }
        measured = {PREFIX + name: value for name, value in values.items()}
        found.append({"kind": "evaluation", **run, "step": 20, **measured})
        found.append({"kind": "finished", **run, "learning_rate": 0.1, "diverged": False})
    return Results.of(found, made)


@pytest.mark.parametrize(
    ("of_all", "of_each", "smaller", "below_plain"),
    [
        ((5, 6, 7), (2, 3, 4), HOLDS, FAILS),
        ((3, 3, 3), (4, 2, 4), OPEN, HOLDS),
        ((1, 1, 1), (2, 3, 4), FAILS, HOLDS),
    ],
)
def test_buffers_at_the_same_weights(of_all, of_each, smaller, below_plain):
    made = {NAME: carried(of_all, of_each)}
    evidence = discover_claims.AtTheSameWeights(NAME, BUFFER_FOR_EACH, BUFFER_FOR_ALL)
    assert [row.verdict for row in evidence(made)] == [smaller]
    (row,) = discover_claims.NoSmallerThanPlain(NAME)(made)
    assert row.verdict == below_plain
    assert f"{min(of_all) / 4:.4g} to {max(of_all) / 4:.4g}" in row.measured


def test_the_page_counts_verdicts():
    pairs = {"one": (("Discover", "SGD"),), "two": (("SGD", "Discover"),)}
    evidence = Compared(NAME, pairs, "test_accuracy", "higher")
    claims = [Claim("It helps.", "Section 5", [evidence], "A note."), Claim("So.", "6", [])]
    page = markdown("A title", "Words.", claims, {NAME: results({"Discover": HIGH, "SGD": LOW})})
    assert page.startswith("# A title\n\nWords.\n")
    assert "| 1 | It helps. | holds: 1, does not hold: 1 |" in page
    assert "| 2 | So. | not testable here |" in page
    assert "## 1. It helps.\n\n*Section 5*\n\nA note.\n\n| experiment |" in page


def test_every_claim_has_experiments_that_exist():
    for name in discover_claims.EXPERIMENTS:
        experiment = configurations.load(name).config
        assert len(experiment.seeds) == 3
    rows = [row for claim in discover_claims.CLAIMS for e in claim.evidences for row in e({})]
    assert {row.verdict for row in rows} == {NOT_RUN}
    assert {name for row in rows for name in row.experiment.split(", ")} <= set(
        discover_claims.EXPERIMENTS
    )


def test_every_claim_compares_optimizers_that_its_experiment_has():
    """The names that an evidence asks for are those of the configuration."""
    for claim in discover_claims.CLAIMS:
        for evidence in claim.evidences:
            if isinstance(evidence, Compared):
                wanted = {
                    (evidence.experiment, name)
                    for own in evidence.pairs.values()
                    for pair in own
                    for name in pair
                }
            elif isinstance(evidence, Ordered):
                wanted = {(experiment, name) for experiment, name, _ in evidence.places}
            else:
                continue
            for experiment, name in wanted:
                optimizers = configurations.load(experiment).config.optimizers
                assert name in {optimizer.name for optimizer in optimizers}, (experiment, name)


def test_the_command_reads_workdirs(tmp_path, capsys):
    name = discover_claims.EXPERIMENTS[-1]
    folder = tmp_path / "runs" / name.replace(":", "-")
    folder.mkdir(parents=True)
    config = configurations.to_json(configurations.load(name).config)
    (folder / "config.json").write_text(json.dumps(config))
    words = ["discover", "--runs", str(tmp_path / "runs")]
    page = tmp_path / "docs" / "page.md"
    assert command.main([*words, "--write", str(page)]) == 0
    assert f"0 of {len(discover_claims.EXPERIMENTS)} experiments: {page}" in capsys.readouterr().out
    assert page.read_text().startswith(f"# {discover_claims.TITLE}")
    assert command.main(words) == 0
    assert capsys.readouterr().out == page.read_text()

    (folder / "config.json").write_text(json.dumps(config | {"steps": 7}))
    with pytest.raises(SystemExit):
        command.main(words)
    assert f"must hold the runs of {name}. These differ: steps." in capsys.readouterr().err


def two_claims():
    first, second = (
        Compared(
            name, {"gain 1": (("Discover", "SGD"), ("SGD", "Discover"))}, "test_accuracy", "higher"
        )
        for name in ("first:up", "second:up")
    )
    return [Claim("It helps.", "5", [first, second, first]), Claim("Always.", "6", [second])]


def test_rows_of_a_page_stay_where_the_records_are_gone():
    better = results({"Discover": HIGH, "SGD": LOW})
    claims = two_claims()
    both = markdown("T", "W", claims, {"first:up": better, "second:up": better})
    one = markdown("T", "W", claims, {"first:up": better})
    assert one != both
    merged = markdown("T", "W", claims, {"second:up": better}, kept=rows_on(one))
    assert merged == both
    assert markdown("T", "W", claims, {}, kept=rows_on(both)) == both


def test_records_go_before_the_rows_of_a_page():
    claims = two_claims()
    before = markdown("T", "W", claims, {"first:up": results({"Discover": HIGH, "SGD": LOW})})
    found = {"first:up": results({"Discover": LOW, "SGD": HIGH})}
    assert markdown("T", "W", claims, found, kept=rows_on(before)) == markdown(
        "T", "W", claims, found
    )
    # Records that say nothing yet do not go before a page that does.
    begun = {"first:up": results({"SGD": LOW})}
    assert "70 ± 10 %" in markdown("T", "W", claims, begun, kept=rows_on(before))


def test_only_what_is_missing_is_kept(tmp_path, capsys):
    page = tmp_path / "page.md"
    words = ["discover", "--runs", str(tmp_path), "--write", str(page)]
    with pytest.raises(SystemExit):
        command.main([*words, "--keep"])
    assert "--keep needs a page that exists" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["discover", "--runs", str(tmp_path), "--keep"])
    assert "Received: None" in capsys.readouterr().err
    assert command.main(words) == 0
    written = page.read_text()
    changed = written.replace("| Discover and Momentum | **not run** |", "| 1 and 2 | **holds** |")
    page.write_text(changed)
    assert command.main([*words, "--keep"]) == 0
    kept = page.read_text()
    assert kept.count("| 1 and 2 | **holds** |") == changed.count("| 1 and 2 | **holds** |") > 0
    assert "holds: 1" in kept
    assert command.main(words) == 0
    assert page.read_text() == written


def test_the_page_of_the_other_paper(tmp_path, capsys):
    """Its evidences find what the apps wrote; what was not run is called so."""
    quick = configurations.load("random_features:quick").config
    folder = tmp_path / "random_features"
    folder.mkdir()
    words = ["gradient_variance", "--runs", str(tmp_path)]
    assert command.main(words) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"# {variance_claims.TITLE}")
    assert "| experiment | statistic | measured | verdict |" in page
    assert "not testable here" in page
    assert "**holds**" not in page

    grid = configurations.load("random_features").config
    (folder / "config.json").write_text(json.dumps(configurations.to_json(grid)))
    records = RecordFile(folder / "records.jsonl")
    runs = grid.runs()
    for run in runs[1:]:
        records.append(feature_records.record(run))
    assert command.main(words) == 0
    assert "**Not finished.** `random_features`: 323 of 324 runs." in capsys.readouterr().out
    records.append(feature_records.record(runs[0]))
    assert command.main(words) == 0
    assert "explained by" in (page := capsys.readouterr().out)
    assert "**holds**" in page
    assert "Not finished" not in page

    (folder / "config.json").write_text(json.dumps(configurations.to_json(quick)))
    with pytest.raises(SystemExit):
        command.main(words)
    assert "must hold the runs of random_features. These differ" in capsys.readouterr().err


def test_trajectories_are_read(tmp_path):
    folder = tmp_path / "mnist5k_mlp"
    folder.mkdir()
    config = configurations.to_json(configurations.load("mnist5k_mlp").config)
    (folder / "config.json").write_text(json.dumps(config))
    assert command.results_of("mnist5k_mlp", tmp_path) is None
    RecordFile(folder / "variances.jsonl").append({"step": 50, "estimators": {}})
    found = command.results_of("mnist5k_mlp", tmp_path)
    assert (found.study.title, len(found.records)) == ("Gradient variance of an MLP on digits", 1)


def test_every_claim_of_the_other_paper_names_known_experiments():
    rows = [row for claim in variance_claims.CLAIMS for e in claim.evidences for row in e({})]
    assert {row.verdict for row in rows} == {NOT_RUN}
    named = {name for row in rows for name in row.experiment.split(", ")}
    assert named == set(variance_claims.EXPERIMENTS)
    for name in (variance_claims.FEATURES, variance_claims.DUPLICATES):
        assert len(configurations.load(name).config.seeds) == 3
    for name in variance_claims.STUDIES:
        assert configurations.load(name).config.trajectory.batch_size == 128
