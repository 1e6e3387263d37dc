"""Extent and seed of a hunt, read from the environment.

`HUNT_MODELS` models are drawn (12 unless set; `make hunt` asks for 1 000), as many runs of
optimizers, and a quarter as many samplers and steps by cluster. `HUNT_SEED` decides which (0
unless set, so that the tests of every day are the same; `make hunt` draws and prints one). A fault
is printed with the line of data that makes it again; put that line into `cases.py`.
"""

import os

import hypothesis

MODELS = int(os.environ.get("HUNT_MODELS", "12"))
SEED = int(os.environ.get("HUNT_SEED", "0"))
RUNS = MODELS
SAMPLERS = max(1, MODELS // 4)
BUFFERS = max(1, MODELS // 4)
EXAMPLES_OF_A_SEED = 50


def seeds(number):
    """Return the seeds of the tests that share `number` examples between them."""
    return [SEED * 1_000 + i for i in range(max(1, -(-number // EXAMPLES_OF_A_SEED)))]


def hunt(seed, strategy, check, number=EXAMPLES_OF_A_SEED):
    """Check examples of a strategy, which `seed` decides.

    A fault is made smaller (unless `HUNT_SHRINK=0`), and printed.
    """
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    if os.environ.get("HUNT_SHRINK", "1") != "0":
        phases.append(hypothesis.Phase.shrink)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=min(number, EXAMPLES_OF_A_SEED),
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=False,
    )
    @hypothesis.given(strategy)
    def run(example):
        check(example)

    run()


def note(line):
    """Print a line with the example that fails; nothing to do outside of a hunt."""
    if hypothesis.currently_in_test_context():
        hypothesis.note(line)
