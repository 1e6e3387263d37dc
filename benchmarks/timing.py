"""Timings that survive a noisy machine: interleaved variants, medians and ratios.

Every variant runs once in each round, in a shuffled order, so that a slow second of the
machine falls on all of them. A ratio of two medians from one process is the number to report.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def interleaved_medians(
    variants: Mapping[str, Callable[[], Any]],
    repeats: int = 20,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of one call of each variant.

    Args:
        variants: Name -> function of no arguments. It must return only when its work is
            done (call `.numpy()` or `block_until_ready()` inside).
        repeats: Timed rounds.
        warmup: Untimed calls of each variant before the first round.
        clock: Seconds. On a machine that others use, `time.process_time` counts the work of
            this process alone (of all its threads), and steadies timings pinned to one core.

    Returns:
        Name -> median seconds, in the order of `variants`.
    """
    times = interleaved_times(variants, repeats, warmup, clock)
    return {name: median(values) for name, values in times.items()}


def interleaved_times(
    variants: Mapping[str, Callable[[], Any]],
    repeats: int = 20,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """All the timed seconds behind `interleaved_medians`, for those who want the spread."""
    for run in variants.values():
        for _ in range(warmup):
            run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants)
    shuffle = random.Random(0).shuffle
    for _ in range(repeats):
        shuffle(order)
        for name in order:
            start = clock()
            variants[name]()
            times[name].append(clock() - start)
    return times


def median(values: Sequence[float]) -> float:
    """The median of a non-empty sequence."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def ratios(medians: Mapping[str, float], baseline: str) -> dict[str, float]:
    """Each median divided by that of `baseline`."""
    return {name: seconds / medians[baseline] for name, seconds in medians.items()}


def print_ratios(title: str, medians: Mapping[str, float], baseline: str) -> None:
    """Print one line a variant: milliseconds and the ratio to `baseline`."""
    print(f"\n{title}  (ratio to {baseline!r})")
    width = max(len(name) for name in medians)
    for name, ratio in ratios(medians, baseline).items():
        print(f"  {name:<{width}}  {1e3 * medians[name]:9.2f} ms  {ratio:6.2f}x")


def peak_memory_mb(run: Callable[[], Any], interval: float = 0.001) -> float:
    """Peak growth of this process's resident memory during one call, in MiB.

    Memory that the allocator already holds is invisible here: call it in a fresh process,
    after one small call has loaded the library, and before any larger one.
    """
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * page

    peak = start = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, resident())
            time.sleep(interval)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return (max(peak, resident()) - start) / 2**20


def finished(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Return when a function is done, without copying its large results out of TensorFlow."""
    import tensorflow as tf

    def run(*arguments: Any) -> Any:
        results = tf.nest.flatten(compiled(*arguments), expand_composites=True)
        tensors = [t for t in results if tf.is_tensor(t)]
        return min(tensors, key=lambda t: t.shape.num_elements()).numpy()

    return run


def allocated_mib(run: Callable[[], Any]) -> float:
    """Peak of what TensorFlow allocates for tensors beyond what is there before the call.

    The process must have been started with `TF_CPU_ALLOCATOR_USE_BFC=1`.
    """
    import tensorflow as tf

    tf.config.experimental.reset_memory_stats("CPU:0")
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    run()
    return (tf.config.experimental.get_memory_info("CPU:0")["peak"] - before) / 2**20


def run_pinned(
    arguments: Sequence[str], cores: int, environment: Mapping[str, str] | None = None
) -> str:
    """Run `python *arguments` on the first `cores` allowed cores; return what it printed.

    The affinity is set before Python starts, because thread pools are sized at import.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if cores > len(allowed):
        raise ValueError(
            f"`cores` must be at most the {len(allowed)} cores of this process, "
            f"received {cores}; ask for fewer."
        )
    chosen = set(allowed[:cores])
    finished = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
    )
    return finished.stdout


def add_cores_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--cores`, the number of cores for `pin_tensorflow`; all that are allowed by default."""
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))


def pin_tensorflow(cores: int) -> None:
    """Keep this process and TensorFlow's pools to the first `cores` allowed cores.

    Call it before TensorFlow runs anything.
    """
    import tensorflow as tf

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)


def environment_facts() -> dict[str, str]:
    """Machine and version facts that belong beside a timing."""
    import importlib.metadata

    facts = {
        "machine": platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
    }
    for package in (
        "tensorflow",
        "tensorflow-cpu",
        "keras",
        "keras-hub",
        "jax",
        "torch",
        "backpack-for-pytorch",
        "opacus",
    ):
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts


def write_json(path: str | Path, result: Mapping[str, Any]) -> None:
    """Write a result with the facts of `environment_facts` beside it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"environment": environment_facts(), **result}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
