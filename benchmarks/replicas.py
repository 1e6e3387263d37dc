"""Every optimizer on R replicas: steps per second, bytes sent, memory of the buffers.

    python -m benchmarks.replicas [--replicas 1 2 4] [--steps 10] [--repeats 10] [--json FILE]

The first table is that of the Discover paper (Table 1): steps per second over those of SGD with
momentum, a group of 32 examples on each replica, MLP 784-256-10, K = 64. Each R is a process of its
own, in which the optimizers take turns. Replicas here are logical CPUs, which share the cores: the
table shows what an optimizer costs there, not how training scales.

The second one is computed for R = 1 to 64, with one group on each replica. P is the number of
weights. In a ring of R, a replica sends

    a sum of n numbers                  2 (R - 1) / R n
    a gather of n numbers from each     (R - 1) n

SGD sums P gradients. Full buffers need every group on every replica: a gather of P. Low-rank
buffers need that, and sum the products of the factors; owned buffers sum P. A replica holds K + 1
gradients in full, ceil(K / R) + 1 with owned clusters. What a step for R = 2 really exchanges and
holds is counted in its graph, and compared.
"""

import argparse
import itertools
import json
import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.replicas_worker import BASELINE, COUNTED, LAYERS, NUM_CLUSTERS, RANK
from benchmarks.timing import run_pinned, write_json

BYTES = 4  # of a number, float32
REPLICAS_COMPUTED = (1, 2, 4, 8, 16, 32, 64)
# Shapes, scalars and cluster ids cross the network, too.
TOLERANCE = 0.001
MATRICES = list(itertools.pairwise(LAYERS))
VECTORS = sum(LAYERS[1:])
IN_MATRICES = sum(rows * columns for rows, columns in MATRICES)
WEIGHTS = IN_MATRICES + VECTORS


def sent_by_sum(replicas, numbers):
    """Return the bytes that a replica sends in a sum over all, in a ring."""
    return 2 * (replicas - 1) / replicas * numbers * BYTES


def sent_by_gather(replicas, numbers):
    """Return the bytes that a replica sends where all get what each has, in a ring."""
    return (replicas - 1) * numbers * BYTES


def bytes_sent(kind, replicas):
    """Return the bytes that a replica sends in a step."""
    if kind in ("none", "owned"):
        return sent_by_sum(replicas, WEIGHTS)
    gathered = sent_by_gather(replicas, WEIGHTS)
    return gathered + sent_by_sum(replicas, IN_MATRICES) if kind == "low rank" else gathered


def buffer_memory(kind, replicas):
    """Return the bytes of buffers and their average on a replica."""
    if kind == "none":
        return 0
    if kind == "low rank":
        # K factors, the part that they share, the average; K + 1 vectors in full
        factors = NUM_CLUSTERS * RANK * sum(rows + columns for rows, columns in MATRICES)
        return BYTES * (factors + 2 * IN_MATRICES + (NUM_CLUSTERS + 1) * VECTORS)
    held = math.ceil(NUM_CLUSTERS / replicas) if kind == "owned" else NUM_CLUSTERS
    return BYTES * (held + 1) * WEIGHTS


def counted_bytes(collectives, replicas):
    """Return the bytes that a replica sends in the collectives of a traced step."""
    sent = {"reduce": sent_by_sum, "gather": sent_by_gather}
    return sum(sent[kind](replicas, numbers) for kind, numbers in collectives) / replicas


def compared(result):
    """Return counted over computed, of bytes sent and of memory, for each kind of buffers."""
    replicas = result["replicas"]
    return {
        kind: {
            "sent": counted_bytes(result["collectives"][name], replicas)
            / bytes_sent(kind, replicas),
            "memory": result["buffer_bytes"][name] / (buffer_memory(kind, replicas) or 1),
        }
        for kind, name in COUNTED.items()
    }


def print_speeds(results):
    """Print Table 1: steps per second over those of SGD with momentum."""
    print(f"\nSteps per second over those of {BASELINE}, one group on each replica")
    print("Logical CPUs share the cores: this shows overhead, not scaling.")
    print(f"  {'':<20}" + "".join(f"  R = {r['replicas']:<4}" for r in results))
    for name in results[0]["seconds"]:
        ratios = [r["seconds"][BASELINE] / r["seconds"][name] for r in results]
        print(f"  {name:<20}" + "".join(f"  {ratio:<8.2f}" for ratio in ratios))
    absolute = [1 / r["seconds"][BASELINE] for r in results]
    print("  in steps per second " + "".join(f"  {speed:<8.0f}" for speed in absolute))


def print_bytes():
    """Print the computed bytes sent, over SGD's, and the memory of the buffers."""
    print(
        f"\nComputed for {WEIGHTS:,} weights, K = {NUM_CLUSTERS}, rank {RANK}: bytes that a "
        "replica sends in a step\n(over SGD's), and MB of buffers on a replica"
    )
    kinds = [kind for kind in COUNTED if kind != "none"]
    print("  R   SGD, MB" + "".join(f"  {kind:>20}" for kind in kinds))
    for replicas in REPLICAS_COMPUTED:
        plain = bytes_sent("none", replicas)
        cells = []
        for kind in kinds:
            sent = f"{bytes_sent(kind, replicas) / plain:.2f}x" if plain else "none"
            cells.append(f"{sent}, {buffer_memory(kind, replicas) / 1e6:.1f} MB")
        print(f"  {replicas:<3} {plain / 1e6:7.2f}" + "".join(f"  {cell:>20}" for cell in cells))


def print_counted(ratios):
    """Print what a traced step for two replicas has over what is computed."""
    print("\nCounted in a traced step for R = 2, over computed")
    for kind, found in ratios.items():
        memory = "" if kind == "none" else f", buffers {found['memory']:.4f}"
        print(f"  {kind:<9} bytes sent {found['sent']:.4f}{memory}")


def main():
    """Parse the arguments, measure and compute."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=10, help="in a timed call")
    parser.add_argument("--repeats", type=int, default=10, help="timed calls of each optimizer")
    parser.add_argument("--json", help="file for the result")
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    results = []
    for replicas in given.replicas:
        words = ["-m", "benchmarks.replicas_worker"]
        words += map(str, (replicas, given.steps, given.repeats))
        results.append(json.loads(run_pinned(words, cores).splitlines()[-1]))
    print_speeds(results)
    print_bytes()
    ratios = next((compared(r) for r in results if r["replicas"] == 2), {})
    if ratios:
        print_counted(ratios)
    if given.json:
        write_json(given.json, {"results": results, "counted over computed": ratios})
    off = [ratio for found in ratios.values() for ratio in found.values() if ratio]
    if any(abs(ratio - 1) > TOLERANCE for ratio in off):
        raise SystemExit(f"Counted and computed differ by more than {TOLERANCE:.1%}: {ratios}.")


if __name__ == "__main__":
    main()
