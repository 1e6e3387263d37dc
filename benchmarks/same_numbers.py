"""Weights and buffers after 20 steps, everywhere: one table.

    python -m benchmarks.same_numbers [--places NAME ...] [--csv FILE]

Eight groups of four examples in a batch, K = 8, of unequal probabilities: on one TensorFlow device,
on 2 and 4 replicas, in 2 processes, and on 1, 2 and 4 devices of JAX, each a process of its own,
with the same batches and first weights. Every form of Discover is trained with full buffers and
with those of rank 2, on several devices of JAX with slices of them ("sharded"), and with owned
clusters, whose numbers depend on the number of owners and on nothing else; always with
global_clipnorm=0.1, weight_decay=0.01, an average of the weights and a schedule of the learning
rate ("all"; DiscoverIGT has an average of its own), `Discover` in full also with none of them and
with each alone.

Printed is, for each case, max |a - b| / max |b| over the entries of a variable, the largest over
all variables; b is of one TensorFlow device, of TensorFlow's replicas for owned clusters.

Measured, each row the largest of its cases, 115 in all:

    largest relative difference of             weights  buffers
      TensorFlow, 2 replicas   full             0.0e+00  0.0e+00
      TensorFlow, 2 replicas   low rank         0.0e+00  0.0e+00
      TensorFlow, 4 replicas   full             1.1e-07  3.9e-07
      TensorFlow, 4 replicas   low rank         9.3e-08  5.9e-07
      TensorFlow, 2 processes  full             0.0e+00  0.0e+00
      TensorFlow, 2 processes  low rank         0.0e+00  0.0e+00
      TensorFlow, 2 processes  owned by 2       8.8e-08  3.2e-07
      JAX, 1 device            full             2.9e-07  3.7e-07
      JAX, 1 device            low rank         1.9e-07  4.4e-07
      JAX, 2 devices           full             2.9e-07  3.4e-07
      JAX, 2 devices           low rank         1.9e-07  5.1e-07
      JAX, 2 devices           owned by 2       3.2e-07  6.7e-07
      JAX, 2 devices           sharded          2.9e-07  3.6e-07
      JAX, 4 devices           full             2.9e-07  4.8e-07
      JAX, 4 devices           low rank         1.9e-07  6.8e-07
      JAX, 4 devices           owned by 4       2.7e-07  3.0e-07
      JAX, 4 devices           sharded          2.9e-07  4.2e-07
"""

import argparse
import csv
import os
import pickle
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.same_numbers_worker import PLACES

REFERENCES = ("TensorFlow, 1 device", "TensorFlow, 2 replicas", "TensorFlow, 4 replicas")
PROMISED = 1e-6


def outcome_of(place):
    """Return what the processes of a place trained, by case."""
    backend, _, count = PLACES[place]
    with socket.create_server(("", 0)) as found:
        port = found.getsockname()[1]
    others = [[str(i), str(port)] for i in range(count)] if count > 1 else [[]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcome.pickle"
        words = [sys.executable, "-m", "benchmarks.same_numbers_worker", place, str(path)]
        environment = {**os.environ, "KERAS_BACKEND": backend}
        processes = [subprocess.Popen([*words, *other], env=environment) for other in others]
        try:
            statuses = [process.wait() for process in processes]
        finally:
            for process in processes:
                process.kill()
        if any(statuses):
            raise SystemExit(f"{place}: the processes ended with the statuses {statuses}.")
        return pickle.loads(path.read_bytes())


def difference(found, expected):
    """Return max |a - b| / max |b| of a variable, the largest over all variables."""
    return max(
        float(np.abs(a - b).max() / np.abs(b).max())
        for a, b in zip(found, expected, strict=True)
        if b.size
    )


def compared(outcomes):
    """Return a row for each case at each place that has a reference."""
    rows = []
    for place, outcome in outcomes.items():
        for (form, buffers, setting), found in outcome.items():
            case = (form, "full" if buffers == "sharded" else buffers, setting)
            reference = next((p for p in REFERENCES if case in outcomes.get(p, {})), None)
            if reference not in (None, place):
                expected = outcomes[reference][case]
                off = [difference(found[part], expected[part]) for part in ("weights", "buffers")]
                rows.append([place, buffers, form, setting, *off])
    return rows


def print_largest(rows):
    """Print the largest differences of a place and a kind of buffers."""
    print(f"\n{'largest relative difference of':<42} weights  buffers")
    for place, buffers in dict.fromkeys((row[0], row[1]) for row in rows):
        found = [row for row in rows if row[:2] == [place, buffers]]
        cells = [max(row[i] for row in found) for i in (4, 5)]
        print(f"  {place:<24} {buffers:<14} {cells[0]:9.1e}{cells[1]:9.1e}")


def main():
    """Train at every place, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--places", nargs="+", choices=list(PLACES), default=list(PLACES))
    parser.add_argument("--csv", type=Path, default=Path("runs/same_numbers.csv"))
    given = parser.parse_args()
    rows = compared({place: outcome_of(place) for place in given.places})
    given.csv.parent.mkdir(parents=True, exist_ok=True)
    with open(given.csv, "w", newline="") as file:
        head = ["place", "kind", "form", "setting", "weights", "buffers"]
        csv.writer(file).writerows([head, *rows])
    for place, buffers, form, setting, *off in rows:
        mark = "" if max(off) <= PROMISED else f"  above {PROMISED:g}"
        print(f"{place:<24} {buffers:<11} {form:<20} {setting:<9}"
              f" {off[0]:8.1e} {off[1]:8.1e}{mark}")  # fmt: skip
    print_largest(rows)
    above = sum(max(row[4:]) > PROMISED for row in rows)
    if above:
        raise SystemExit(f"{above} of {len(rows)} cases differ by more than {PROMISED:g}.")


if __name__ == "__main__":
    main()
