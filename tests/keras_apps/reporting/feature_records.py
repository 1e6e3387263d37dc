"""Made-up records of a grid of random features models."""

from keras_apps.experiments.feature_grid import (
    DRAWN,
    GC,
    GC_PAPER,
    SG,
    SG_2B,
    SVRG_NAME,
    FeatureGrid,
)

GRID = FeatureGrid(
    "A <made-up> grid",
    student_features=10,
    ratios=(0.5, 1.0),
    learning_rates=(0.1, 0.01),
    input_widths=(1.0,),
    teacher_widths=(1.0, 2.0),
    seeds=(0, 1),
    steps=10,
    measure_every=1,
)
SHARES = {SG: 1.0, SG_2B: 0.5, SVRG_NAME: 0.2, GC: 0.3, GC_PAPER: 0.6}


def variance(run, step):
    """Larger for small rates, falling over the steps and with the ratio."""
    return (1 + run.problem.seed / 10) / (run.learning_rate * run.ratio * step)


def record(run, shares=None, normalized=0.9):
    """Of a run whose estimators have these shares of the variance of SG-B."""
    steps = list(range(1, 11))

    def values(share, steps, larger=1.0, added=0.0):
        return {
            "average_variance": [larger * share * variance(run, step) for step in steps],
            "normalized_variance": [normalized + added] * len(steps),
        }

    shares = SHARES | (shares or {})
    drawn = steps[1::2]
    return {
        "kind": "finished",
        "run": run.name,
        "ratio": run.ratio,
        "examples": run.problem.examples,
        "input_size": run.problem.input_size,
        "teacher_features": run.problem.teacher_features,
        "duplicates": run.problem.duplicates,
        "seed": run.problem.seed,
        "learning_rate": run.learning_rate,
        "positives": 0.5,
        "steps": steps,
        "drawn_steps": drawn,
        "training_loss": [1 / step for step in steps],
        "estimators": {name: values(share, steps) for name, share in shares.items()},
        "drawn": {name: values(shares[name], drawn, 1.1, 0.2) for name in DRAWN},
        "fresh": {
            name: {"average_variance": [share / 2 if name != SG else share] * 2}
            for name, share in shares.items()
        },
        "seconds": 1.5,
    }


def records(grid=GRID, **options):
    return [record(run, **options) for run in grid.runs()]
