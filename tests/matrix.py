"""The tests on every Python, with the oldest and the newest releases: python -m tests.matrix.

Each cell of the table gets a virtual environment of its own in build/matrix, the tests of the
package (without apps and slow tests) on TensorFlow, and those of the JAX backend. What passed is
written to docs/matrix.md and docs/matrix.json after every cell, and stays there for cells that were
not asked for. Cells of the same commit are not run twice.

    python -m tests.matrix                         all cells, hours
    python -m tests.matrix --cells 3.10-oldest     some of them
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "matrix"
PAGE = ROOT / "docs" / "matrix.md"
RESULTS = ROOT / "docs" / "matrix.json"

NEWEST = ("tensorflow-cpu", "keras", "jax")
OLDEST = ("tensorflow-cpu==2.18.*", "keras==3.8.*", "jax==0.4.34", "tensorflow-metadata<1.18")
# TensorFlow 2.18 knows no Python after 3.12.
CELLS = {
    "3.10-oldest": OLDEST,
    "3.10-newest": NEWEST,
    "3.11-newest": NEWEST,
    "3.12-oldest": OLDEST,
    "3.12-newest": NEWEST,
    "3.13-newest": NEWEST,
}
SHOWN = ("tensorflow-cpu", "keras", "jax", "numpy")
ROOMS = "callbacks clustering data diagnosis estimators optimizers per_example sampling training"
TENSORFLOW = [f"tests/{room}" for room in ROOMS.split()]
SUMMARY_LINE = re.compile(r"(passed|failed|errors?|skipped).* in [\d.]+s")
SUMMARY = re.compile(r"(\d+) (passed|failed|errors?|skipped)")


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of a cell.

    Attributes:
        commit: That was tested.
        versions: Of what is installed, by package.
        tensorflow: How many tests passed, failed and so on, on TensorFlow.
        jax: The same on JAX.
    """

    commit: str
    versions: dict[str, str]
    tensorflow: dict[str, int]
    jax: dict[str, int]


def interpreter(version: str) -> str | None:
    """Return the Python of that version on this machine, or None."""
    path = shutil.which(f"python{version}")
    if path is None:
        return None
    runs = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return path if f"Python {version}." in runs.stdout else None


def make_environment(cell: str, python: str) -> Path:
    """Install the package and the releases of a cell; returns its Python."""
    folder = FOLDER / cell
    program = folder / "bin" / "python"
    if not program.exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    install = [str(program), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "--upgrade", "pip"], check=True)
    subprocess.run([*install, "--editable", ".[jax,test]", *CELLS[cell]], cwd=ROOT, check=True)
    return program


def run_tests(program: Path, backend: str, log: Path) -> dict[str, int]:
    """Return how many tests passed, failed and so on; the output goes to a file."""
    chosen = [*TENSORFLOW, "-m", "not slow"]
    if backend == "jax":
        files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/*/test_jax_*.py"))
        chosen = ["tests/optimizers", *files, "-m", "jax"]
    words = [str(program), "-m", "pytest", "-p", "no:cacheprovider", "--numprocesses", "3"]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "PJRT_NPROC": "32",
    }
    with log.open("w", encoding="utf-8") as file:
        subprocess.run(
            [*words, "--dist", "loadfile", *chosen],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return counts_in(log.read_text(encoding="utf-8"))


def counts_in(output: str) -> dict[str, int]:
    """Return how many tests passed, failed and so on; processes may write after the summary."""
    summaries = [line for line in output.splitlines() if SUMMARY_LINE.search(line)]
    counts = SUMMARY.findall("".join(summaries[-1:]))
    return {name.rstrip("s"): int(count) for count, name in counts}


def versions_in(program: Path) -> dict[str, str]:
    """Return the versions of the packages that a cell is about."""
    code = (
        "import importlib.metadata as m, json, platform; "
        f"print(json.dumps({{'python': platform.python_version(), "
        f"**{{n: m.version(n) for n in {SHOWN!r}}}}}))"
    )
    found = subprocess.run([str(program), "-c", code], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(found.stdout)
    return versions


def page(results: dict[str, Found]) -> str:
    """Return the table as Markdown."""
    lines = [
        "# What passed where",
        "",
        "Written by `make matrix` (`python -m tests.matrix`): the tests of the package, without",
        "apps and slow tests, of the costliest cases the third of that day, on Linux (x86, CPU).",
        "",
        "| Python | TensorFlow | Keras | JAX | NumPy | on TensorFlow | on JAX | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in CELLS:
        if cell not in results:
            lines.append(f"| {cell.replace('-', ', ')} | | | | | not run | not run | |")
            continue
        found = results[cell]
        versions = [found.versions[name] for name in ("python", *SHOWN)]
        counts = [
            ", ".join(f"{count} {name}" for name, count in counted.items()) or "did not start"
            for counted in (found.tensorflow, found.jax)
        ]
        lines.append("| " + " | ".join([*versions, *counts, f"`{found.commit}`"]) + " |")
    return "\n".join(lines) + "\n"


def load() -> dict[str, Found]:
    """Return the results of earlier runs, by cell."""
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return {cell: Found(**found) for cell, found in stored.items()}


def store(results: dict[str, Found]) -> None:
    """Write the results, and the page."""
    text = json.dumps(
        {cell: dataclasses.asdict(found) for cell, found in results.items()}, indent=2
    )
    RESULTS.write_text(text + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for and was not run at this commit; 1 if anything did not pass."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    asked = parser.parse_args(words).cells
    FOLDER.mkdir(parents=True, exist_ok=True)
    describe = ["git", "rev-parse", "--short=8", "HEAD"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    results, bad = load(), False
    for cell in asked:
        if cell in results and results[cell].commit == commit.strip():
            print(f"{cell}: has run at this commit")
            continue
        version, _, _ = cell.partition("-")
        python = interpreter(version)
        if python is None:
            print(f"{cell}: no python{version} on this machine")
            bad = True
            continue
        program = make_environment(cell, python)
        counted = [
            run_tests(program, backend, FOLDER / f"{cell}-{backend}.log")
            for backend in ("tensorflow", "jax")
        ]
        results[cell] = Found(commit.strip(), versions_in(program), *counted)
        store(results)
        print(f"{cell}: TensorFlow {counted[0]}, JAX {counted[1]}")
        bad |= any(
            not found.get("passed") or found.keys() & {"failed", "error"} for found in counted
        )
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
