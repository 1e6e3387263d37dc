"""Random features: how overparametrization changes the variance of gradient estimators.

Reproduces: Figures 4, 5, 8 and 9 of Faghri et al. 2020 (Section 4.2 and Appendix C.2) at their full
size: 1 000 random features, h_s / N from 0.1 to 10, three learning rates, inputs and teachers of
0.1 and 10 times the student's width, three seeds, 324 runs of 5 000 steps of 10 examples.
`:duplicates` is Figure 8: 5 points that fill 10, 50 or 90 % of the data, at learning rate 0.01.
Settings that the paper does not give are those of its published code: logs every 100 steps,
snapshots and clusterings every 1 000, three passes of a clustering, 10 draws of its statistic.

Expected: overparametrization lowers the variance, the width of the teacher does not matter, a
smaller learning rate comes with a larger variance; Gradient Clustering lies between SG-B and SG-2B,
and far below both where there are duplicates. The published normalized variance goes above 1, which
the exact one cannot.

Measured (324 runs, three seeds; maximum over the last 70 % of the steps): of the variation of the
log variance of SG-B, h_s / N explains 37 %, the learning rate 45 %, the inputs 0.04 %, the
teacher's width 0.001 %. Clusters in the paper's form have 0.46 to 0.75 of the variance of SG-B at
the two smaller rates (median 0.66) and 0.40 to 1.4 at 0.1 (0.59); those of exact moves 0.28 to 0.86
(0.51), and 0.24 to 6.1 at 0.1 (0.48), where they age fast with fewer features than examples. The
normalized variance is 0.940 to 0.99997, by the published statistic 0.98 to 2.8, above 1 in 323 of
324 runs.

With 10, 50 and 90 % duplicates (324 runs, learning rate 0.01), of the variance of SG-B: the paper's
form 0.51 to 0.74 (median 0.62), 0.40 to 0.65 (0.49) and 0.05 to 0.24 (0.14), exact moves 0.25 to
0.75 (0.41), 0.17 to 0.49 (0.25) and 0.02 to 0.08 (0.06).

Time: 27 runs, a ninth of them with 10 000 examples, take 2.5 minutes of processor time.

`:small` is a tenth of the runs, `:paper` the same as without a variant.

Commands:
    python -m keras_apps.random_features --config random_features --workdir runs/random_features
    python -m keras_apps.random_features --config random_features:duplicates \
        --workdir runs/random_features-duplicates
    python -m keras_apps.random_features --config random_features:small --workdir runs/small
    python -m keras_apps.random_features --config random_features:quick --workdir runs/quick
"""

from keras_apps.experiments.feature_grid import FeatureGrid


def config() -> FeatureGrid:
    """The paper's grid, measured every 250 steps exactly and every 500 by its statistic."""
    grid = FeatureGrid(title="Random features models")
    grid.measure_every = 250
    grid.draw_every = 500
    return grid


def paper() -> FeatureGrid:
    """The same."""
    return config()


def duplicates() -> FeatureGrid:
    """Five points that fill much of the data."""
    grid = config()
    grid.title = "Random features models with duplicates"
    grid.duplicates = (0.1, 0.5, 0.9)
    grid.learning_rates = (0.01,)
    return grid


def small() -> FeatureGrid:
    """Narrow inputs and teachers, five ratios, two seeds."""
    grid = config()
    grid.ratios = (0.5, 1.0, 2.0, 5.0, 10.0)
    grid.input_widths = (0.1,)
    grid.teacher_widths = (0.1,)
    grid.seeds = (0, 1)
    return grid


def quick() -> FeatureGrid:
    """Few features and steps, to see that everything works."""
    grid = config()
    grid.student_features = 40
    grid.ratios = (0.5, 2.0)
    grid.learning_rates = (0.1,)
    grid.input_widths = (0.5,)
    grid.teacher_widths = (0.5,)
    grid.seeds = (0,)
    grid.batch_size = 4
    grid.steps = 20
    grid.measure_every = 5
    grid.draw_every = 10
    grid.refresh_every = 10
    return grid
