"""Problems that are known to fail and are being mended: not run by the tests.

After mending one, move its entry to `cases.py`.
`python -m tests.hunt.known_faults` says which of them are right by now.
"""

from tests.hunt.problem import Output, Problem, Source, Step

KNOWN: dict[str, Problem] = {}

# As `cases.BUFFERS`.
BUFFERS = {
    # A cluster's gradient comes from a pass in which the other examples weigh nothing, but still
    # mix with it: buffers are silently wrong by half.
    "unknown groups of a contrastive loss": (
        Problem(
            sources=(Source((4,)),),
            outputs=(Output((Step("Dense", {"units": 3}),), loss="contrast"),),
        ),
        (0, 1, 0),
        None,
    ),
    "unknown groups of a model that mixes": (
        Problem(
            sources=(Source((4,)),),
            body=(Step("centre"),),
            outputs=(Output((Step("Dense", {"units": 3, "activation": "tanh"}),)),),
        ),
        (0, 1, 0),
        None,
    ),
}


def main():
    """Print what becomes of each."""
    from tests.hunt import checking, test_buffers
    from tests.hunt.checking import FaultError, UnusableError

    models = [(name, checking.check, problem) for name, problem in KNOWN.items()]
    buffers = [(name, test_buffers.check, example) for name, example in BUFFERS.items()]
    for name, check, case in models + buffers:
        try:
            outcome = check(case)
        except (FaultError, UnusableError) as error:
            outcome = f"FAULT: {str(error).splitlines()[0]}"
        print(f"{name}: {outcome}", flush=True)


if __name__ == "__main__":
    main()
