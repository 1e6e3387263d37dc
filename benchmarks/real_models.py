"""Per-example squared norms on networks that people train: exact, how fast, how large.

    python -m benchmarks.real_models                      # what is not measured yet
    python -m benchmarks.real_models --models VGG16 BERT --again

Every network runs in a process of its own, pinned to one core. Columns of the table:

*error*: largest relative error of a squared norm, float32, to a plain loop of one backward pass
an example. Where it is above 1e-5 the loop itself may be that far off (deep random networks
amplify rounding): then *in float64* is the same comparison with everything in float64, and
*loop's own* the error of the float32 loop to the float64 loop.
*fallback*: layers without a rule that were called again, by class.
*time*: `squared_norms` over a forward and backward pass for all weights, both compiled: medians
of interleaved runs of 8 examples, in processor time. *memory*: the same for the peak of what
TensorFlow allocates for tensors, results included. *first call*: processor
seconds of tracing and one run.
*lines*: printed on standard error by the whole process (about six by TensorFlow's start).
Results are written to benchmarks/results/real_models.json and .md after every network.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import Queue
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import real_networks
from benchmarks.timing import write_json

TARGETS = {"error": 1e-4, "time": 2.5, "memory": 2.0}
HEADER = (
    "network",
    "error",
    "in float64",
    "loop's own",
    "time",
    "memory",
    "first call",
    "fallback",
    "lines",
)
Results = dict[str, dict[str, Any]]


def measure(name: str, core: int, seconds: float) -> dict[str, Any]:
    """Result of one network from a process on one core; `{"failed": reason}` where it fails."""
    environment = {**os.environ, "TF_CPU_ALLOCATOR_USE_BFC": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    start = time.perf_counter()
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.real_worker", name],
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not finished after {seconds:.0f} s"}
    lines = finished.stderr.splitlines()
    if finished.returncode:
        return {"failed": (lines or [f"exit status {finished.returncode}"])[-1][:300]}
    result = json.loads(finished.stdout.strip().splitlines()[-1])
    wall = time.perf_counter() - start
    return {**result, "lines_on_stderr": len(lines), "wall_seconds": wall}


def measure_all(
    names: Sequence[str], cores: Sequence[int], seconds: float, keep: Callable[..., None]
) -> None:
    """Measure networks, one a core at a time; `keep(name, result)` after each."""
    free: Queue[int] = Queue()
    for core in cores:
        free.put(core)

    def run(name: str) -> tuple[str, dict[str, Any]]:
        core = free.get()
        try:
            return name, measure(name, core, seconds)
        finally:
            free.put(core)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress, ThreadPoolExecutor(len(cores)) as pool:
        task = progress.add_task("networks", total=len(names))
        for future in as_completed([pool.submit(run, name) for name in names]):
            name, result = future.result()
            keep(name, result)
            line = " | ".join(row(name, result))
            progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
            progress.advance(task)


def row(name: str, result: Mapping[str, Any]) -> list[str]:
    """One line of the table."""
    if "failed" in result:
        return [name, f"failed: {result['failed']}", *[""] * (len(HEADER) - 2)]
    layers = [f"{count} {kind}" for kind, count in result["fallback_layers"].items()]
    return [
        name,
        f"{result['largest_relative_error']:.1e}",
        _scientific(result.get("error_in_float64")),
        _scientific(result.get("loop_float32_error_to_float64")),
        f"{result['time_over_plain']:.2f}x",
        f"{result['memory_over_plain']:.2f}x",
        f"{result['first_call_seconds']['squared_norms']:.1f} s",
        ", ".join(layers) or "none",
        str(result["lines_on_stderr"]),
    ]


def _scientific(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def table(results: Results) -> str:
    """All results as a Markdown table, in the order of `real_networks.names()`."""
    rows = [row(name, results[name]) for name in real_networks.names() if name in results]
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{text}\n\n{_verdict(results)}\n"


def _verdict(results: Results) -> str:
    """How many networks keep each target."""
    measured = [result for result in results.values() if "failed" not in result]
    exact = sum(_error(result) < TARGETS["error"] for result in measured)
    fast = sum(result["time_over_plain"] <= TARGETS["time"] for result in measured)
    small = sum(result["memory_over_plain"] <= TARGETS["memory"] for result in measured)
    return (
        f"Of {len(results)} networks {len(measured)} were measured; {exact} have an error below "
        f"{TARGETS['error']:g} (in float64 where float32 was not enough), {fast} take at most "
        f"{TARGETS['time']} times the plain step, {small} at most {TARGETS['memory']} times its "
        "memory."
    )


def _error(result: Mapping[str, Any]) -> float:
    return min(result["largest_relative_error"], result.get("error_in_float64", float("inf")))


def _chosen(arguments: argparse.Namespace, results: Results) -> list[str]:
    """What is left to do, with a word about what cannot be done here."""
    possible = [name for name in arguments.models if real_networks.can_build(name)]
    if len(possible) < len(arguments.models):
        missing = len(arguments.models) - len(possible)
        print(f"{missing} networks need keras-hub (pip install '.[benchmarks]') and are left out.")
    done = [name for name in possible if "failed" not in results.get(name, {"failed": ""})]
    if done and not arguments.again:
        print(f"{len(done)} networks are measured already (--again repeats them).")
        return [name for name in possible if name not in done]
    return possible


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = real_networks.names()
    parser.add_argument("--models", nargs="+", default=known, choices=known, metavar="NAME")
    parser.add_argument("--again", action="store_true", help="measure what is measured already")
    parser.add_argument("--seconds", type=float, default=300.0, help="at most, for one network")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/real_models.json"))
    arguments = parser.parse_args()
    results: Results = {}
    if arguments.output.exists():
        results = json.loads(arguments.output.read_text(encoding="utf-8"))["networks"]

    def keep(name: str, result: dict[str, Any]) -> None:
        results[name] = result
        write_json(arguments.output, {"targets": TARGETS, "networks": results})
        arguments.output.with_suffix(".md").write_text(table(results), encoding="utf-8")

    cores = sorted(os.sched_getaffinity(0))[: arguments.jobs]
    measure_all(_chosen(arguments, results), cores, arguments.seconds, keep)
    Console().print(table(results), highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
