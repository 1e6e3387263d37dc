"""Cost of per-example statistics, as ratios to the plain forward and backward step.

    python -m benchmarks.per_example                    # one and two cores, time and memory
    python -m benchmarks.per_example --models mlp --cores 1 --repeats 40
    python -m benchmarks.per_example --frameworks torch # in an environment that has PyTorch

Each row is a median of interleaved runs of one process, divided by that of the plain step
(forward, then the gradient of all weights) of the same model in the same process and framework.
Processes are pinned to their cores. On one core the clock is the processor time of the process,
so that other users of the machine do not count; on more it is wall time. Memory is what TensorFlow
allocates for tensors at the peak of one batch, results included; for other libraries it is the
growth of the resident set, which is coarse for small models.
Models: MLP 784-1024-1024-10, and ResNet8 without batch normalisation (3x3 convolution of 16,
three blocks of 16, 32, 64 channels, parameter-free shortcuts). Batch 128, float32.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import per_example_peers
from benchmarks.timing import (
    allocated_mib,
    finished,
    interleaved_medians,
    peak_memory_mb,
    print_ratios,
    ratios,
    run_pinned,
    write_json,
)

BATCH = 128
PLAIN = "plain step"
GRADIENT_AND_NORMS = "mean gradient + norms"
EVERYTHING = "gradient, norms, second moments, sketch 256"
# Largest ratio to the plain step.
TARGETS = {
    ("mlp", GRADIENT_AND_NORMS): 1.1,
    ("mlp", EVERYTHING): 1.5,
    ("resnet8", GRADIENT_AND_NORMS): 1.6,
    ("resnet8", EVERYTHING): 2.2,
}
MEMORY_TARGET = 2.0
Variants = dict[str, Callable[[Any, Any], Any]]


def build_mlp():
    """784-1024-1024-10 with ReLU."""
    from keras import Input, Sequential, layers

    hidden = [layers.Dense(1024, "relu") for _ in range(2)]
    return Sequential([Input((784,)), *hidden, layers.Dense(10)])


def build_resnet8():
    """The CIFAR network of the study with one block a stage."""
    from keras import Input, Model, layers, ops

    inputs = Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = layers.Conv2D(channels, 3, stride, padding="same", activation="relu")(x)
        y = layers.Conv2D(channels, 3, padding="same")(y)
        missing = channels - x.shape[-1]
        x = x[:, ::stride, ::stride]
        x = ops.pad(x, [[0, 0], [0, 0], [0, 0], [missing // 2, missing - missing // 2]])
        x = layers.ReLU()(layers.Add()([x, y]))
    return Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


BUILDERS = {"mlp": build_mlp, "resnet8": build_resnet8}


def our_variants(model: Any) -> Variants:
    """The plain step, ours, and what TensorFlow offers by itself."""
    import keras
    import tensorflow as tf

    from tf_gradvar import per_example

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = [variable.value for variable in model.trainable_variables]

    def plain(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x))
        return tape.gradient(value, weights)

    def vectorized_map(x, y):
        def norm(example):
            gradients = plain(example[0][None], example[1][None])
            return tf.add_n([tf.reduce_sum(g**2) for g in gradients])

        return tf.vectorized_map(norm, (x, y))

    def measured(**options):
        return lambda x, y: per_example.statistics(model, x, y, loss, **options)

    functions = {
        PLAIN: plain,
        "norms alone": measured(mean_gradient=False),
        GRADIENT_AND_NORMS: measured(),
        "... and second moments": measured(second_moments=True),
        EVERYTHING: measured(second_moments=True, sketch_size=256),
        "tf.vectorized_map, norms alone": vectorized_map,
    }
    specs = [tf.TensorSpec([None, *model.input_shape[1:]]), tf.TensorSpec([None], tf.int32)]
    return {
        name: finished(tf.function(function, input_signature=specs))
        for name, function in functions.items()
    }


def our_data(model: Any, batch: int) -> tuple[Any, Any]:
    """Random inputs and labels."""
    import tensorflow as tf

    x = tf.random.stateless_normal([batch, *model.input_shape[1:]], [0, batch])
    return x, tf.random.stateless_uniform([batch], [1, batch], 0, 10, tf.int32)


def prepare(framework: str, model_name: str) -> tuple[Variants, Callable[[int], tuple[Any, Any]]]:
    """Variants and data of one framework."""
    if framework == "tensorflow":
        model = BUILDERS[model_name]()
        return our_variants(model), lambda batch: our_data(model, batch)
    return per_example_peers.prepare(framework, model_name)


def time_worker(framework: str, model_name: str, repeats: int, clock: str) -> dict[str, float]:
    """Median seconds of each variant, in this process."""
    variants, data = prepare(framework, model_name)
    x, y = data(BATCH)
    timed = {name: (lambda run=run: run(x, y)) for name, run in variants.items()}
    tick = time.process_time if clock == "cpu" else time.perf_counter
    return interleaved_medians(timed, repeats, warmup=3, clock=tick)


def memory_worker(framework: str, model_name: str, variant: str) -> float:
    """MiB that the first full batch of one variant needs, in this process."""
    variants, data = prepare(framework, model_name)
    run, full = variants[variant], data(BATCH)
    run(*data(2))
    if framework == "tensorflow":
        return allocated_mib(lambda: run(*full))
    return peak_memory_mb(lambda: run(*full), interval=0.0005)


def _worker_output(
    arguments: list[str], cores: int, environment: dict[str, str] | None = None
) -> Any:
    printed = run_pinned(
        ["-m", "benchmarks.per_example", "--worker", *arguments],
        cores,
        {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": str(cores), **(environment or {})},
    )
    return json.loads(printed.strip().splitlines()[-1])


def measure(framework: str, model: str, cores: int, repeats: int) -> dict[str, Any]:
    """Timings of all variants of a framework, printed and returned."""
    clock = "cpu" if cores == 1 else "wall"
    medians = _worker_output(["time", framework, model, str(repeats), clock], cores)
    title = f"{framework}, {model}, {cores} core{'s' if cores > 1 else ''}, {clock} time"
    print_ratios(title, medians, PLAIN)
    found = ratios(medians, PLAIN)
    for (name, variant), target in TARGETS.items():
        if name == model and variant in found:
            verdict = "within" if found[variant] <= target else "ABOVE"
            print(f"  {variant}: {verdict} the target of {target}x")
    return {
        "framework": framework,
        "model": model,
        "cores": cores,
        "clock": clock,
        "seconds": medians,
        "ratios": found,
    }


def measure_memory(framework: str, model: str, variants: list[str]) -> dict[str, Any]:
    """Peak memory of each variant in a process of its own."""
    counted = {"TF_CPU_ALLOCATOR_USE_BFC": "1"}
    peaks = {v: _worker_output(["memory", framework, model, v], 1, counted) for v in variants}
    print(f"\n{framework}, {model}, peak memory")
    for name, peak in peaks.items():
        print(f"  {name:<44}  {peak:9.1f} MiB  {peak / peaks[PLAIN]:6.2f}x")
    return {"framework": framework, "model": model, "peak_mib": peaks}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(BUILDERS), choices=list(BUILDERS))
    parser.add_argument("--cores", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--frameworks", nargs="+", default=per_example_peers.installed())
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/per_example.json"))
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        kind, framework, model, *rest = arguments.worker
        if kind == "time":
            result: Any = time_worker(framework, model, int(rest[0]), rest[1])
        else:
            result = memory_worker(framework, model, rest[0])
        print(json.dumps(result))
        return
    times, memory = [], []
    for model in arguments.models:
        for framework in arguments.frameworks:
            for cores in arguments.cores:
                times.append(measure(framework, model, cores, arguments.repeats))
            memory.append(measure_memory(framework, model, list(times[-1]["seconds"])))
    write_json(
        arguments.output,
        {"batch": BATCH, "repeats": arguments.repeats, "times": times, "memory": memory},
    )
    print(f"\nWritten to {arguments.output}")


if __name__ == "__main__":
    main()
